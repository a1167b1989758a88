//! Making a unix socket: not taken away from who listens there, and never reachable for more than may use it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid, chmod, chownat, fchmod, flock, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use waga_builtins::os_text;

use super::listener::{BACKLOG, Listener};
use crate::config::Access;

/// How often the lock of a folder is asked for, and the pause in between: a second in all.
const ATTEMPTS: u32 = 100;
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// How long a program that was just begun may take to let go what it is not to have.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Makes the socket and listens. A socket that nobody listens on any more is replaced, as qemu-ga does.
///
/// Differs from qemu-ga: that takes the path from whoever listens there, and removes what is no socket.
///
/// # Errors
/// Someone listens there; the path is not a socket; the folder is not writable; the socket cannot be given to whom it should belong.
pub(super) fn listen_at(path: &Path, access: Access) -> io::Result<Listener> {
    match try_listen(path, access) {
        Err(Taken::Connected(other)) if is_let_go(&other) => try_listen(path, access),
        other => other,
    }
    .map_err(|taken| match taken {
        Taken::Connected(_) | Taken::Full => {
            io::Error::new(ErrorKind::AddrInUse, "another program uses this socket")
        }
        Taken::Otherwise(error) => error,
    })
}

/// Why there is no socket.
enum Taken {
    /// Someone listens; the connection to them.
    Connected(OwnedFd),
    /// Someone listens whom nothing reaches.
    Full,
    /// It cannot be made.
    Otherwise(io::Error),
}

impl<E: Into<io::Error>> From<E> for Taken {
    fn from(error: E) -> Self {
        Self::Otherwise(error.into())
    }
}

fn try_listen(path: &Path, access: Access) -> Result<Listener, Taken> {
    let _alone = alone(path);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "exists and is not a socket").into());
        }
        Ok(_) => {
            is_free(path)?;
            std::fs::remove_file(path)?;
        }
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
        return Err(error.into());
    }
    listen(&socket, BACKLOG)?;
    Ok(Listener::new(socket)?)
}

/// Keeps other agents from making a socket in the same folder until it is dropped. Two that find the same old socket at once would both
/// replace it, and one of them would listen where nobody can connect.
///
/// `None` if that lock is not to be had: someone has it for long, or the filesystem has none. Then the risk is taken.
fn alone(path: &Path) -> Option<OwnedFd> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty()).ok()?;
    for _ in 0..ATTEMPTS {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return None,
        }
        // No descriptors: only the time passes.
        let _ = poll(&mut [], Some(&PAUSE));
    }
    None
}

/// That no program has this socket any more; a full backlog and another type of socket are one that has.
fn is_free(path: &Path) -> Result<(), Taken> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Ok(()) => Err(Taken::Connected(socket)),
        Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::INPROGRESS) => Err(Taken::Full),
        Err(error) => Err(error.into()),
    }
}

/// Whether who listens lets the socket go in a moment: a child that the last agent had just begun has it until it becomes its own
/// program. Then nobody has accepted, and the connection ends.
fn is_let_go(connection: &OwnedFd) -> bool {
    let mut ends = [PollFd::new(connection, PollFlags::RDHUP)];
    matches!(poll(&mut ends, Some(&MOMENT)), Ok(1..))
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

/// How long a folder may take to say whether it can be written to.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the folder of a socket can be written to without waiting for a thaw. There is no way to ask: a thread tries, and if it has to wait
/// it ends with the thaw.
pub(super) fn takes_files(socket: &Path) -> bool {
    let folder =
        socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let (done, tried) = mpsc::channel();
    let attempt = move || {
        // Gives it the permissions that it has: a change as far as the filesystem is concerned.
        let permissions = fs::metadata(&folder).map(|metadata| metadata.permissions());
        let _ =
            done.send(permissions.and_then(|permissions| fs::set_permissions(&folder, permissions)).is_ok());
    };
    // Refused at once is as good: so will the socket be.
    thread::Builder::new().name("attempt".into()).spawn(attempt).is_err()
        || tried.recv_timeout(PATIENCE).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

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
    fn of_many_that_start_at_once_one_gets_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        for round in 0..50 {
            // What the round before left is nobody's any more.
            let start = std::sync::Barrier::new(4);
            let begin = || {
                start.wait();
                listen_at(&path, Access::default())
            };
            let results = std::thread::scope(|scope| {
                let started = [(); 4].map(|()| scope.spawn(begin));
                started.map(|thread| thread.join().unwrap())
            });
            let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
            assert_eq!(errors.len(), 3, "round {round}: {errors:?}");
            assert!(errors.iter().all(|error| error.kind() == ErrorKind::AddrInUse), "{errors:?}");
            assert!(UnixStream::connect(&path).is_ok(), "round {round}: the one that listens is not found");
        }
    }

    #[test]
    fn a_socket_that_is_let_go_in_a_moment_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let last = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            // Until someone asks.
            scope.spawn(move || poll(&mut [PollFd::new(&last, PollFlags::IN)], None).unwrap());
            listen_at(&path, Access::default()).unwrap();
        });
    }

    #[test]
    fn a_folder_that_someone_else_keeps_locked_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        flock(&folder, FlockOperation::LockShared).unwrap();
        listen_at(&dir.path().join("sock"), Access::default()).unwrap();
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
