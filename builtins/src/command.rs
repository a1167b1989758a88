//! What a command is: a trait that each one implements, and the entry of the table that the registry reads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{Context, Work};
use crate::error::Result;
use crate::qapi::{self, Arguments};

/// A future of a command: `Send`, for channels and extensions dispatch from different threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One command of the protocol. The type that implements it is the command's name in camel case.
pub trait Command: 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// Whether it may run while filesystems are frozen.
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::Off;
    /// Whether success is answered; `false` is QAPI's `success-response: false`.
    const REPLIES: bool = true;
    /// Whether its reply is preceded by the byte 0xFF.
    const DELIMITED: bool = false;
    /// The arguments whose values the audit log may write down: none that can hold what others must not know (passwords, keys, file
    /// contents, arguments and environments of programs).
    const AUDITED: &'static [&'static str] = &[];
    /// Whether the result is written down too: that of a command which makes what others only name (a handle, a pid).
    const RESULT_AUDITED: bool = false;
    /// Whether an operator may let extensions call it: it tells something, and changes nothing.
    const GRANTABLE: bool = false;
    /// Whether it is on where the operator says nothing of it.
    const ON_BY_DEFAULT: bool = true;
    /// The arguments: a struct whose fields stand in the order of the schema, optional ones as `Option`.
    type Args: Send + DeserializeOwned;
    /// What it returns.
    type Return: IntoReply;

    /// Reads the arguments; only a command with very large ones has its own way.
    ///
    /// # Errors
    /// `GenericError` that names the argument.
    fn arguments(arguments: Arguments) -> Result<Self::Args> {
        arguments.parse()
    }

    /// Does it.
    ///
    /// The future may be dropped at any `await` once its client has been gone for some seconds: what must not stop halfway (a freeze)
    /// belongs in one piece of blocking work, or in a task of its own.
    fn run(cx: &Context, args: Self::Args) -> impl Future<Output = Result<Self::Return>> + Send;
}

/// Whether a command may run while filesystems are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileFrozen {
    /// It may not: it might write to one of them, and wait for the thaw.
    Off,
    /// It may, where the operator lets it.
    On,
    /// It may, whatever the operator says: without it nobody could end that.
    Always,
}

/// Arguments of more bytes than this are read on another thread.
const LARGE: usize = 4 << 20;

/// No arguments, and no result: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}

/// What a command returned, spelt for the wire.
pub enum Reply {
    /// One value.
    Value(Vec<u8>),
    /// One value that is too large to be held at once: the pieces of its spelling, in order.
    Pieces(Pin<Box<dyn smol::stream::Stream<Item = Vec<u8>> + Send>>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => write!(f, "Value({})", String::from_utf8_lossy(text)),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

/// What can be a command's result.
pub trait IntoReply: Send {
    /// Spells it.
    fn into_reply(self) -> Reply;
}

impl<T: Serialize + Send> IntoReply for T {
    fn into_reply(self) -> Reply {
        Reply::Value(qapi::spell(&self))
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Reply {
        self
    }
}

/// A command as the registry holds it: its constants and a plain function pointer.
#[derive(Clone, Copy)]
pub struct Builtin {
    /// The name on the wire.
    pub name: &'static str,
    /// See [`Command::WHILE_FROZEN`].
    pub while_frozen: WhileFrozen,
    /// See [`Command::REPLIES`].
    pub replies: bool,
    /// See [`Command::DELIMITED`].
    pub delimited: bool,
    /// See [`Command::AUDITED`].
    pub audited: &'static [&'static str],
    /// See [`Command::RESULT_AUDITED`].
    pub result_audited: bool,
    /// See [`Command::GRANTABLE`].
    pub grantable: bool,
    /// See [`Command::ON_BY_DEFAULT`].
    pub on_by_default: bool,
    /// The names of all its arguments, in the schema's order.
    pub arguments: fn() -> &'static [&'static str],
    call: for<'a> fn(&'a Context, Arguments) -> BoxFuture<'a, Result<Reply>>,
}

impl Builtin {
    /// The entry of one command.
    pub const fn of<C: Command>() -> Self {
        Self {
            name: C::NAME,
            while_frozen: C::WHILE_FROZEN,
            replies: C::REPLIES,
            delimited: C::DELIMITED,
            audited: C::AUDITED,
            result_audited: C::RESULT_AUDITED,
            grantable: C::GRANTABLE,
            on_by_default: C::ON_BY_DEFAULT,
            arguments: qapi::arguments::names::<C::Args>,
            call: |cx, arguments| {
                Box::pin(async move {
                    // What takes long to read must not hold up everything else.
                    let args = if arguments.text().len() > LARGE {
                        cx.blocking(Work::Arguments, || C::arguments(arguments)).await??
                    } else {
                        C::arguments(arguments)?
                    };
                    Ok(C::run(cx, args).await?.into_reply())
                })
            },
        }
    }

    /// Reads the arguments and runs the command.
    pub fn call<'a>(&self, cx: &'a Context, arguments: Arguments) -> BoxFuture<'a, Result<Reply>> {
        (self.call)(cx, arguments)
    }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builtin").field("name", &self.name).finish_non_exhaustive()
    }
}
