//! What the compiler gives up before it reads a module: root, new privileges, files, the network, processes of its own and of others, cores,
//! and more memory and time than it was given.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
    Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::nice;

use super::calls;

/// `nobody` and `nogroup`, by the numbers that the kernel itself has for them.
const NOBODY: u32 = 65_534;
/// Descriptors. It has three; the loader and the engine's clock and thread need a few.
const DESCRIPTORS: rlim_t = 16;
/// Bytes of a file: the engine puts what a memory begins with into one that has no name, where it runs a handler to ask for its commands.
const IMAGE: rlim_t = 32 << 20;
/// It may be slow.
const NICE: i32 = 10;
/// The newest of what Landlock can take away. As the compiler needs nothing of it, more can be taken with each kernel.
const LANDLOCK: ABI = ABI::V10;

/// What becomes of root, where that is who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// It has to be given up.
    Given,
    /// It is where that can be done: in a user namespace there may be nobody else.
    GivenIfPossible,
}

/// Confines this process, which has one thread; what this kernel does not keep from it, each in some words. It ends with its parent.
///
/// # Errors
/// The kernel does not let us: then nothing is compiled.
pub(super) fn confine(memory: u64, seconds: u64, root: Root) -> io::Result<Vec<String>> {
    give_up(memory, seconds, root)?;
    prctl::set_dumpable(false)?;
    // It is lost with the identity.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    close()
}

/// The same of one that somebody started for what it prints, and that is to read what may be anybody's.
///
/// # Errors
/// As above.
pub(crate) fn confine_reader(memory: u64, seconds: u64) -> io::Result<()> {
    give_up(memory, seconds, Root::GivenIfPossible)?;
    close().map(drop)
}

/// Limits and identity.
fn give_up(memory: u64, seconds: u64, root: Root) -> io::Result<()> {
    // The kernel warns at the first (by a signal that ends us) and kills at the second.
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, IMAGE),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
    ] {
        setrlimit(resource, most, most)?;
    }
    nice(NICE)?;
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let given = setgroups(&[])
            .and_then(|()| setresgid(group, group, group))
            .and_then(|()| setresuid(user, user, user));
        if root == Root::Given {
            given?;
        }
    }
    Ok(())
}

/// Files, the network, other processes; what is not kept from us of that.
fn close() -> io::Result<Vec<String>> {
    prctl::set_no_new_privs()?;
    let status = close_doors().map_err(io::Error::other)?;
    // Last, for what is done above might be refused then.
    Ok(lacks(&status.landlock, calls::refuse()))
}

/// What is not kept from it.
fn lacks(doors: &LandlockStatus, calls: Result<(), String>) -> Vec<String> {
    let files = match doors {
        LandlockStatus::NotEnabled => Some("files (Landlock is switched off in this kernel)"),
        LandlockStatus::NotImplemented => Some("files (this kernel has no Landlock)"),
        LandlockStatus::Available { .. } => None,
    };
    let others =
        calls.err().map(|error| format!("processes of its own, sockets and signals (seccomp: {error})"));
    files.map(str::to_owned).into_iter().chain(others).collect()
}

/// Has the kernel refuse to open any file for anything, to bind and connect, and to signal other processes: whatever it knows of that; what
/// came of it. Threads that are started afterwards, and there are none yet, are refused the same. Descriptors that are open stay so.
///
/// # Errors
/// The kernel can do it and does not.
fn close_doors() -> Result<RestrictionStatus, RulesetError> {
    // Without a rule, nothing of what is handled is allowed.
    let closed = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    closed.create()?.restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::{Pid, getppid, setpgid, setsid};

    use super::*;

    /// Where the parent listens, for the child to try.
    const PORT: &str = "CONFINED_TRIES_PORT";
    const SOCKET: &str = "waga-ext-confined-";

    /// Runs a test of this file once more, as what is confined: that cannot be undone.
    fn again(test: &str, port: &str) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("compile::confine::tests::{test}")])
            .args(["--nocapture", "--test-threads", "1"])
            .env(PORT, port)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{child:?}");
        print!("{told}");
    }

    fn refused<T>(done: io::Result<T>) -> Result<(), io::ErrorKind> {
        done.map(drop).map_err(|error| error.kind())
    }

    #[test]
    fn no_file_can_be_opened_and_nobody_reached() {
        if let Ok(port) = std::env::var(PORT) {
            return inside(&port);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let socket = SocketAddr::from_abstract_name(format!("{SOCKET}{port}")).unwrap();
        let _listener = UnixListener::bind_addr(&socket).unwrap();
        again("no_file_can_be_opened_and_nobody_reached", &port);
    }

    fn inside(port: &str) {
        let here = std::env::temp_dir();
        let new = here.join(format!("{SOCKET}{port}"));
        let open = |path: &Path| refused(File::open(path));
        let passwd = Path::new("/etc/passwd");
        let connect = || refused(TcpStream::connect(format!("127.0.0.1:{port}")));
        let socket = SocketAddr::from_abstract_name(format!("{SOCKET}{port}")).unwrap();
        let abstracted = || refused(UnixStream::connect_addr(&socket));
        // All of it can be done before.
        assert_eq!((open(passwd), open(&here), connect(), abstracted()), (Ok(()), Ok(()), Ok(()), Ok(())));

        // Without the list of calls, which would hide what this one does.
        prctl::set_no_new_privs().unwrap();
        let Ok(RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, .. }, .. }) =
            close_doors()
        else {
            println!("left out: this kernel has no Landlock, or it is switched off");
            return;
        };
        let no = Err(io::ErrorKind::PermissionDenied);
        for path in [passwd, &here, Path::new("/dev/null"), Path::new("/proc/self/status")] {
            assert_eq!(open(path), no, "{}", path.display());
        }
        assert_eq!(refused(File::create(&new)), no);
        assert_eq!(refused(fs::create_dir(&new)), no);
        assert_eq!(refused(UnixListener::bind(&new)), no);
        assert_eq!(refused(Command::new("/bin/true").spawn()), no);
        assert_eq!(thread::scope(|scope| scope.spawn(|| open(passwd)).join().unwrap()), no);
        if effective_abi >= ABI::V4 {
            assert_eq!(connect(), no);
            assert_eq!(refused(TcpListener::bind("127.0.0.1:0")), no);
        }
        if effective_abi >= ABI::V6 {
            assert_eq!(abstracted(), no);
        }
        println!("refused as of Landlock {effective_abi:?}");
    }

    /// Not by a process that it starts, not by leaving the group in which it is killed, not by outliving its parent; and no socket of any
    /// kind. What the kernel says for Landlock would be another error.
    #[test]
    fn it_stays_alone_and_where_it_is() {
        if std::env::var(PORT).is_err() {
            return again("it_stays_alone_and_where_it_is", "none");
        }
        let parent = getppid();
        let lacks = confine(1 << 30, 60, Root::Given).unwrap();
        assert!(!lacks.iter().any(|lack| lack.contains("seccomp")), "{lacks:?}");
        let code = |done: io::Result<()>| done.unwrap_err().raw_os_error();
        let no = Some(Errno::EPERM as i32);
        assert_eq!(code(Command::new("/bin/true").spawn().map(drop)), no);
        assert_eq!(code(UdpSocket::bind("127.0.0.1:0").map(drop)), no);
        assert_eq!(code(TcpStream::connect("127.0.0.1:1").map(drop)), no);
        assert_eq!(code(UnixStream::pair().map(drop)), no);
        assert_eq!(code(UnixDatagram::unbound().map(drop)), no);
        assert_eq!(setsid(), Err(Errno::EPERM));
        assert_eq!(setpgid(Pid::from_raw(0), Pid::from_raw(0)), Err(Errno::EPERM));
        assert_eq!(kill(parent, None), Err(Errno::EPERM));
        assert_eq!(prctl::set_pdeathsig(None), Err(Errno::EPERM));
        // What a compiler needs is there: threads, and memory.
        assert_eq!(thread::spawn(|| vec![1_u8; 64 << 20].len()).join().unwrap(), 64 << 20);
        assert_eq!(
            refused(thread::spawn(|| UdpSocket::bind("127.0.0.1:0")).join().unwrap()),
            Err(io::ErrorKind::PermissionDenied)
        );
    }

    #[test]
    fn what_a_kernel_does_not_keep_from_it_is_named() {
        let all = LandlockStatus::Available { effective_abi: ABI::V1, kernel_abi: None };
        let seccomp = || Err("no such call".to_owned());
        let unkept = "processes of its own, sockets and signals (seccomp: no such call)".to_owned();
        assert_eq!(lacks(&all, Ok(())), [""; 0]);
        assert_eq!(lacks(&all, seccomp()), std::slice::from_ref(&unkept));
        let files = "files (this kernel has no Landlock)".to_owned();
        assert_eq!(lacks(&LandlockStatus::NotImplemented, seccomp()), [files, unkept]);
        assert!(lacks(&LandlockStatus::NotEnabled, Ok(()))[0].starts_with("files (Landlock is switched off"));
    }
}
