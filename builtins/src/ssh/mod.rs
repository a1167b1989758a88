//! The keys that open the guest's accounts over ssh.
//!
//! What is at a user's home is the user's: it is read and written with the user's identity, so that a link there opens nothing to the
//! host that the user could not read, and changes nothing that the user could not change.

mod account;
mod read;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use smol::lock::{Mutex as AsyncMutex, MutexGuardArc};

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work, in_time};
use crate::error::{Error, Result};
use crate::qapi::shorten;
use account::Account;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<GuestSshGetAuthorizedKeys>(),
    Builtin::of::<GuestSshAddAuthorizedKeys>(),
    Builtin::of::<GuestSshRemoveAuthorizedKeys>(),
];

/// Lists the keys in a user's `.ssh/authorized_keys`.
struct GuestSshGetAuthorizedKeys;

/// The arguments of [`GuestSshGetAuthorizedKeys`].
#[derive(Debug, Deserialize)]
pub(crate) struct GetAuthorizedKeys {
    username: String,
}

/// The result of [`GuestSshGetAuthorizedKeys`].
#[derive(Debug, Serialize)]
struct AuthorizedKeys {
    keys: Vec<String>,
}

impl Command for GuestSshGetAuthorizedKeys {
    const NAME: &'static str = "guest-ssh-get-authorized-keys";
    const GRANTABLE: bool = true;
    const AUDITED: &'static [&'static str] = &["username"];
    type Args = GetAuthorizedKeys;
    type Return = AuthorizedKeys;

    async fn run(cx: &Context, args: GetAuthorizedKeys) -> Result<AuthorizedKeys> {
        cx.blocking(Work::Names, move || {
            let account = Account::of(&args.username)?;
            let text = account.do_as(|| read::contents(&account.file()))??;
            Ok(AuthorizedKeys { keys: read::keys(&text) })
        })
        .await?
    }
}

/// Adds keys to a user's `.ssh/authorized_keys`, or puts them in the place of all that stand there.
struct GuestSshAddAuthorizedKeys;

/// The arguments of [`GuestSshAddAuthorizedKeys`].
#[derive(Debug, Deserialize)]
pub(crate) struct AddAuthorizedKeys {
    username: String,
    keys: Vec<String>,
    reset: Option<bool>,
}

impl Command for GuestSshAddAuthorizedKeys {
    const NAME: &'static str = "guest-ssh-add-authorized-keys";
    const AUDITED: &'static [&'static str] = &["username", "reset"];
    type Args = AddAuthorizedKeys;
    type Return = Empty;

    async fn run(cx: &Context, args: AddAuthorizedKeys) -> Result<Empty> {
        let reset = args.reset.unwrap_or(false);
        let add = move |account: &Account, keys: &[String]| write::add(account, keys, reset);
        change::<Self>(cx, args.username, args.keys, add).await
    }
}

/// Removes keys from a user's `.ssh/authorized_keys`.
struct GuestSshRemoveAuthorizedKeys;

/// The arguments of [`GuestSshRemoveAuthorizedKeys`].
#[derive(Debug, Deserialize)]
pub(crate) struct RemoveAuthorizedKeys {
    username: String,
    keys: Vec<String>,
}

impl Command for GuestSshRemoveAuthorizedKeys {
    const NAME: &'static str = "guest-ssh-remove-authorized-keys";
    const AUDITED: &'static [&'static str] = &["username"];
    type Args = RemoveAuthorizedKeys;
    type Return = Empty;

    async fn run(cx: &Context, args: RemoveAuthorizedKeys) -> Result<Empty> {
        change::<Self>(cx, args.username, args.keys, write::remove).await
    }
}

/// Changes a user's keys, one request after another, so that none undoes what another did meanwhile.
async fn change<C: Command>(
    cx: &Context,
    username: String,
    keys: Vec<String>,
    work: impl FnOnce(&Account, &[String]) -> Result<()> + Send + 'static,
) -> Result<Empty> {
    let name = username.clone();
    let look = move || {
        check(&keys)?;
        Ok((Account::of(&name)?, keys))
    };
    let (account, keys) = cx.blocking(Work::Names, look).await??;
    let turn = cx.agent.turns.take(account.identity.uid).await?;
    cx.writing(Work::Files, move || {
        let done = account.do_as(|| work(&account, &keys))?;
        drop(turn);
        if done.is_ok() {
            tracing::info!(user = shorten(&username), keys = keys.len(), "{}", C::NAME);
        }
        done
    })
    .await??;
    Ok(Empty {})
}

/// Whether each key is one line, and no comment: nothing else is asked of one.
///
/// Differs from qemu-ga, which takes keys with a NUL and writes the bytes C0 80.
fn check(keys: &[String]) -> Result<()> {
    match keys.iter().find(|key| key.starts_with('#') || key.contains(['\n', '\0'])) {
        Some(key) => Err(Error::generic(format!("invalid OpenSSH public key: '{}'", shorten(key)))),
        None => Ok(()),
    }
}

/// Whose keys are being changed.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Uid, Arc<AsyncMutex<()>>>>);

impl Turns {
    /// Waits until nobody else changes this user's keys, for the time that a request may wait for others.
    async fn take(&self, user: Uid) -> Result<MutexGuardArc<()>> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Of those that nobody holds or waits for the map's own is the only one.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(user).or_default().clone()
        };
        let busy = || Error::generic("the keys of this user are being changed by another request");
        in_time(turn.lock_arc()).await.ok_or_else(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_and_no_comment() {
        let check = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
            check(&keys).map_err(|error| error.desc)
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["", " # x", "ssh-rsa A b", "anything\r\t"]), Ok(()));
        for key in ["#", "# ssh-rsa A", "ssh-rsa A\n", "\n", "ssh\0"] {
            assert_eq!(check(&["ssh-rsa A", key]), Err(format!("invalid OpenSSH public key: '{key}'")));
        }
    }

    #[test]
    fn turns_are_taken_one_at_a_time_and_forgotten() {
        smol::block_on(async {
            let turns = Turns::default();
            let (one, other) = (Uid::from_raw(1), Uid::from_raw(2));
            let held = turns.take(one).await.unwrap();
            drop(turns.take(other).await.unwrap());
            let waiting = turns.take(one);
            let first = smol::future::or(
                async {
                    drop(waiting.await.unwrap());
                    "waited"
                },
                async {
                    smol::future::yield_now().await;
                    "held"
                },
            );
            assert_eq!(first.await, "held");
            drop(held);
            drop(turns.take(one).await.unwrap());
            drop(turns.take(other).await.unwrap());
            assert_eq!(turns.0.lock().unwrap().len(), 1);
        });
    }
}
