//! Opening files, as `fopen` would with qemu-ga's precautions: never waiting, never a terminal, permissions of new files not by umask.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use nix::fcntl::OFlag;
use serde::Deserialize;

use super::{Opened, lock};
use crate::command::Command;
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::page_cache;
use crate::qapi::shorten;

/// Opens a file and returns its handle, which stays valid until it is closed or the agent ends.
pub(super) struct GuestFileOpen;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    path: String,
    mode: Option<String>,
}

impl Command for GuestFileOpen {
    const NAME: &'static str = "guest-file-open";
    const AUDITED: &'static [&'static str] = &["path", "mode"];
    type Args = Args;
    type Return = i64;

    async fn run(cx: &Context, Args { path, mode }: Args) -> Result<i64> {
        let word = mode.unwrap_or_else(|| "r".to_owned());
        let mode =
            Mode::parse(&word).ok_or_else(|| Error::generic(format!("invalid file open mode '{word}'")))?;
        tracing::info!(path = shorten(&path), mode = word, "guest-file-open");
        let counter = cx.agent.files.counter.clone();
        let work = move || {
            let file = open(&path, &word, mode)?;
            // Asked here, for this too waits for a filesystem that hangs.
            let in_memory = page_cache::is_in_memory(&file);
            Ok((Opened { file: Some(file), in_memory, deferred: None }, lock(&counter).take()))
        };
        let (opened, handle) = cx.blocking(Work::Files, work).await??;
        cx.agent.files.add(handle, cx.owner(), opened);
        Ok(handle)
    }
}

/// What a mode of `fopen` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    kind: Kind,
    both: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Append,
}

impl Mode {
    /// The spellings of C: one of `r w a`, with `b` and `+` in either order after it.
    fn parse(word: &str) -> Option<Self> {
        let mut letters = word.chars();
        let kind = match letters.next()? {
            'r' => Kind::Read,
            'w' => Kind::Write,
            'a' => Kind::Append,
            _ => return None,
        };
        let both = match letters.as_str() {
            "" | "b" => false,
            "+" | "b+" | "+b" => true,
            _ => return None,
        };
        Some(Self { kind, both })
    }

    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(self.both || self.kind == Kind::Read).write(self.both || self.kind == Kind::Write);
        options.append(self.kind == Kind::Append);
        options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits());
        options
    }
}

fn open(path: &str, word: &str, mode: Mode) -> Result<File> {
    let failed = |error: io::Error| {
        // Rust refuses a path with a NUL in it before the kernel sees it, with a text of its own.
        let error = if error.raw_os_error().is_some() { error } else { nix::errno::Errno::EINVAL.into() };
        Error::io(format_args!("failed to open file '{path}' (mode: '{word}')"), error)
    };
    if mode.kind == Kind::Read {
        return mode.options().open(path).map_err(failed);
    }
    // A new file is made without permissions, then gets qemu-ga's; an existing one keeps its own.
    let mut new = mode.options();
    match new.create_new(true).mode(0o0).open(path) {
        Ok(file) => {
            let permissions = file.set_permissions(Permissions::from_mode(0o666));
            permissions.map_err(|error| {
                let text =
                    format_args!("failed to set permission 0666 on new file '{path}' (mode: '{word}')")
                        .to_string();
                Error::io(text, error)
            })?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            mode.options().truncate(mode.kind == Kind::Write).open(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_c() {
        for word in "r rb w wb a ab r+ rb+ r+b w+ wb+ w+b a+ ab+ a+b".split(' ') {
            let mode = Mode::parse(word).unwrap();
            assert_eq!(mode.both, word.contains('+'));
        }
        for word in ["", "x", "rw", "re", "br", "r++", "rbb", "+r", "r b"] {
            assert_eq!(Mode::parse(word), None, "{word:?}");
        }
    }

    #[test]
    fn new_files_get_their_permissions_and_old_ones_keep_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let name = path.to_str().unwrap();
        let permissions = || path.metadata().unwrap().permissions().mode() & 0o7777;
        open(name, "w", Mode::parse("w").unwrap()).unwrap();
        assert_eq!(permissions(), 0o666);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "old").unwrap();
        open(name, "a", Mode::parse("a").unwrap()).unwrap();
        assert_eq!((permissions(), std::fs::read_to_string(&path).unwrap().as_str()), (0o600, "old"));
        open(name, "w+", Mode::parse("w+").unwrap()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        let error = open("a\0b", "r", Mode::parse("r").unwrap()).unwrap_err();
        assert_eq!(error.desc, "failed to open file 'a\0b' (mode: 'r'): Invalid argument");
    }
}
