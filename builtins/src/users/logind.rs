//! The sessions of systemd-logind, from the files in which it keeps them: one a session, lines of `KEY=value`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;

use super::Login;

/// The most of a session's file that is read, in bytes; they have some 500.
const LONGEST: u64 = 64 << 10;

/// The users' logins, earliest first. No folder, no logins.
pub(super) fn logins(folder: &Path) -> Vec<Login> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logins: Vec<_> = entries.filter_map(|entry| login(&session(&entry.path()).ok()?)).collect();
    logins.sort_by(|one, other| one.at.cmp(&other.at).then_with(|| one.user.cmp(&other.user)));
    logins
}

/// The text of one session. Beside the files stand FIFOs, `ID.ref`, which are not opened to be read.
fn session(path: &Path) -> io::Result<String> {
    let file: File = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The login that a session is, if it is a user's: not a greeter's, a service manager's or a background job's, nor one that is over
/// and only waits for its last process.
fn login(session: &str) -> Option<Login> {
    let (mut user, mut class, mut state, mut since) = (None, None, None, None);
    for (key, value) in session.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "USER" => user = Some(value),
            "CLASS" => class = Some(value),
            "STATE" => state = Some(value),
            "REALTIME" => since = value.parse::<i64>().ok(),
            _ => {}
        }
    }
    let since = since?;
    let is_user = class == Some("user") && state != Some("closing");
    is_user.then_some(Login { user: user?.to_owned(), at: (since / 1_000_000, since % 1_000_000) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 257 writes it.
    const SESSION: &str = "# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nIS_DISPLAY=1\nSTATE=active\nREMOTE=1\n\
                           LEADER_FD_SAVED=1\nTYPE=tty\nORIGINAL_TYPE=tty\nCLASS=user\nSCOPE=session-3.scope\nFIFO=/run/systemd/sessions/3.ref\n\
                           REMOTE_HOST=192.0.2.1\nSERVICE=sshd\nLEADER=1234\nAUDIT=3\nREALTIME=1700000000123456\nMONOTONIC=123456\n";

    #[test]
    fn only_users_sessions_are_logins() {
        let alice = Login { user: "alice".into(), at: (1_700_000_000, 123_456) };
        for (session, expected) in [
            (SESSION.to_owned(), Some(alice)),
            (SESSION.replace("CLASS=user", "CLASS=manager"), None),
            (SESSION.replace("CLASS=user", "CLASS=greeter"), None),
            (SESSION.replace("CLASS=user\n", ""), None),
            (SESSION.replace("STATE=active", "STATE=closing"), None),
            (SESSION.replace("REALTIME=17", "REALTIME=x"), None),
            (SESSION.replace("USER=alice\n", ""), None),
            (String::new(), None),
        ] {
            assert_eq!(login(&session), expected, "{session}");
        }
    }

    #[test]
    fn a_folder_of_sessions_is_read_past_its_fifos() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("3"), SESSION).unwrap();
        let bob = SESSION.replace("alice", "bob").replace("REALTIME=17", "REALTIME=16");
        fs::write(folder.path().join("c1"), bob).unwrap();
        nix::unistd::mkfifo(&folder.path().join("3.ref"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let users: Vec<_> = logins(folder.path()).into_iter().map(|login| login.user).collect();
        assert_eq!(users, ["bob", "alice"]);
        assert_eq!(logins(&folder.path().join("none")), []);
    }
}
