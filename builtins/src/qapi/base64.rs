//! Base64 as the protocol has it: strict going out, as lenient as qemu-ga coming in, in place and at memory speed where it is clean.

use base64_simd::STANDARD;
use serde::{Deserialize, Deserializer};

use super::arguments::Taken;
use crate::error::{Error, Result};

/// Appends the base64 of `bytes`, padded, without line breaks.
pub fn encode_onto(bytes: &[u8], out: &mut Vec<u8>) {
    STANDARD.encode_append(bytes, out);
}

/// The base64 of `bytes`, padded, without line breaks.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// Decodes the contents of a string argument where it stands.
///
/// # Errors
/// A byte other than the alphabet, `=` and line feed.
pub fn decode_in_place(mut text: Taken) -> Result<Taken> {
    if STANDARD.check(text.bytes()).is_err() {
        // Wrapped lines, inner padding, a cut tail: still in place. Escapes of anything but line feeds and slashes: rare, and copied.
        match unwrap_lines(text.bytes_mut()) {
            Some(length) => text.truncate(length),
            None => {
                let quoted = [b"\"", text.bytes(), b"\""].concat();
                text.replace(super::text::unescape(&quoted).into_bytes());
            }
        }
    }
    let length = match STANDARD.check(text.bytes()) {
        Ok(()) => {
            STANDARD.decode_inplace(text.bytes_mut()).map(|decoded| decoded.len()).map_err(|_| invalid())?
        }
        Err(_) => decode_leniently(text.bytes_mut())?,
    };
    text.truncate(length);
    Ok(text)
}

/// Takes the line feeds, which checked text has as `\n`, out of a text and makes `\/` plain: the new length. `None`, and nothing is
/// changed, when there are other escapes.
fn unwrap_lines(text: &mut [u8]) -> Option<usize> {
    let mut escapes = memchr::memchr_iter(b'\\', text);
    if !escapes.all(|at| matches!(text.get(at + 1), Some(b'n' | b'/'))) {
        return None;
    }
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        let run = memchr::memchr(b'\\', &text[from..]).unwrap_or(text.len() - from);
        text.copy_within(from..from + run, to);
        (from, to) = (from + run, to + run);
        if let Some(&escape) = text.get(from + 1) {
            if escape == b'/' {
                text[to] = b'/';
                to += 1;
            }
            from += 2;
        }
    }
    Some(to)
}

/// Decodes as qemu-ga does: line feeds are passed over, groups of four may end in padding anywhere, an incomplete group at the end
/// is dropped.
///
/// # Errors
/// `Base64 data contains invalid characters` for a byte other than the alphabet, `=` and line feed.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let mut bytes = text.as_bytes().to_vec();
    let length = decode_leniently(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn invalid() -> Error {
    Error::generic("Base64 data contains invalid characters")
}

/// As [`decode`], to the start of the same bytes: what is written never overtakes what is read. The length of it.
fn decode_leniently(bytes: &mut [u8]) -> Result<usize> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    };
    let (mut group, mut filled, mut padding, mut length) = (0_u32, 0, [false; 2], 0);
    for at in 0..bytes.len() {
        let byte = bytes[at];
        if byte == b'\n' {
            continue;
        }
        group = group << 6 | u32::from(sextet(byte).ok_or_else(invalid)?);
        padding = [padding[1], byte == b'='];
        filled += 1;
        if filled == 4 {
            let [_, first, second, third] = group.to_be_bytes();
            for (decoded, wanted) in [(first, true), (second, !padding[0]), (third, !padding[1])] {
                if wanted {
                    bytes[length] = decoded;
                    length += 1;
                }
            }
            (group, filled) = (0, 0);
        }
    }
    Ok(length)
}

/// A base64 argument of moderate size, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(String);

impl Encoded {
    /// Decodes as [`decode`] does; apart from reading the arguments, because qemu-ga reports it after them.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(&self) -> Result<Vec<u8>> {
        decode(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_read_as_leniently_as_qemu_ga_reads_it() {
        for (text, bytes) in [
            ("aGVsbG8=", &b"hello"[..]),
            ("aGVs\nbG8=\n", b"hello"),
            ("YQ", b""),
            ("aGVsYQ", b"hel"),
            ("=", b""),
            ("YQ==Yg==", b"ab"),
            ("YR==", b"a"),
            ("", b""),
            ("====", b"\0"),
            ("aGVs\nbG8/\n\nYQ=\n=", b"hello?a"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes, "{text:?}");
            let quoted = format!("\"{}\"", text.replace('\n', "\\n"));
            let length = quoted.len();
            let object =
                super::super::Arguments::new(format!("{{\"b\":{quoted}}}").into_bytes(), 0..length + 6);
            #[derive(Deserialize)]
            struct Args {
                b: super::super::arguments::Span,
            }
            let args: Args = object.parse().unwrap();
            assert_eq!(decode_in_place(object.into_string(&args.b)).unwrap().bytes(), bytes, "{text:?}");
        }
        for text in ["a b=", "YQ==\r", "_-__", "é"] {
            assert_eq!(decode(text).unwrap_err().desc, "Base64 data contains invalid characters");
        }
    }
}
