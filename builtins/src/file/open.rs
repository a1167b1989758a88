//! Opening files, as `fopen` would with qemu-ga's precautions: never waiting, never a terminal, permissions of new files not by umask.
//! Where the caller is limited to places, within them only.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{self, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::within::{Failure, Within};
use super::{Opened, Places, lock};
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
    const RESULT_AUDITED: bool = true;
    type Args = Args;
    type Return = i64;

    async fn run(cx: &Context, Args { path, mode }: Args) -> Result<i64> {
        let word = mode.unwrap_or_else(|| "r".to_owned());
        let mode =
            Mode::parse(&word).ok_or_else(|| Error::generic(format!("invalid file open mode '{word}'")))?;
        tracing::info!(path = shorten(&path), mode = word, "guest-file-open");
        let (counter, limits) = (cx.agent.files.counter.clone(), cx.limits.clone());
        let work = move || {
            let file = open(&limits.file, &path, &word, mode)?;
            // Asked here, for this too waits for a filesystem that hangs.
            let in_memory = page_cache::is_in_memory(&file);
            Ok((Opened { file: Some(file), in_memory, deferred: None }, lock(&counter).take()))
        };
        let (opened, handle) = cx.writing(Work::Files, work).await??;
        cx.agent.files.add(cx, handle, opened);
        Ok(handle)
    }
}

/// What a mode of `fopen` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
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
    pub(super) fn parse(word: &str) -> Option<Self> {
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

    fn reads(self) -> bool {
        self.both || self.kind == Kind::Read
    }

    fn writes(self) -> bool {
        self.both || self.kind != Kind::Read
    }

    /// The flags for what is there; but for what must be emptied.
    fn flags(self) -> OFlags {
        let access = match (self.reads(), self.writes()) {
            (true, true) => OFlags::RDWR,
            (true, false) => OFlags::RDONLY,
            (false, _) => OFlags::WRONLY,
        };
        let append = if self.kind == Kind::Append { OFlags::APPEND } else { OFlags::empty() };
        access | append | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
    }
}

/// A path, and how it is opened.
enum Target<'a> {
    /// Whatever it is, wherever it leads.
    Anywhere(&'a str),
    /// Only if it is within the caller's places.
    Within(Within),
}

impl Target<'_> {
    /// Opens what is there.
    fn existing(&self, flags: OFlags) -> std::result::Result<File, Failure> {
        match self {
            Self::Anywhere(path) => anywhere(path, flags),
            Self::Within(within) => within.existing(flags),
        }
    }

    /// Makes a file without permissions; `EEXIST` if something is there.
    fn create(&self, flags: OFlags) -> std::result::Result<File, Failure> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL;
        match self {
            Self::Anywhere(path) => anywhere(path, flags),
            Self::Within(within) => within.create(flags),
        }
    }
}

fn anywhere(path: &str, flags: OFlags) -> std::result::Result<File, Failure> {
    loop {
        match fs::open(path, flags, fs::Mode::empty()) {
            Err(Errno::INTR) => {}
            other => return other.map(File::from).map_err(Failure::System),
        }
    }
}

/// Opens a file within every layer of places, if there is one.
pub(super) fn open(places: &[Places], path: &str, word: &str, mode: Mode) -> Result<File> {
    let what = || format!("failed to open file '{path}' (mode: '{word}')");
    let failed = |failure| match failure {
        Failure::System(errno) => Error::io(what(), errno.into()),
        Failure::Refused => Error::refused(format!("{}: not allowed by policy", what())),
        Failure::NoOpenat2 => {
            Error::refused(format!("{}: not allowed by policy, for the kernel lacks openat2", what()))
        }
    };
    let target = if places.is_empty() {
        Target::Anywhere(path)
    } else {
        Target::Within(Within::new(places, path, mode.reads(), mode.writes()).map_err(failed)?)
    };
    if mode.kind == Kind::Read {
        return target.existing(mode.flags()).map_err(failed);
    }
    // A new file is made without permissions, then gets qemu-ga's; an existing one keeps its own.
    match target.create(mode.flags()) {
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
        Err(Failure::System(Errno::EXIST)) => {
            let truncate = if mode.kind == Kind::Write { OFlags::TRUNC } else { OFlags::empty() };
            target.existing(mode.flags() | truncate).map_err(failed)
        }
        Err(failure) => Err(failed(failure)),
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
        open(&[], name, "w", Mode::parse("w").unwrap()).unwrap();
        assert_eq!(permissions(), 0o666);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "old").unwrap();
        open(&[], name, "a", Mode::parse("a").unwrap()).unwrap();
        assert_eq!((permissions(), std::fs::read_to_string(&path).unwrap().as_str()), (0o600, "old"));
        open(&[], name, "w+", Mode::parse("w+").unwrap()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        let error = open(&[], "a\0b", "r", Mode::parse("r").unwrap()).unwrap_err();
        assert_eq!(error.desc, "failed to open file 'a\0b' (mode: 'r'): Invalid argument");
    }
}
