//! utmp(5): the file of fixed records that says who is logged in, where a distribution still has one.
//!
//! Read as bytes: the C library's own reader keeps a position that all threads share.

use std::fs::File;
use std::io::{self, Read};
use std::mem::{offset_of, size_of};
use std::path::Path;

use nix::libc::{USER_PROCESS, utmpx};

use super::Login;

/// The most of it that is read, in bytes: some 40,000 logins.
const LONGEST: u64 = 16 << 20;

/// The logins of users, in the order of the file.
pub(super) fn logins(path: &Path) -> io::Result<Vec<Login>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

/// The C library decides, by architecture, about the size of a record and whether its time has 32 or 64 bits.
fn parse(bytes: &[u8]) -> Vec<Login> {
    bytes.chunks_exact(size_of::<utmpx>()).filter_map(login).collect()
}

fn login(record: &[u8]) -> Option<Login> {
    let kind = i16::from_ne_bytes(field(record, offset_of!(utmpx, ut_type))?);
    if kind != USER_PROCESS {
        return None;
    }
    let name = record.get(offset_of!(utmpx, ut_user)..offset_of!(utmpx, ut_host))?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let time = offset_of!(utmpx, ut_tv);
    let width = size_of_member(|record: &utmpx| &record.ut_tv) / 2;
    let number = |at: usize| match width {
        // Unsigned as the C library has it since 2.40, for the years after 2038.
        4 => Some(i64::from(u32::from_ne_bytes(field(record, at)?))),
        _ => Some(i64::from_ne_bytes(field(record, at)?)),
    };
    let user = String::from_utf8_lossy(&name[..end]).into_owned();
    Some(Login { user, at: (number(time)?, number(time + width)?) })
}

fn field<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..at + N)?.try_into().ok()
}

const fn size_of_member<T, M>(_: fn(&T) -> &M) -> usize {
    size_of::<M>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record in the layout of this machine.
    fn record(kind: i16, user: &[u8], seconds: u32, micros: u32) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<utmpx>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(utmpx, ut_type), &kind.to_ne_bytes());
        put(offset_of!(utmpx, ut_user), user);
        put(offset_of!(utmpx, ut_host), b"host");
        let time = offset_of!(utmpx, ut_tv);
        if size_of_member(|record: &utmpx| &record.ut_tv) == 8 {
            put(time, &seconds.to_ne_bytes());
            put(time + 4, &micros.to_ne_bytes());
        } else {
            put(time, &u64::from(seconds).to_ne_bytes());
            put(time + 8, &u64::from(micros).to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn only_users_logins_are_taken() {
        let file = [
            record(2, b"reboot", 100, 1),
            record(7, b"bob", 2000, 500_000),
            record(8, b"gone", 5, 5),
            record(7, &[b'z'; 32], 7, 7),
            record(7, b"\xc3\xbc\xff", 4_294_967_291, 9),
            b"cut off".to_vec(),
        ]
        .concat();
        let login = |user: &str, seconds, micros| Login { user: user.into(), at: (seconds, micros) };
        let expected =
            [login("bob", 2000, 500_000), login(&"z".repeat(32), 7, 7), login("ü\u{fffd}", 4_294_967_291, 9)];
        assert_eq!(parse(&file), expected);
        assert_eq!(parse(b""), []);
    }
}
