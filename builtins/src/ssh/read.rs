//! Reads a file of keys. The user may have put anything there: what is not a file, or too large for one, is refused unread.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};

use crate::error::{Error, Result, os_text};

/// The most that a file of keys may hold, in bytes.
pub(super) const LONGEST: u64 = 1 << 20;

/// The text of a file of keys.
pub(super) fn contents(path: &Path) -> Result<String> {
    let open = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let opened = open.map_err(|error| not_opened(path, error))?;
    let bytes = bytes(opened).map_err(|error| not_read(path, error))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The bytes of a regular file of moderate size, opened without waiting for what it might be instead.
pub(super) fn bytes(opened: File) -> io::Result<Vec<u8>> {
    let metadata = opened.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from_raw_os_error(nix::libc::EISDIR));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::from_raw_os_error(nix::libc::EFBIG));
    }
    Ok(bytes)
}

/// The file cannot be opened.
pub(super) fn not_opened(path: &Path, error: io::Error) -> Error {
    failed("Failed to open", path, error)
}

/// The file is open and cannot be read.
pub(super) fn not_read(path: &Path, error: io::Error) -> Error {
    failed("Error reading", path, error)
}

fn failed(step: &str, path: &Path, error: io::Error) -> Error {
    let file = path.display();
    let desc = format!("failed to read '{file}': {step} file “{file}”: {}", os_text(&error));
    Error { source: Some(Box::new(error)), ..Error::generic(desc) }
}

/// The keys of a file, as qemu-ga lists them: trimmed, without comments and blank lines, the last first.
pub(super) fn keys(text: &str) -> Vec<String> {
    let lines =
        text.split('\n').rev().map(|line| line.trim_matches(|space: char| space.is_ascii_whitespace()));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_are_listed_last_first_without_comments() {
        for (text, expected) in [
            (
                "ssh-rsa A one\n# c\n  \n   ssh-ed25519 B two  \n\t#indented\r\nssh-dss C\r\n\x0bvt x\x0b\n no newline #",
                &["no newline #", "\x0bvt x\x0b", "ssh-dss C", "ssh-ed25519 B two", "ssh-rsa A one"][..],
            ),
            ("", &[]),
            ("\n\n#\n", &[]),
        ] {
            assert_eq!(keys(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_files_of_moderate_size_are_read() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("authorized_keys");
        let path = file.display().to_string();
        let check = |expect: &str| {
            let desc = contents(&file).unwrap_err().desc;
            assert_eq!(desc, format!("failed to read '{path}': {expect}").replace("FILE", &path));
        };
        check("Failed to open file “FILE”: No such file or directory");
        fs::create_dir(&file).unwrap();
        check("Error reading file “FILE”: Is a directory");
        fs::remove_dir(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        check("Error reading file “FILE”: not a regular file");
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(contents(&file).unwrap().len(), 1 << 20);
        fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
        check("Error reading file “FILE”: File too large");
        fs::write(&file, b"a\xff").unwrap();
        assert_eq!(contents(&file).unwrap(), "a\u{fffd}");
    }
}
