//! Listening sockets that the service manager made and passed (`sd_listen_fds(3)`), which are served like our own.
//!
//! They are the service manager's: it closes them and removes their files.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use waga_builtins::{listen_fds, os_text};

use crate::config::Method;

/// A listening socket that was passed.
#[derive(Debug)]
pub struct Passed {
    /// Its number when the agent was started.
    pub(super) number: i32,
    /// The name it was given, else that of its method.
    pub(crate) name: Arc<str>,
    pub(super) socket: OwnedFd,
}

/// All sockets that were passed to this process, in their order; none if no service manager passes any. Starts no thread.
///
/// `single`: more than one is an error, as with qemu-ga.
///
/// # Errors
/// One of them is no listening stream socket of the families unix and vsock; it is named.
pub fn passed(single: bool) -> io::Result<Vec<Passed>> {
    let passed = listen_fds::take()?;
    if single && passed.len() > 1 {
        return Err(io::Error::other("qemu-ga only supports listening on one socket"));
    }
    passed.into_iter().map(checked).collect()
}

fn checked(passed: listen_fds::Passed) -> io::Result<Passed> {
    let listen_fds::Passed { number, name, fd } = passed;
    let method = method(&fd).map_err(|text| {
        let called = name.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
        let text = format!("unsupported listen fd type: descriptor {number}{called} {text}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    Ok(Passed { number, name: name.map_or_else(|| method.as_str().into(), Into::into), socket: fd })
}

/// The method that a listening socket stands for; else what it is.
fn method(fd: &OwnedFd) -> Result<Method, String> {
    let asked = |error: Errno| match error {
        Errno::NOTSOCK => "is not a socket".to_owned(),
        error => format!("cannot be asked what it is: {}", os_text(&error.into())),
    };
    let family = socket_domain(fd).map_err(asked)?;
    let method = match family {
        AddressFamily::UNIX => Method::UnixListen,
        AddressFamily::VSOCK => Method::VsockListen,
        AddressFamily::INET | AddressFamily::INET6 => {
            return Err("is an internet socket, where only unix and vsock are served".to_owned());
        }
        other => return Err(format!("is a socket of the family {}", other.as_raw())),
    };
    if socket_type(fd).map_err(asked)? != SocketType::STREAM {
        return Err("is no stream socket".to_owned());
    }
    if !socket_acceptconn(fd).map_err(asked)? {
        return Err("does not listen: a service with Accept=no is meant".to_owned());
    }
    Ok(method)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::TcpListener;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn told(fd: impl Into<OwnedFd>, name: Option<&str>) -> Result<String, String> {
        let passed = listen_fds::Passed { number: 3, name: name.map(str::to_owned), fd: fd.into() };
        checked(passed).map(|passed| passed.name.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_listens_is_taken_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let listening = || {
            let path = dir.path().join("sock");
            let _ = std::fs::remove_file(&path);
            UnixListener::bind(path).unwrap()
        };
        assert_eq!(told(listening(), None), Ok("unix-listen".to_owned()));
        assert_eq!(told(listening(), Some("ops")), Ok("ops".to_owned()));
        let datagram = UnixDatagram::unbound().unwrap();
        let (connected, _other) = UnixStream::pair().unwrap();
        let inet = TcpListener::bind("127.0.0.1:0").unwrap();
        for (wrong, expected) in [
            (told(File::open("/dev/null").unwrap(), Some("ops")), "descriptor 3 (ops) is not a socket"),
            (told(datagram, None), "descriptor 3 is no stream socket"),
            (told(connected, None), "descriptor 3 does not listen"),
            (told(inet, None), "descriptor 3 is an internet socket"),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.contains(expected) && error.starts_with("unsupported listen fd type"), "{error}");
        }
    }
}
