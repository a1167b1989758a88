//! Reading what is in memory already, without waiting: for files that are small, asked for often and almost always cached.
//!
//! The kernel can be asked to open a path only if it knows every step of it, and to read only what the page cache holds. Where it
//! cannot, or the answer is no, the caller goes to a thread that may wait.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// The contents of a file of at most `limit` bytes, if that can be had without waiting.
///
/// # Errors
/// That the file is not there; `WouldBlock` for everything that a waiting read might still achieve.
pub(crate) fn contents(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(io::ErrorKind::NotFound.into()),
        Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
    };
    let mut bytes = vec![0; limit.min(4 << 10)];
    let (in_memory, mut filled) = (is_in_memory(&file), 0);
    loop {
        if filled == bytes.len() {
            if filled >= limit {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            bytes.resize((filled * 4).min(limit), 0);
        }
        match read(&file, in_memory, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Whether it is a regular file of a filesystem without a device: such a file is never waited for.
pub(crate) fn is_in_memory(file: &File) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let kind = || fstatfs(file).ok().and_then(|filesystem| u64::try_from(filesystem.f_type).ok());
    regular && matches!(kind(), Some(TMPFS | RAMFS))
}

/// Reads from the file's position what is in memory, one call's worth; zero at its end.
///
/// # Errors
/// `WouldBlock` when the rest is not in memory or the kernel cannot say.
pub(crate) fn read(mut file: &File, in_memory: bool, buffer: &mut [u8]) -> io::Result<usize> {
    if in_memory {
        return file.read(buffer);
    }
    loop {
        // An offset of -1 stands for the file's own position.
        match preadv2(file, &mut [IoSliceMut::new(buffer)], u64::MAX, ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
            Ok(count) => return Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_contents_are_the_files_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let data: Vec<u8> = (0..20_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        std::fs::write(&path, &data).unwrap();
        match contents(&path, 1 << 20) {
            Ok(read) => assert_eq!(read, data),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(contents(&path, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let missing = contents(&dir.path().join("missing"), 100).unwrap_err().kind();
        assert!(matches!(missing, io::ErrorKind::NotFound | io::ErrorKind::WouldBlock));
    }
}
