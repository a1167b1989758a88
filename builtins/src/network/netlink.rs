//! Asks the kernel for its lists of links and addresses over a routing socket (rtnetlink(7)).
//!
//! The C library's getifaddrs asks the same two questions, but throws the 64-bit counters away, for which qemu-ga goes on to read
//! `/proc/net/dev`, and the hardware address, for which it makes a system call an interface.

use std::io;

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The kernel never sends more of a list at once.
const RECEIVED: usize = 32 << 10;

/// How often a list is asked for again that changed while it was told.
const ATTEMPTS: usize = 4;

/// The length of nlmsghdr: length and type of the message, flags, sequence number, sender.
const HEADER: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

/// A list of the kernel's.
#[derive(Debug, Clone, Copy)]
pub(super) enum List {
    /// Interfaces; each entry starts with an ifinfomsg.
    Links = 18,
    /// Their addresses of all families; each entry starts with an ifaddrmsg.
    Addresses = 22,
}

impl List {
    /// The length of what an entry starts with, in bytes.
    pub(super) fn header(self) -> usize {
        match self {
            Self::Links => 16,
            Self::Addresses => 8,
        }
    }
}

/// A routing socket.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one.
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVED) })
    }

    /// The entries of a list that `parse` makes something of, in the kernel's order.
    pub(super) fn list<T>(&mut self, list: List, parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        for _ in 1..ATTEMPTS {
            if let (entries, true) = self.list_once(list, &parse)? {
                return Ok(entries);
            }
        }
        // It changes all the time; a list with an entry too many or too few is better than none.
        Ok(self.list_once(list, &parse)?.0)
    }

    /// The entries, and whether the list stayed the same while it was told.
    fn list_once<T>(&mut self, list: List, parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<(Vec<T>, bool)> {
        self.sequence += 1;
        let mut request = vec![0; HEADER + list.header()];
        let length = u32::try_from(request.len()).unwrap_or_default();
        request[..4].copy_from_slice(&length.to_ne_bytes());
        request[4..6].copy_from_slice(&(list as u16).to_ne_bytes());
        request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        send(&self.socket, &request, SendFlags::empty())?;
        let (mut entries, mut steady) = (Vec::new(), true);
        loop {
            self.buffer.clear();
            // The answer is there already: the kernel writes it when it is asked and when it is read.
            let (_, length) = match recv(&self.socket, spare_capacity(&mut self.buffer), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            if length > self.buffer.len() || length == 0 {
                return Err(Errno::MSGSIZE.into());
            }
            for message in messages(&self.buffer).filter(|message| message.sequence == self.sequence) {
                steady &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok((entries, steady)),
                    NLMSG_ERROR => return Err(refusal(message.body)),
                    _ => entries.extend(parse(message.body)),
                }
            }
        }
    }
}

fn refusal(body: &[u8]) -> io::Error {
    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    io::Error::from_raw_os_error(code.wrapping_neg())
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of one packet, up to the first that does not fit.
fn messages(mut packet: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(packet, 0)?).ok()?;
        let message = packet.get(..length)?;
        packet = packet.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            body: message.get(HEADER..)?,
        })
    })
}

/// The attributes of an entry, after its header: type and value of each, up to the first that does not fit.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// Two bits of the type are marks.
    const TYPE: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        let kind = u16_at(rest, 2)? & TYPE;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of the kernel's at some place, if there is one.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_they_do_not_fit() {
        let attribute = |length: u16, kind: u16, value: &[u8]| {
            [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
        };
        let good = [attribute(5, 3, b"a\0\0\0"), attribute(8, 0x8001, b"bcde")].concat();
        let both = vec![(3, &b"a"[..]), (1, &b"bcde"[..])];
        for (tail, expected) in [
            (Vec::new(), both.clone()),
            (attribute(9, 1, b"abcd"), both.clone()),
            (attribute(3, 1, b""), both.clone()),
            (attribute(0, 1, b""), both.clone()),
            (vec![4, 0, 1], both),
        ] {
            let bytes = [good.clone(), tail].concat();
            assert_eq!(attributes(&bytes).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn messages_end_where_they_do_not_fit() {
        let message = |length: u32, body: &[u8]| [&length.to_ne_bytes()[..], &[0; 12], body].concat();
        for (packet, expected) in [
            ([message(20, b"abcd"), message(17, b"e\0\0\0"), message(16, b"")].concat(), vec![4, 1, 0]),
            (message(21, b"abcd"), vec![]),
            (message(15, b""), vec![]),
            (message(0, b""), vec![]),
            (vec![1, 2], vec![]),
        ] {
            assert_eq!(messages(&packet).map(|message| message.body.len()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_kernel_answers() {
        let mut socket = Socket::open().unwrap();
        for _ in 0..2 {
            assert!(!socket.list(List::Links, |entry| Some(entry.len())).unwrap().is_empty());
            socket.list(List::Addresses, |_| Some(())).unwrap();
        }
    }
}
