//! Making a unix socket: not taken away from who listens there, and never reachable for more than may use it.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chmod, chownat, fchmod, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use waga_builtins::os_text;

use super::listener::{BACKLOG, Listener};
use crate::config::Access;

/// Makes the socket and listens. A socket that nobody listens on any more is replaced, as qemu-ga does.
///
/// Differs from qemu-ga: that takes the path from whoever listens there, and removes what is no socket.
///
/// # Errors
/// Someone listens there; the path is not a socket; the folder is not writable; the socket cannot be given to whom it should belong.
pub(super) fn listen_at(path: &Path, access: Access) -> io::Result<Listener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "exists and is not a socket"));
        }
        Ok(_) if is_in_use(path)? => {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another program uses this socket"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    if access.mode.is_some() {
        // The file that bind makes has the mode of the socket, less the umask.
        fchmod(&socket, Mode::empty())?;
    }
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Nobody can connect before it listens, whatever its mode.
    if let Err(error) = give(path, access) {
        // As it is now, the next start might not even learn that nobody uses it.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    listen(&socket, BACKLOG)?;
    Listener::new(socket)
}

/// Whether a program still has this socket; a full backlog and another type of socket say so too.
fn is_in_use(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::INPROGRESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Gives the socket at a path to whom it should belong, then lets them in. A symbolic link that someone put there is not followed.
fn give(path: &Path, access: Access) -> io::Result<()> {
    if access == Access::default() {
        return Ok(());
    }
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    for (what, id, owner, group) in [
        ("user", access.owner, access.owner.map(Uid::from_raw), None),
        ("group", access.group, None, access.group.map(Gid::from_raw)),
    ] {
        let Some(id) = id else { continue };
        chownat(&file, "", owner, group, AtFlags::EMPTY_PATH).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(
                error.kind(),
                format!("cannot give the socket to {what} {id}: {}", os_text(&error)),
            )
        })?;
    }
    if let Some(mode) = access.mode {
        // Before Linux 6.6 no call changes the mode of a descriptor like this one.
        chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_belongs_to_whom_it_should_and_the_umask_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let own = std::fs::metadata(dir.path()).unwrap();
        for mode in [0o666, 0o600, 0o777, 0o660, 0] {
            // The second is what the first left: nobody listens there any more.
            let access = Access { mode: Some(mode), owner: Some(own.uid()), group: Some(own.gid()) };
            let listener = listen_at(&path, access).unwrap();
            assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            assert!(mode == 0 || UnixStream::connect(&path).is_ok());
            drop(listener);
            if mode == 0 {
                // Who is not root could not look whether it is in use.
                std::fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_socket_that_cannot_be_given_away_is_not_left_behind() {
        if rustix::process::geteuid().is_root() {
            // Root can give it to anyone; to nobody means to leave it as it is.
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("sock");
            let _listener =
                listen_at(&path, Access { mode: None, owner: Some(12345), group: Some(54321) }).unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (12345, 54321));
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let error = listen_at(&path, Access { mode: Some(0o600), owner: Some(0), group: None }).unwrap_err();
        assert!(error.to_string().starts_with("cannot give the socket to user 0: "), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_socket_is_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("sock"), dir.path().join("target"));
        std::fs::write(&target, "").unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&target, &path).unwrap();
        let access = Access { mode: Some(0o666), ..Access::default() };
        assert!(listen_at(&path, access).is_err());
        // A descriptor of a link is the link itself: its mode cannot be changed, nor that of what it points to.
        assert!(give(&path, access).is_err());
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
