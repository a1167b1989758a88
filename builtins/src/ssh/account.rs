//! A user's account: where its keys are, and as whom to touch them.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{User, getgrouplist};

use crate::error::{Error, Result};
use crate::sys::identity::{Identity, Refused, as_user};

/// A user's account.
#[derive(Debug)]
pub(super) struct Account {
    name: String,
    pub(super) identity: Identity,
    /// `HOME/.ssh`; as with qemu-ga, whatever sshd's configuration says.
    pub(super) folder: PathBuf,
}

impl Account {
    /// Asks the system's user databases, which may take a while.
    pub(super) fn of(name: &str) -> Result<Self> {
        // No such user is no error to the C library; qemu-ga prints its text for that.
        let unknown = || Error::generic(format!("failed to lookup user '{name}': Success"));
        let failed =
            |error: nix::Error| Error::io(format_args!("failed to lookup user '{name}'"), error.into());
        let user = User::from_name(name).map_err(failed)?.ok_or_else(unknown)?;
        let spelt = CString::new(name).map_err(|_| unknown())?;
        let groups = getgrouplist(&spelt, user.gid).map_err(|error| {
            Error::io(format_args!("failed to set group for user '{name}'"), error.into())
        })?;
        let identity = Identity { uid: user.uid, gid: user.gid, groups };
        Ok(Self { name: name.to_owned(), identity, folder: user.dir.join(".ssh") })
    }

    /// The file of keys.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("authorized_keys")
    }

    /// Does something with the files at the user's home, as the user.
    pub(super) fn do_as<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        as_user(&self.identity, work).map_err(|refused| {
            let (what, error) = match refused {
                Refused::Thread(error) => ("start a thread", error),
                Refused::Groups(error) => ("set group", error),
                Refused::Group(error) => ("set effective group ID", error),
                Refused::User(error) => ("set effective user ID", error),
            };
            Error::io(format_args!("failed to {what} for user '{}'", self.name), error)
        })
    }

    /// An account of nobody's database: its home is a folder of the test.
    #[cfg(test)]
    pub(super) fn made_up(identity: Identity, home: &std::path::Path) -> Self {
        Self { name: "made-up".to_owned(), identity, folder: home.join(".ssh") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_told_as_qemu_ga_does() {
        for name in ["waga-no-such-user", "", "root\0"] {
            let error = Account::of(name).err().map(|error| error.desc);
            assert_eq!(error, Some(format!("failed to lookup user '{name}': Success")));
        }
        assert_eq!(Account::of("root").map(|account| account.identity.uid.is_root()).ok(), Some(true));
    }
}
