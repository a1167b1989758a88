//! Walks checked JSON text: where a value ends, what a string says. No state, no validation.

use std::borrow::Cow;

use memchr::memchr2;

/// The position after the string that starts at `start` (its opening quote).
pub(super) fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match memchr2(b'"', b'\\', &text[at..]) {
            Some(offset) if text[at + offset] == b'"' => return at + offset + 1,
            Some(offset) => at += offset + 2,
            None => return text.len(),
        }
    }
}

/// The position after the value that starts at `start`.
pub(super) fn value_end(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (start, 0_usize);
            while at < text.len() {
                match text[at] {
                    b'"' => {
                        at = string_end(text, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            text.len()
        }
        _ => {
            let rest = &text[start.min(text.len())..];
            let length =
                rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\n'));
            start + length.unwrap_or(rest.len())
        }
    }
}

/// The members of the object that `text` is, in order: key, with its quotes, and value.
pub fn members(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    // The bracket, then the comma before the next.
    let mut at = 1;
    std::iter::from_fn(move || {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(text, at);
        let end = value_end(text, key_end + 1);
        let member = (text.get(at..key_end)?, text.get(key_end + 1..end)?);
        at = end + 1;
        Some(member)
    })
}

/// The elements of the array that `text` is, in order.
pub fn elements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 1;
    std::iter::from_fn(move || {
        if matches!(text.get(at), None | Some(b']')) {
            return None;
        }
        let end = value_end(text, at);
        let element = text.get(at..end)?;
        at = end + 1;
        Some(element)
    })
}

/// What a string says (`quoted` with its quotes), borrowed where it stands there as such.
pub fn contents(quoted: &[u8]) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    match std::str::from_utf8(inner) {
        Ok(plain) if memchr::memchr(b'\\', inner).is_none() => Cow::Borrowed(plain),
        _ => Cow::Owned(unescape(quoted)),
    }
}

/// What a string says: `quoted` with its quotes, escapes resolved.
///
/// Escapes were checked by the framer; a text that was not checked loses what cannot be read.
pub fn unescape(quoted: &[u8]) -> String {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        bytes.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'b' => bytes.push(8),
            b'f' => bytes.push(12),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'u' => {
                let (character, length) = unicode_escape(rest);
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(length..).unwrap_or_default();
            }
            other => bytes.push(other),
        }
    }
    bytes.extend_from_slice(rest);
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// As much of a name that came from outside as an error quotes: all of it, unless it is absurdly long.
pub fn shorten(name: &str) -> &str {
    const LONGEST: usize = 4 << 10;
    &name[..name.floor_char_boundary(LONGEST)]
}

/// The character of the hex digits after `\u`, with a second escape joined where they form a surrogate pair, and the bytes taken.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let Some(first) = hex4(text) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if let Some(character) = char::from_u32(first) {
        return (character, 4);
    }
    let second = text.get(4..6).filter(|escape| escape == b"\\u").and_then(|_| hex4(&text[6..]));
    let pair = second.filter(|second| (0xdc00..0xe000).contains(second) && first < 0xdc00);
    match pair.and_then(|second| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))) {
        Some(character) => (character, 10),
        None => (char::REPLACEMENT_CHARACTER, 4),
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (text, end) in [
            (r#""a\"b",1"#, 6),
            (r#"{"a":"}]","b":[1,{}]},2"#, 21),
            ("-1.5e3,", 6),
            ("true}", 4),
            ("[]", 2),
            ("12", 2),
        ] {
            assert_eq!(value_end(text.as_bytes(), 0), end, "{text}");
        }
    }

    #[test]
    fn members_come_in_order() {
        for (text, expected) in [
            ("{}", &[][..]),
            (r#"{"a":1}"#, &[(r#""a""#, "1")]),
            (
                r#"{"a\"":{"b":[1,"}"]},"c":"x,y"}"#,
                &[(r#""a\"""#, r#"{"b":[1,"}"]}"#), (r#""c""#, r#""x,y""#)],
            ),
            ("[1]", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = members(text.as_bytes()).collect();
            let expected: Vec<_> =
                expected.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn elements_come_in_order() {
        for (text, expected) in [
            ("[]", &[][..]),
            ("[1]", &["1"]),
            (r#"["a,]",[2,3],{}]"#, &[r#""a,]""#, "[2,3]", "{}"]),
            ("", &[]),
        ] {
            let found: Vec<_> = elements(text.as_bytes()).collect();
            assert_eq!(
                found,
                expected.iter().map(|element| element.as_bytes()).collect::<Vec<_>>(),
                "{text}"
            );
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shorten("name"), "name");
        assert_eq!(shorten(&format!("x{}", "é".repeat(1 << 20))).len(), (4 << 10) - 1);
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(unescape(br#""a\n\/\\\u00e9\ud83d\ude00\u0000z""#), "a\n/\\é😀\0z");
    }
}
