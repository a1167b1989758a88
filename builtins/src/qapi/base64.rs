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
    if STANDARD.check(text.bytes()).is_ok()
        && let Ok(decoded) = STANDARD.decode_inplace(text.bytes_mut())
    {
        let length = decoded.len();
        text.truncate(length);
        return Ok(text);
    }
    // Escapes (the line feeds of wrapped base64 among them), inner padding or a cut tail: rare, and copied.
    let mut plain = Vec::with_capacity(text.bytes().len() + 2);
    plain.push(b'"');
    plain.extend_from_slice(text.bytes());
    plain.push(b'"');
    text.replace(decode(&super::text::unescape(&plain))?);
    Ok(text)
}

/// Decodes as qemu-ga does: line feeds are passed over, groups of four may end in padding anywhere, an incomplete group at the end
/// is dropped.
///
/// # Errors
/// `Base64 data contains invalid characters` for a byte other than the alphabet, `=` and line feed.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut filled, mut padding) = (0_u32, 0, [false; 2]);
    for byte in text.bytes().filter(|&byte| byte != b'\n') {
        let value = sextet(byte).ok_or_else(|| Error::generic("Base64 data contains invalid characters"))?;
        group = group << 6 | u32::from(value);
        padding = [padding[1], byte == b'='];
        filled += 1;
        if filled == 4 {
            let [_, first, second, third] = group.to_be_bytes();
            bytes.push(first);
            bytes.extend((!padding[0]).then_some(second));
            bytes.extend((!padding[1]).then_some(third));
            (group, filled) = (0, 0);
        }
    }
    Ok(bytes)
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
