//! What a component calls in turn: what is below it, and the commands that it was let call. Either goes through the agent as a client's
//! request does, on the thread that serves those, and what comes back is JSON.

use std::fmt;
use std::sync::Arc;

use smol::stream::StreamExt;
use waga_builtins::qapi::Arguments;
use waga_builtins::{BoxFuture, Caller, Context, Error, Reply, Result};

use super::answer::{DEEPEST, depth};
use super::unit::Unit;
use crate::registry::Below;
use crate::wire::{Event, Framer};

/// Extensions that may be within one another: who calls whom who calls whom.
const LEVELS: usize = 8;

/// The commands that there are, for whoever calls them from within.
pub trait Commands: Send + Sync {
    /// Serves a call of an extension, which `caller` is: of what is below it, where it provides the command itself.
    fn call(
        self: Arc<Self>,
        caller: Caller,
        command: String,
        arguments: Arguments,
    ) -> BoxFuture<'static, Result<Reply>>;
}

/// Where one call of a component calls from.
pub struct Reach {
    /// The outer request.
    cx: Context,
    /// `None`: nothing, for it is no command.
    below: Option<Below>,
    unit: Arc<Unit>,
    commands: Option<Arc<dyn Commands>>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("below", &self.below).finish_non_exhaustive()
    }
}

impl Reach {
    pub(super) fn new(
        cx: &Context,
        below: Option<Below>,
        unit: &Arc<Unit>,
        commands: Option<Arc<dyn Commands>>,
    ) -> Self {
        Self { cx: cx.clone(), below: below.map(Below::nested), unit: unit.clone(), commands }
    }

    /// Calls what is below, as the client who asked for the command.
    pub(super) async fn next(&self, arguments: &str) -> Result<Vec<u8>> {
        let arguments = object(arguments)?;
        let below =
            self.below.clone().ok_or_else(|| Error::generic("there is nothing below a freeze hook"))?;
        let cx = self.cx.clone();
        self.on_the_agents_thread(async move { below.call(&cx, arguments).await }).await
    }

    /// Calls a command as the extension.
    pub(super) async fn call(&self, command: &str, arguments: &str) -> Result<Vec<u8>> {
        let config = &self.unit.config;
        if !config.commands.iter().any(|(name, _)| **name == *command) {
            let named: String = command.escape_debug().take(64).collect();
            return Err(Error::generic(format!(
                "{named} is not granted: it does not stand in {} commands",
                config.origin
            )));
        }
        let caller = Caller::Extension(config.name.clone(), Arc::new(self.cx.caller.clone()));
        if caller.depth() > LEVELS {
            return Err(Error::generic(format!(
                "{command}: extensions call one another more than {LEVELS} levels deep"
            )));
        }
        let arguments = object(arguments)?;
        let commands = self.commands.clone().ok_or_else(ends)?;
        let command = command.to_owned();
        self.on_the_agents_thread(async move { commands.call(caller, command, arguments).await }).await
    }

    /// The thread of components is not kept by what a command does. Dropped, the call ends.
    async fn on_the_agents_thread(
        &self,
        call: impl Future<Output = Result<Reply>> + Send + 'static,
    ) -> Result<Vec<u8>> {
        let most = usize::try_from(self.unit.config.limits.message).unwrap_or(usize::MAX);
        let whole = async move { whole(call.await?, most).await };
        self.cx.agent.run(whole).ok_or_else(ends)?.await
    }
}

fn ends() -> Error {
    Error::generic("the agent ends")
}

/// A reply in one piece.
async fn whole(reply: Reply, most: usize) -> Result<Vec<u8>> {
    let too_much = || Error::generic("the result is larger than limits.message lets an extension have");
    match reply {
        Reply::Value(text) if text.len() <= most => Ok(text),
        Reply::Value(_) => Err(too_much()),
        Reply::Pieces(mut pieces) => {
            let mut text = Vec::new();
            while let Some(piece) = pieces.next().await {
                if text.len() + piece.len() > most {
                    return Err(too_much());
                }
                text.extend_from_slice(&piece);
            }
            Ok(text)
        }
    }
}

/// Arguments, from text that a component made.
fn object(text: &str) -> Result<Arguments> {
    let wrong = |what: &str| Error::generic(format!("the arguments are {what}"));
    if depth(text.as_bytes()) > DEEPEST {
        return Err(wrong(&format!("nested more than {DEEPEST} levels deep")));
    }
    match checked(text.as_bytes()) {
        Some(text) if text.first() == Some(&b'{') => {
            let range = 0..text.len();
            Ok(Arguments::new(text, range))
        }
        _ => Err(wrong("no JSON object")),
    }
}

/// JSON as the agent itself reads it: checked and compact. `None` if it is anything but one value.
pub(super) fn checked(text: &[u8]) -> Option<Vec<u8>> {
    let mut framer = Framer::default();
    let (used, event) = framer.feed(text);
    // A number ends where something else begins.
    let event = event.or_else(|| framer.feed(b"\n").1);
    match event {
        Some(Event::Message(message)) if text[used..].trim_ascii().is_empty() => {
            Some(message.text().to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_taken_and_made_compact() {
        for (text, expected) in [
            ("{ \"a\" : [ 1 , null ] } \n", Some(r#"{"a":[1,null]}"#)),
            (" {} ", Some("{}")),
            ("{}{}", None),
            ("{} x", None),
            ("{\"a\":1,\"a\":2}", None),
            ("{", None),
            ("", None),
            ("[1, 2]", Some("[1,2]")),
            ("7", Some("7")),
            ("\"x\"", Some("\"x\"")),
        ] {
            let found = checked(text.as_bytes());
            assert_eq!(found.as_deref().map(String::from_utf8_lossy).as_deref(), expected, "{text}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(40), "}".repeat(40));
        for text in ["[]", "7", "", "{", &deep] {
            assert!(object(text).is_err(), "{text}");
        }
        assert_eq!(object("{}").unwrap().text(), b"{}");
    }
}
