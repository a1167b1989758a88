//! Touches files with the identity of one user, so that what the user planted at home (a symlink, say) opens nothing that the user
//! could not open.
//!
//! An identity belongs to a thread, and to a thread only; so the work gets a thread of its own, which ends with it. There is nothing
//! to restore and no way to forget it, not even by a panic.

use std::fmt;
use std::io;
use std::panic;
use std::thread;

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups};

/// A user as the kernel knows one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) uid: Uid,
    /// The user's own group.
    pub(crate) gid: Gid,
    /// Every group of the user.
    pub(crate) groups: Vec<Gid>,
}

/// Which part of an identity could not be taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There was no thread to be had.
    Thread(io::Error),
    /// The supplementary groups.
    Groups(io::Error),
    /// The group.
    Group(io::Error),
    /// The user, or leaving the agent's capabilities behind.
    User(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            Self::Thread(error) => ("start a thread", error),
            Self::Groups(error) => ("set the groups", error),
            Self::Group(error) => ("set the group", error),
            Self::User(error) => ("set the user", error),
        };
        write!(f, "cannot {what}: {error}")
    }
}

impl std::error::Error for Refused {}

/// Does file work as a user; the calling thread waits for it and keeps its own identity.
///
/// Only access to files is the user's: the thread cannot be signalled by the user's processes. An agent that does not run as root has
/// nothing to leave behind, nor has work done for root; there the work is done on the calling thread.
pub(crate) fn as_user<T: Send>(identity: &Identity, work: impl FnOnce() -> T + Send) -> Result<T, Refused> {
    if !geteuid().is_root() || identity.uid.is_root() {
        return Ok(work());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("as-user".into());
        let done = thread.spawn_scoped(scope, || {
            become_user(identity)?;
            Ok(work())
        });
        done.map_err(Refused::Thread)?.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Gives the calling thread another identity for files, for good.
fn become_user(identity: &Identity) -> Result<(), Refused> {
    let groups: Vec<_> =
        identity.groups.iter().map(|group| rustix::fs::Gid::from_raw(group.as_raw())).collect();
    set_thread_groups(&groups).map_err(|error| Refused::Groups(error.into()))?;
    // Both calls return what was before, also when they fail; only asking again tells.
    let nobody = u32::MAX;
    setfsgid(identity.gid);
    if setfsgid(Gid::from_raw(nobody)) != identity.gid {
        return Err(Refused::Group(io::ErrorKind::PermissionDenied.into()));
    }
    setfsuid(identity.uid);
    if setfsuid(Uid::from_raw(nobody)) != identity.uid {
        return Err(Refused::User(io::ErrorKind::PermissionDenied.into()));
    }
    // Leaving uid 0 drops those capabilities that pass over permissions, unless a securebit (`SecureBits=` of a unit) says otherwise.
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(|error| Refused::User(error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn nobody() -> Identity {
        Identity { uid: Uid::from_raw(65534), gid: Gid::from_raw(65534), groups: vec![Gid::from_raw(65534)] }
    }

    #[test]
    fn files_are_touched_as_the_user_and_the_agent_stays_itself() {
        if !geteuid().is_root() {
            assert_eq!(as_user(&nobody(), || 1).unwrap(), 1);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (secret, mine) = (folder.path().join("secret"), folder.path().join("mine"));
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (denied, owner) = as_user(&nobody(), || {
            fs::write(&mine, "y").unwrap();
            (fs::read(&secret).unwrap_err().kind(), fs::metadata(&mine).unwrap())
        })
        .unwrap();
        assert_eq!(denied, io::ErrorKind::PermissionDenied);
        assert_eq!((owner.uid(), owner.gid()), (65534, 65534));
        assert_eq!(fs::read(&secret).unwrap(), b"x");
    }

    #[test]
    fn a_panic_reaches_the_caller_who_stays_himself() {
        let panicked = panic::catch_unwind(|| as_user(&nobody(), || panic!("at home")));
        assert!(panicked.is_err());
        assert!(setfsuid(Uid::from_raw(u32::MAX)) == geteuid());
    }
}
