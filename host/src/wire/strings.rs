//! What may stand in a string, and its plain spelling: double quotes, standard escapes, valid UTF-8.

/// Why a string is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StringFault {
    Escape,
    /// The escape as it stands, from its backslash.
    Unicode(String),
    Utf8,
}

impl StringFault {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Escape => "invalid escape sequence in string".to_owned(),
            Self::Unicode(escape) => format!("{escape} is not a valid Unicode character"),
            Self::Utf8 => "invalid UTF-8 sequence in string".to_owned(),
        }
    }
}

/// How many bytes at the start of `input` are printable ASCII, neither `quote` nor a backslash: sixty-four at a time, as far as that goes.
pub(super) fn plain_run(input: &[u8], quote: u8) -> usize {
    let special = |byte: u8| !(0x20..0x80).contains(&byte) | (byte == quote) | (byte == b'\\');
    let mut chunks = input.chunks_exact(64);
    let mut run = 0;
    for chunk in &mut chunks {
        if chunk.iter().fold(false, |found, &byte| found | special(byte)) {
            break;
        }
        run += 64;
    }
    run + input[run..].iter().position(|&byte| special(byte)).unwrap_or(input.len() - run)
}

/// How a string that was checked would stand in plain JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// It must be spelt again by [`plain`]: it is valid here, but not plain JSON.
    pub(super) again: bool,
    /// Bytes of its plain spelling, quotes included.
    pub(super) length: usize,
}

/// Checks a string that has escapes, bytes beyond ASCII or single quotes (`quoted` includes its quotes).
pub(super) fn check(quoted: &[u8]) -> Result<Spelling, StringFault> {
    let mut spelling = Spelling { again: quoted[0] == b'\'', length: 2 };
    walk(quoted, |character, plain| {
        spelling.again |= !plain;
        spelling.length += match character {
            '\0'..='\x1f' => escape_of(character).len(),
            '"' | '\\' => 2,
            _ => character.len_utf8(),
        };
    })?;
    Ok(spelling)
}

/// The plain spelling of a checked string, the same for every spelling of the same text, so that keys can be compared as bytes.
pub(super) fn plain(quoted: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    out.push(b'"');
    let spelt = walk(quoted, |character, _| match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        '\0'..='\x1f' => out.extend_from_slice(escape_of(character)),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    });
    debug_assert!(spelt.is_ok(), "only checked strings are spelt again");
    out.push(b'"');
    debug_assert_eq!(out.len(), length, "as long as the check said");
    out
}

/// The one escape by which a control character is spelt: short where there is a short one, so that plain spelling adds little.
fn escape_of(control: char) -> &'static [u8] {
    const ESCAPES: [&[u8]; 32] = [
        b"\\u0000", b"\\u0001", b"\\u0002", b"\\u0003", b"\\u0004", b"\\u0005", b"\\u0006", b"\\u0007",
        b"\\b", b"\\t", b"\\n", b"\\u000b", b"\\f", b"\\r", b"\\u000e", b"\\u000f", b"\\u0010", b"\\u0011",
        b"\\u0012", b"\\u0013", b"\\u0014", b"\\u0015", b"\\u0016", b"\\u0017", b"\\u0018", b"\\u0019",
        b"\\u001a", b"\\u001b", b"\\u001c", b"\\u001d", b"\\u001e", b"\\u001f",
    ];
    ESCAPES.get(control as usize).copied().unwrap_or_default()
}

/// Visits the characters of a string, each with whether it stands there as plain JSON would have it.
fn walk(quoted: &[u8], mut visit: impl FnMut(char, bool)) -> Result<(), StringFault> {
    // The closing quote stays in sight: it ends an escape that is too short, and a fault quotes it.
    let mut rest = &quoted[1..];
    while let Some((&byte, [_, ..])) = rest.split_first() {
        match byte {
            b'\\' => {
                let (character, length, plain) = escape(rest)?;
                visit(character, plain);
                rest = &rest[length..];
            }
            0x80.. => {
                let (character, length) = beyond_ascii(rest)?;
                visit(character, length != 2 || character != '\0');
                rest = &rest[length..];
            }
            _ => {
                // A raw double quote stands only between single quotes.
                visit(char::from(byte), byte != b'"');
                rest = &rest[1..];
            }
        }
    }
    Ok(())
}

/// The character of the escape at the start of `text`, its length, and whether JSON knows it.
fn escape(text: &[u8]) -> Result<(char, usize, bool), StringFault> {
    let character = match text.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'\'') => return Ok(('\'', 2, false)),
        Some(b'b') => '\x08',
        Some(b'f') => '\x0c',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(text),
        _ => return Err(StringFault::Escape),
    };
    Ok((character, 2, true))
}

fn unicode(text: &[u8]) -> Result<(char, usize, bool), StringFault> {
    let fault = |length: usize| {
        let shown = &text[..text.len().min(length)];
        StringFault::Unicode(String::from_utf8_lossy(shown).into_owned())
    };
    let unit = |at: usize| {
        let digits = text.get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        digits[2..].iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
    };
    let first: u32 = unit(0).ok_or_else(|| fault(6))?;
    let (code, length) = match first {
        0xd800..0xdc00 => {
            let second =
                unit(6).filter(|second| (0xdc00..0xe000).contains(second)).ok_or_else(|| fault(6))?;
            (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
        }
        _ => (first, 6),
    };
    let character =
        char::from_u32(code).filter(|&character| !noncharacter(character)).ok_or_else(|| fault(length))?;
    Ok((character, length, true))
}

/// The character at the start of `text`, in modified UTF-8: NUL may be spelt C0 80; noncharacters may not be spelt at all.
fn beyond_ascii(text: &[u8]) -> Result<(char, usize), StringFault> {
    if text.starts_with(b"\xc0\x80") {
        return Ok(('\0', 2));
    }
    let piece = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(piece) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&piece[..error.valid_up_to()]).unwrap_or_default(),
    };
    let character =
        valid.chars().next().filter(|&character| !noncharacter(character)).ok_or(StringFault::Utf8)?;
    Ok((character, character.len_utf8()))
}

fn noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_runs_end_at_the_first_special_byte() {
        let long = [b'x'; 200];
        for special in [b'"', b'\\', b'\n', 0x80, 0xff, 0] {
            for at in [0, 1, 63, 64, 65, 128, 199] {
                let mut input = long;
                input[at] = special;
                assert_eq!(plain_run(&input, b'"'), at);
            }
        }
        assert_eq!(plain_run(&long, b'"'), 200);
        assert_eq!(plain_run(b"a\"b'", b'\''), 3);
    }

    #[test]
    fn strings_are_checked_and_spelt_plainly() {
        for (text, again, spelt) in [
            (&br#""a\n\u0041""#[..], false, &br#""a\nA""#[..]),
            (br#"'a"b\'c'"#, true, br#""a\"b'c""#),
            (br#""\'""#, true, br#""'""#),
            ("\"é\\ud83d\\ude00\"".as_bytes(), false, "\"é😀\"".as_bytes()),
            (b"\"\xc0\x80\"", true, br#""\u0000""#),
            (br#""\u0008\u000C\u001f\u007f\/""#, false, b"\"\\b\\f\\u001f\x7f/\""),
            (b"''", true, b"\"\""),
        ] {
            let spelling = Spelling { again, length: spelt.len() };
            assert_eq!(check(text), Ok(spelling), "{}", text.escape_ascii());
            assert_eq!(plain(text, spelt.len()), spelt, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn every_control_character_has_its_escape() {
        for control in '\0'..='\x1f' {
            let text = format!("\"{}\"", String::from_utf8_lossy(escape_of(control)));
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), control.to_string());
        }
    }

    #[test]
    fn bad_strings_say_why() {
        for (text, expected) in [
            (&br#""\q""#[..], "invalid escape sequence in string"),
            (br#""\ud83d\u0041""#, "\\ud83d is not a valid Unicode character"),
            (br#""\ud83db""#, "\\ud83d is not a valid Unicode character"),
            (br#""\ude00""#, "\\ude00 is not a valid Unicode character"),
            (br#""\ufffe""#, "\\ufffe is not a valid Unicode character"),
            (br#""\ud83f\udffe""#, "\\ud83f\\udffe is not a valid Unicode character"),
            (br#""\u""#, "\\u\" is not a valid Unicode character"),
            (b"'\\u1'", "\\u1' is not a valid Unicode character"),
            (b"\"\\u12\xc3\xa945\"", "\\u12é is not a valid Unicode character"),
            (b"\"\xc3(\"", "invalid UTF-8 sequence in string"),
            (b"\"\xed\xa0\x80\"", "invalid UTF-8 sequence in string"),
            (b"\"\xef\xb7\x90\"", "invalid UTF-8 sequence in string"),
            (b"\"\xf4\x90\x80\x80\"", "invalid UTF-8 sequence in string"),
            (b"\"\xc3\\n\"", "invalid UTF-8 sequence in string"),
        ] {
            assert_eq!(check(text).unwrap_err().text(), expected);
        }
    }
}
