//! One channel to the host: its transport, its address, who may use it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A transport, by the names that qemu-ga has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The virtio serial port that QEMU gives the guest.
    VirtioSerial,
    /// A serial line.
    IsaSerial,
    /// A unix socket that the agent listens on.
    UnixListen,
    /// A vsock port that the agent listens on.
    VsockListen,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::VirtioSerial, Self::IsaSerial, Self::UnixListen, Self::VsockListen];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtioSerial => "virtio-serial",
            Self::IsaSerial => "isa-serial",
            Self::UnixListen => "unix-listen",
            Self::VsockListen => "vsock-listen",
        }
    }

    /// Where it is when nobody says; as qemu-ga.
    pub fn default_path(self) -> Option<&'static str> {
        match self {
            Self::VirtioSerial => Some("/dev/virtio-ports/org.qemu.guest_agent.0"),
            Self::IsaSerial => Some("/dev/ttyS0"),
            Self::UnixListen | Self::VsockListen => None,
        }
    }
}

impl FromStr for Method {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|method| method.as_str() == name).ok_or(())
    }
}

/// Who may connect to a unix socket. What is not said stays as the kernel makes it: the agent's user and group, mode by umask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, 0 to 0o777.
    pub mode: Option<u32>,
    /// The number of the user it belongs to.
    pub owner: Option<u32>,
    /// The number of the group it belongs to.
    pub group: Option<u32>,
}

/// Where a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The device of a virtio serial port.
    VirtioSerial(PathBuf),
    /// The device of a serial line.
    IsaSerial(PathBuf),
    /// A unix socket to be made.
    Unix(PathBuf, Access),
    /// A vsock port to listen on; cid 4294967295 stands for any.
    Vsock {
        /// The context to listen as.
        cid: u32,
        /// The port's number.
        port: u32,
    },
}

impl Endpoint {
    /// Its transport.
    pub fn method(&self) -> Method {
        match self {
            Self::VirtioSerial(_) => Method::VirtioSerial,
            Self::IsaSerial(_) => Method::IsaSerial,
            Self::Unix(..) => Method::UnixListen,
            Self::Vsock { .. } => Method::VsockListen,
        }
    }
}

/// The address as it is written: a path, or `CID:PORT`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtioSerial(path) | Self::IsaSerial(path) | Self::Unix(path, _) => path.display().fmt(f),
            Self::Vsock { cid, port } => write!(f, "{cid}:{port}"),
        }
    }
}

/// One channel to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What logs, the audit and `[policy.channel.NAME]` call it; the transport's name unless told otherwise.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether it is opened again and again when it cannot be, or fails.
    pub retry: bool,
}

impl Channel {
    /// The channel of a method at a path, as the command line and both kinds of files write it.
    ///
    /// # Errors
    /// A path that is missing where there is no default, or that is no `CID:PORT`.
    pub fn new(method: Method, path: Option<PathBuf>, access: Access) -> Result<Self, String> {
        let path = path.or_else(|| method.default_path().map(PathBuf::from));
        let path = path.ok_or_else(|| match method {
            Method::VsockListen => "a vsock-listen channel needs a path: CID:PORT".to_owned(),
            _ => format!("a {} channel needs a path", method.as_str()),
        })?;
        let endpoint = match method {
            Method::VirtioSerial => Endpoint::VirtioSerial(path),
            Method::IsaSerial => Endpoint::IsaSerial(path),
            Method::UnixListen => Endpoint::Unix(path, access),
            Method::VsockListen => {
                let numbers = path.to_str().and_then(|text| text.split_once(':'));
                let numbers = numbers.and_then(|(cid, port)| Some((cid.parse().ok()?, port.parse().ok()?)));
                let (cid, port) = numbers.ok_or_else(|| {
                    format!(
                        "'{}' is no vsock address: write CID:PORT, two numbers; 4294967295 stands for any CID",
                        path.display()
                    )
                })?;
                Endpoint::Vsock { cid, port }
            }
        };
        Ok(Self { name: method.as_str().into(), endpoint, retry: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_make_channels() {
        for method in Method::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
        }
        assert_eq!("tcp".parse::<Method>(), Err(()));
        let check = |method, path: Option<&str>| {
            let channel = Channel::new(method, path.map(PathBuf::from), Access::default())?;
            Ok(format!("{} {}", channel.name, channel.endpoint))
        };
        let ok = |text: &str| Ok::<_, String>(text.to_owned());
        assert_eq!(
            check(Method::VirtioSerial, None),
            ok("virtio-serial /dev/virtio-ports/org.qemu.guest_agent.0")
        );
        assert_eq!(check(Method::IsaSerial, None), ok("isa-serial /dev/ttyS0"));
        assert_eq!(check(Method::UnixListen, Some("s")), ok("unix-listen s"));
        assert_eq!(check(Method::VsockListen, Some("4294967295:1234")), ok("vsock-listen 4294967295:1234"));
        for wrong in ["", "1", "1:", ":1", "a:1", "1:4294967296", "-1:1", "1:2:3", " 1:2"] {
            assert!(check(Method::VsockListen, Some(wrong)).unwrap_err().contains("CID:PORT"), "{wrong}");
        }
        assert!(check(Method::UnixListen, None).unwrap_err().contains("needs a path"));
        assert!(check(Method::VsockListen, None).unwrap_err().contains("CID:PORT"));
    }
}
