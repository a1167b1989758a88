//! The keys that open the guest's accounts over ssh.
//!
//! What is at a user's home is the user's: it is read with the user's identity, so that a link there opens nothing to the host that
//! the user could not read.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::unistd::{User, getgrouplist};
use serde::{Deserialize, Serialize};

use crate::command::{Builtin, Command};
use crate::context::{Context, Work};
use crate::error::{Error, Result, os_text};
use crate::sys::identity::{Identity, Refused, as_user};

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<GuestSshGetAuthorizedKeys>()];

/// The most that a file of keys may hold, in bytes.
const LONGEST: u64 = 1 << 20;

/// Lists the keys in a user's `.ssh/authorized_keys`.
struct GuestSshGetAuthorizedKeys;

/// The arguments of [`GuestSshGetAuthorizedKeys`].
#[derive(Debug, Deserialize)]
pub(crate) struct GetAuthorizedKeys {
    username: String,
}

/// The result of [`GuestSshGetAuthorizedKeys`].
#[derive(Debug, Serialize)]
struct AuthorizedKeys {
    keys: Vec<String>,
}

impl Command for GuestSshGetAuthorizedKeys {
    const NAME: &'static str = "guest-ssh-get-authorized-keys";
    const AUDITED: &'static [&'static str] = &["username"];
    type Args = GetAuthorizedKeys;
    type Return = AuthorizedKeys;

    async fn run(cx: &Context, args: GetAuthorizedKeys) -> Result<AuthorizedKeys> {
        cx.blocking(Work::Names, move || {
            let account = Account::of(&args.username)?;
            let text = account.do_as(contents)??;
            Ok(AuthorizedKeys { keys: keys(&text) })
        })
        .await?
    }
}

/// A user's account: where its keys are and as whom to touch them.
struct Account {
    name: String,
    identity: Identity,
    /// `HOME/.ssh/authorized_keys`; as with qemu-ga, whatever sshd's configuration says.
    file: PathBuf,
}

impl Account {
    /// Asks the system's user databases, which may take a while.
    fn of(name: &str) -> Result<Self> {
        // No such user is no error to the C library; qemu-ga prints its text for that.
        let unknown = || Error::generic(format!("failed to lookup user '{name}': Success"));
        let failed =
            |error: nix::Error| Error::io(format_args!("failed to lookup user '{name}'"), error.into());
        let user = User::from_name(name).map_err(failed)?.ok_or_else(unknown)?;
        let spelt = CString::new(name).map_err(|_| unknown())?;
        let groups = getgrouplist(&spelt, user.gid).map_err(|error| {
            Error::io(format_args!("failed to set group for user '{name}'"), error.into())
        })?;
        let identity = Identity { uid: user.uid, gid: user.gid, groups };
        Ok(Self { name: name.to_owned(), identity, file: user.dir.join(".ssh/authorized_keys") })
    }

    /// Does something with the file, as the user.
    fn do_as<T: Send>(&self, work: impl FnOnce(&Path) -> T + Send) -> Result<T> {
        as_user(&self.identity, || work(&self.file)).map_err(|refused| {
            let (what, error) = match refused {
                Refused::Thread(error) => ("start a thread", error),
                Refused::Groups(error) => ("set group", error),
                Refused::Group(error) => ("set effective group ID", error),
                Refused::User(error) => ("set effective user ID", error),
            };
            Error::io(format_args!("failed to {what} for user '{}'", self.name), error)
        })
    }
}

/// The text of a file of keys. The user may have put anything there: what is not a file, or too large for one, is refused unread.
fn contents(path: &Path) -> Result<String> {
    let file = path.display();
    let failed = |step: &str, error: io::Error| {
        let desc = format!("failed to read '{file}': {step} file “{file}”: {}", os_text(&error));
        Error { source: Some(Box::new(error)), ..Error::generic(desc) }
    };
    let unread = |error| failed("Error reading", error);
    let open = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let opened: File = open.map_err(|error| failed("Failed to open", error))?;
    let metadata = opened.metadata().map_err(unread)?;
    if metadata.is_dir() {
        return Err(unread(io::Error::from_raw_os_error(nix::libc::EISDIR)));
    }
    if !metadata.is_file() {
        return Err(unread(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LONGEST {
        return Err(unread(io::Error::from_raw_os_error(nix::libc::EFBIG)));
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The keys of a file, as qemu-ga lists them: trimmed, without comments and blank lines, the last first.
fn keys(text: &str) -> Vec<String> {
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

    #[test]
    fn an_unknown_user_is_told_as_qemu_ga_does() {
        for name in ["waga-no-such-user", "", "root\0"] {
            let error = Account::of(name).err().map(|error| error.desc);
            assert_eq!(error, Some(format!("failed to lookup user '{name}': Success")));
        }
        assert_eq!(Account::of("root").map(|account| account.identity.uid.is_root()).ok(), Some(true));
    }
}
