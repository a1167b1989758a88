//! Spells replies as qemu-ga does: one line, a space after `:` and `,`, pure ASCII with upper-case `\uXXXX`, doubles with 17 digits.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::text;

/// Spells a value of our own.
///
/// Values are built by commands out of strings, numbers, lists and records, which always have a spelling; one that has none
/// (a map whose keys are not strings) becomes `null`.
pub fn spell<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    match value.serialize(&mut Serializer::with_formatter(&mut out, Spelling)) {
        Ok(()) => out,
        Err(error) => {
            tracing::error!(%error, "a reply has no spelling");
            b"null".to_vec()
        }
    }
}

/// Spells checked JSON text again, token by token and without a tree: for the `id` that a reply echoes.
///
/// Integers over int64 and uint64 stay exact, other numbers become doubles. Differs from qemu-ga: a number too large for a double
/// keeps its own spelling, where qemu-ga writes `inf`, which is not JSON.
pub fn respell(checked: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = checked.get(at) {
        match byte {
            b'"' => {
                let end = text::string_end(checked, at);
                out.extend_from_slice(&spell(&text::unescape(&checked[at..end])));
                at = end;
                continue;
            }
            b':' => out.extend_from_slice(b": "),
            b',' => out.extend_from_slice(b", "),
            b'-' | b'0'..=b'9' => {
                let end = text::value_end(checked, at);
                respell_number(&checked[at..end], out);
                at = end;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            other => out.push(other),
        }
        at += 1;
    }
}

fn respell_number(digits: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(digits).unwrap_or("0");
    let spelt =
        if !text.contains(['.', 'e', 'E']) && text.parse::<i64>().is_ok() | text.parse::<u64>().is_ok() {
            if text == "-0" { "0".into() } else { text.to_owned() }
        } else {
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => double(number),
                _ => text.to_owned(),
            }
        };
    out.extend_from_slice(spelt.as_bytes());
}

/// A finite double as C's `%.17g` prints it.
pub fn double(number: f64) -> String {
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let digits = digits.replace('.', "");
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return format!("{sign}0");
    }
    if !(-4..17).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{mark}{:02}", exponent.unsigned_abs());
    }
    let place = usize::try_from(exponent + 1).unwrap_or(0);
    if place == 0 {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        format!("{sign}0.{}{digits}", "0".repeat(zeros))
    } else if digits.len() <= place {
        format!("{sign}{digits}{}", "0".repeat(place - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..place], &digits[place..])
    }
}

/// The spaces, escapes and doubles of the protocol, for serde_json's serializer.
struct Spelling;

impl Formatter for Spelling {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, number: f64) -> io::Result<()> {
        writer.write_all(double(number).as_bytes())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let plain = |character: char| character.is_ascii() && character != '\x7f';
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            let mut units = [0; 2];
            if plain(character) {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04X}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let letter = match escape {
            CharEscape::Quote => b'"',
            CharEscape::ReverseSolidus => b'\\',
            CharEscape::Solidus => return writer.write_all(b"/"),
            CharEscape::Backspace => b'b',
            CharEscape::FormFeed => b'f',
            CharEscape::LineFeed => b'n',
            CharEscape::CarriageReturn => b'r',
            CharEscape::Tab => b't',
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04X}"),
        };
        writer.write_all(&[b'\\', letter])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_spelt_as_c_does() {
        for (number, expected) in [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (-0.0, "-0"),
            (1e-7, "9.9999999999999995e-08"),
            (18_446_744_073_709_551_616.0, "1.8446744073709552e+19"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.000_01, "1.0000000000000001e-05"),
            (-123.456, "-123.456"),
            (1_700_000_000.123_456, "1700000000.123456"),
            (5e-324, "4.9406564584124654e-324"),
        ] {
            assert_eq!(double(number), expected);
        }
    }

    #[test]
    fn replies_are_spelt_as_qemu_ga_does() {
        let value = serde_json::json!({"a": [1, "é\u{7f}\n\u{1}/\"\\😀"], "b": {}, "c": 0.1});
        let expected =
            r#"{"a": [1, "\u00E9\u007F\n\u0001/\"\\\uD83D\uDE00"], "b": {}, "c": 0.10000000000000001}"#;
        assert_eq!(String::from_utf8(spell(&value)).unwrap(), expected);
    }

    #[test]
    fn an_id_is_spelt_again_token_by_token() {
        for (id, expected) in [
            (r#"{"b":[1,-2],"a":"x\/\u00e9"}"#, r#"{"b": [1, -2], "a": "x/\u00E9"}"#),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1e3", "1000"),
            ("-0", "0"),
            ("1e400", "1e400"),
            ("[null,true,[],{}]", "[null, true, [], {}]"),
        ] {
            let mut out = Vec::new();
            respell(id.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
