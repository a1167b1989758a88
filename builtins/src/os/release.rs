//! os-release(5): the distribution's name and version, as assignments in the syntax of a shell.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::page_cache;

/// Where it is: the administrator's file, then the distribution's.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The most of it that is read, in bytes; distributions have some 500.
const LONGEST: usize = 256 << 10;

/// What `guest-get-osinfo` tells of it; what it does not say is absent.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Release {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pretty_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant_id: Option<String>,
}

/// This system's, if it can be had without waiting: a hop to a thread that may wait costs several times the read.
pub(super) fn read_cached() -> Option<Release> {
    let [first, second] = places();
    let bytes = match page_cache::contents(&first, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => page_cache::contents(&second, LONGEST),
        read => read,
    };
    Some(parse(&String::from_utf8_lossy(&bytes.ok()?)))
}

/// This system's. Nothing to be read is nothing said.
pub(super) fn read() -> Release {
    let [first, second] = places();
    match contents(&first).or_else(|_| contents(&second)) {
        Ok(text) => parse(&text),
        Err(error) => {
            tracing::warn!(%error, "cannot read os-release");
            Release::default()
        }
    }
}

/// Where to look; as qemu-ga, only at the file that `QGA_OS_RELEASE` names, where it is set.
fn places() -> [PathBuf; 2] {
    match std::env::var_os("QGA_OS_RELEASE") {
        Some(path) => [path.clone().into(), path.into()],
        None => FILES.map(PathBuf::from),
    }
}

fn contents(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    File::open(path)?.take(LONGEST as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes the assignments we tell of; the last of a name wins.
///
/// Differs from qemu-ga, which says nothing at all when one line is not an assignment or one byte is not UTF-8: only that is lost here.
fn parse(text: &str) -> Release {
    let mut release = Release::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let member = match name.trim() {
            "ID" => &mut release.id,
            "NAME" => &mut release.name,
            "PRETTY_NAME" => &mut release.pretty_name,
            "VERSION" => &mut release.version,
            "VERSION_ID" => &mut release.version_id,
            "VARIANT" => &mut release.variant,
            "VARIANT_ID" => &mut release.variant_id,
            _ => continue,
        };
        *member = Some(unquote(value.trim()));
    }
    release
}

/// The first word of `value` as a shell reads it, without expansions.
///
/// As qemu-ga, `\'` within double quotes is a quote. Differs from qemu-ga: single quotes quote, a word goes on after a closing quote, a
/// backslash without quotes makes the next character plain, and a quote that is not closed ends with the line.
fn unquote(value: &str) -> String {
    let mut word = String::with_capacity(value.len());
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '\\') => word.extend(characters.next()),
            (Some('"'), '\\') => match characters.next() {
                Some(plain @ ('$' | '\'' | '"' | '\\' | '`')) => word.push(plain),
                other => word.extend(['\\'].into_iter().chain(other)),
            },
            (None, ';') => break,
            (None, space) if space.is_ascii_whitespace() => break,
            (_, plain) => word.push(plain),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words_of_a_shell() {
        for (value, word) in [
            ("debian", "debian"),
            ("", ""),
            (r#""""#, ""),
            (r#""12 (bookworm)""#, "12 (bookworm)"),
            ("'A B'", "A B"),
            (r"'a\b'", r"a\b"),
            (r#""Unit test \"\'\$\`\\ and \\\\ etc.""#, r#"Unit test "'$`\ and \\ etc."#),
            (r#""a\nb\z""#, r"a\nb\z"),
            ("a b", "a"),
            ("a;b", "a"),
            ("a#b", "a#b"),
            ("$X", "$X"),
            (r"a\ b", "a b"),
            (r#""x" y"#, "x"),
            (r#""a"b'c'"#, "abc"),
            ("\"unterminated", "unterminated"),
            ("\"a\\\"b", "a\"b"),
            ("\"a\\", "a\\"),
            ("'it", "it"),
            ("\\", ""),
            ("café", "café"),
        ] {
            assert_eq!(unquote(value), word, "{value}");
        }
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = "# comment\n\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
                    VERSION=\"12 (bookworm)\"\r\nnonsense\nHOME_URL=\"https://www.debian.org/\"\n  ID = one  \nID=debian\n#VARIANT=x\n";
        let expected = Release {
            id: Some("debian".into()),
            name: Some("Debian GNU/Linux".into()),
            pretty_name: Some("Debian GNU/Linux 12 (bookworm)".into()),
            version: Some("12 (bookworm)".into()),
            version_id: Some("12".into()),
            ..Release::default()
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), Release::default());
    }
}
