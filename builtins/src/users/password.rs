//! Setting a user's password. How that is done is the guest's affair (PAM, shadow, the hash of its choice), so its own `chpasswd` does it.
//!
//! The password goes to that program's standard input and nowhere else.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Deserialize;

use crate::command::{Command, Empty};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::helper::{Failure, Helper};
use crate::qapi::base64::Encoded;
use crate::qapi::shorten;

/// Where the program is looked for: in PATH, if there is one, then where an administrator has it.
const PROGRAMS: [&str; 3] = ["chpasswd", "/usr/sbin/chpasswd", "/sbin/chpasswd"];

/// How long it may take: PAM may ask a directory in the network.
const LIMIT: Duration = Duration::from_secs(60);

/// Sets a user's password.
pub(super) struct GuestSetUserPassword;

/// The arguments of [`GuestSetUserPassword`].
#[derive(Deserialize)]
pub(super) struct SetUserPassword {
    username: String,
    password: Encoded,
    /// Whether the password is a hash as it stands in `/etc/shadow`.
    crypted: bool,
}

impl Command for GuestSetUserPassword {
    const NAME: &'static str = "guest-set-user-password";
    const AUDITED: &'static [&'static str] = &["username", "crypted"];
    type Args = SetUserPassword;
    type Return = Empty;

    async fn run(cx: &Context, args: SetUserPassword) -> Result<Empty> {
        let SetUserPassword { username, password, crypted } = args;
        let line = line(&username, &password.decode()?)?;
        let options: &[&str] = if crypted { &["-e"] } else { &[] };
        // Without a PATH programs are looked for in the current folder too.
        let has_path = std::env::var_os("PATH").is_some();
        for program in PROGRAMS.into_iter().skip(usize::from(!has_path)) {
            match Helper::new(program, options, LIMIT).input(&*line).run(&cx.agent).await {
                Ok(_) => {
                    tracing::info!(user = shorten(&username), crypted, "guest-set-user-password");
                    return Ok(Empty {});
                }
                Err(Failure::Start(_, error)) if error.kind() == ErrorKind::NotFound => {}
                Err(failure) => return Err(failure.of("set user password")),
            }
        }
        Err(Error::generic("failed to set user password: this guest has no chpasswd"))
    }
}

/// What `chpasswd` reads.
///
/// Differs from qemu-ga, which cuts a password at a NUL and sets what stands before it: here that is an error.
fn line(username: &str, password: &[u8]) -> Result<Vec<u8>> {
    if password.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        return Err(Error::generic("forbidden characters in raw password"));
    }
    if username.contains([':', '\n', '\0']) {
        return Err(Error::generic("forbidden characters in username"));
    }
    Ok([username.as_bytes(), b":", password, b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_user_and_one_password() {
        for (username, password, expected) in [
            ("root", &b"secret"[..], Ok(&b"root:secret\n"[..])),
            ("root", b"", Ok(b"root:\n")),
            ("a b", b"a:b c\r\t\xff", Ok(b"a b:a:b c\r\t\xff\n")),
            ("", b"x", Ok(b":x\n")),
            ("root", b"x\nroot:y", Err("forbidden characters in raw password")),
            ("root", b"x\n", Err("forbidden characters in raw password")),
            ("root", b"x\0y", Err("forbidden characters in raw password")),
            ("a:b", b"\n", Err("forbidden characters in raw password")),
            ("a:b", b"x", Err("forbidden characters in username")),
            ("a\nb", b"x", Err("forbidden characters in username")),
            ("a\0b", b"x", Err("forbidden characters in username")),
        ] {
            let line = line(username, password).map_err(|error| error.desc);
            assert_eq!(line.as_deref().map_err(String::as_str), expected, "{username:?} {password:?}");
        }
    }
}
