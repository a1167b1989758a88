//! JSON text laid out anew, compact or pretty, with every number and string as it was spelt.

use std::io::{self, Write};

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// On one line, without blanks.
    Compact,
    /// A member or an element a line, indented by two blanks a level.
    Pretty,
}

/// Levels beyond this are indented no further: a guest could ask for more blanks than there is memory.
const DEEPEST_INDENT: usize = 64;

/// Writes valid JSON text in a layout.
///
/// DEL and the control characters above it, which JSON lets pass and terminals obey, become escapes of the same meaning.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut impl Write, text: &str, layout: Layout) -> io::Result<()> {
    let pretty = layout == Layout::Pretty;
    let newline = |out: &mut dyn Write, depth: usize| {
        if !pretty {
            return Ok(());
        }
        let width = 2 * depth.min(DEEPEST_INDENT);
        write!(out, "\n{:width$}", "")
    };
    let mut rest = text.trim_ascii_start();
    let mut depth = 0_usize;
    while let Some(&first) = rest.as_bytes().first() {
        let length = match first {
            b'"' => string(rest),
            b'{' | b'[' | b'}' | b']' | b',' | b':' => 1,
            // A number or a word.
            _ => rest.find(|c: char| c.is_ascii_whitespace() || ",:]}".contains(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_ascii_start();
        match first {
            b'"' => write_string(out, token)?,
            b'{' | b'[' if rest.starts_with(['}', ']']) => {
                write!(out, "{token}{}", &rest[..1])?;
                rest = rest[1..].trim_ascii_start();
            }
            b'{' | b'[' => {
                out.write_all(token.as_bytes())?;
                depth += 1;
                newline(out, depth)?;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(out, depth)?;
                out.write_all(token.as_bytes())?;
            }
            b',' => {
                out.write_all(token.as_bytes())?;
                newline(out, depth)?;
            }
            b':' if pretty => out.write_all(b": ")?,
            _ => out.write_all(token.as_bytes())?,
        }
    }
    Ok(())
}

/// The length of the string that `text` begins with, quotes included.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

fn write_string(out: &mut impl Write, token: &str) -> io::Result<()> {
    let mut rest = token;
    // 0xC2 is what U+0080 to U+009F begin with in UTF-8, and some harmless ones after them.
    let mut from = 0;
    while let Some(found) = memchr::memchr2(0x7f, 0xc2, &rest.as_bytes()[from..]) {
        let place = from + found;
        let letter = rest[place..].chars().next().expect("a character begins there");
        from = place + letter.len_utf8();
        if letter.is_control() {
            write!(out, "{}\\u{:04x}", &rest[..place], u32::from(letter))?;
            rest = &rest[from..];
            from = 0;
        }
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(text: &str, layout: Layout) -> String {
        let mut out = Vec::new();
        write(&mut out, text, layout).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn layouts_change_blanks_alone() {
        let text = " {\"z\" : [1.0,\n -0, 1E+400 ,18446744073709551616],\t\"a\": { } ,\"b\":[ ], \"c, : {\\\"]\": [{\"d\":null}], \"e\":\"\\\\\"}\r\n";
        let compact =
            r#"{"z":[1.0,-0,1E+400,18446744073709551616],"a":{},"b":[],"c, : {\"]":[{"d":null}],"e":"\\"}"#;
        let pretty = r#"{
  "z": [
    1.0,
    -0,
    1E+400,
    18446744073709551616
  ],
  "a": {},
  "b": [],
  "c, : {\"]": [
    {
      "d": null
    }
  ],
  "e": "\\"
}"#;
        assert_eq!(laid_out(text, Layout::Compact), compact);
        assert_eq!(laid_out(text, Layout::Pretty), pretty);
        assert_eq!(laid_out(pretty, Layout::Compact), compact);
        for scalar in ["5", "\"a b\"", "true", "\"\"", "{}", "[]"] {
            assert_eq!(laid_out(scalar, Layout::Pretty), scalar);
        }
    }

    #[test]
    fn no_control_character_gets_through() {
        assert_eq!(
            laid_out("\"a\u{7f}é\u{9b}2J\u{a0}ü\u{80}\"", Layout::Compact),
            "\"a\\u007fé\\u009b2J\u{a0}ü\\u0080\""
        );
    }

    #[test]
    fn depth_costs_no_more_than_its_text() {
        let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(laid_out(&text, Layout::Pretty).len() < 200_000 * (2 * DEEPEST_INDENT + 2));
        assert_eq!(laid_out(&text, Layout::Compact), text);
    }

    proptest::proptest! {
        #[test]
        fn any_value_means_the_same(strings in proptest::collection::vec(".*", 0..5), number: i64) {
            let value = serde_json::json!({"s": strings, "n": number, "o": {"x": [strings]}});
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                for layout in [Layout::Compact, Layout::Pretty] {
                    let again: serde_json::Value = serde_json::from_str(&laid_out(&text, layout)).unwrap();
                    proptest::prop_assert_eq!(&again, &value);
                }
            }
        }
    }
}
