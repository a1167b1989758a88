//! Reads and writes sysfs: the attributes below one folder, opened once. No `unsafe` here, but system calls in plenty, so as few as will do.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags, open, openat};

/// The longest attribute that is read, in bytes; those we ask for have less than 32.
const LONGEST: usize = 256;

/// A folder of sysfs.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The number of each entry that is called `prefix` and a number, ascending.
    pub(crate) fn numbered(&self, prefix: &str) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let digits = entry.file_name().to_str().ok().and_then(|name| name.strip_prefix(prefix));
            let plain = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            numbers.extend(plain.and_then(|digits| digits.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The value of an attribute, without the line feed after it.
    pub(crate) fn attribute(&self, name: &str) -> io::Result<String> {
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut value = [0; LONGEST];
        let length = rustix::io::read(&file, &mut value)?;
        Ok(String::from_utf8_lossy(&value[..length]).trim_end().to_owned())
    }

    /// Gives an attribute a value, in one write, as the kernel wants it. How long that takes is the kernel's affair.
    pub(crate) fn set(&self, name: &str, value: &str) -> io::Result<()> {
        let file = openat(&self.0, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::io::write(&file, value.as_bytes())? {
            written if written == value.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn entries_and_attributes_are_found() {
        let root = tempfile::tempdir().unwrap();
        for name in ["cpu10", "cpu2", "cpufreq", "cpu", "cpu2x", "memory3", "cpu99999999999999999999"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("cpu2/online"), "1\n").unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(folder.numbered("cpu").unwrap(), [2, 10]);
        assert_eq!(folder.attribute("cpu2/online").unwrap(), "1");
        assert_eq!(folder.attribute("cpu10/online").unwrap_err().kind(), io::ErrorKind::NotFound);
        folder.set("cpu2/online", "0").unwrap();
        assert_eq!(folder.attribute("cpu2/online").unwrap(), "0");
        assert_eq!(folder.set("cpu10/online", "0").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Folder::open(&root.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
