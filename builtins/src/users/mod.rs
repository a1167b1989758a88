//! Who is logged in, and with which password.

mod logind;
mod password;
mod utmp;

use std::path::Path;

use serde::Serialize;

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work};
use crate::error::Result;

pub(crate) const COMMANDS: &[Builtin] =
    &[Builtin::of::<GuestGetUsers>(), Builtin::of::<password::GuestSetUserPassword>()];

/// Lists the users who are logged in, each once, since their earliest login.
struct GuestGetUsers;

/// One entry of [`GuestGetUsers`]; `domain`, which the schema has too, is never set on Linux.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    user: String,
    /// Seconds since the epoch.
    login_time: f64,
}

impl Command for GuestGetUsers {
    const NAME: &'static str = "guest-get-users";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<User>;

    /// Differs from qemu-ga: where there is no utmp (Debian 13), logind's sessions are listed, not nobody.
    async fn run(cx: &Context, _: Empty) -> Result<Vec<User>> {
        let logins = || match utmp::logins(Path::new("/var/run/utmp")) {
            Ok(logins) => logins,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                logind::logins(Path::new("/run/systemd/sessions"))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read utmp");
                Vec::new()
            }
        };
        Ok(earliest(cx.blocking(Work::Inspect, logins).await?))
    }
}

/// One login of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    user: String,
    /// Seconds since the epoch, and microseconds.
    at: (i64, i64),
}

/// Each user once, in the order of their first entries, with the time of the earliest.
fn earliest(logins: Vec<Login>) -> Vec<User> {
    let mut firsts: Vec<Login> = Vec::new();
    for login in logins {
        match firsts.iter_mut().find(|first| first.user == login.user) {
            Some(first) => first.at = first.at.min(login.at),
            None => firsts.push(login),
        }
    }
    // As qemu-ga adds them up, so that the sum is rounded as its is.
    let seconds = |(seconds, micros): (i64, i64)| seconds as f64 + micros as f64 / 1_000_000.0;
    firsts.into_iter().map(|first| User { login_time: seconds(first.at), user: first.user }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_listed_once_since_the_earliest_login() {
        let login = |user: &str, seconds, micros| Login { user: user.into(), at: (seconds, micros) };
        let logins = vec![
            login("bob", 2000, 500_000),
            login("alice", 3000, 1),
            login("bob", 1000, 250_000),
            login("alice", 4000, 1),
            login("bob", 1000, 250_001),
        ];
        let user = |user: &str, login_time| User { user: user.into(), login_time };
        assert_eq!(earliest(logins), [user("bob", 1000.25), user("alice", 3_000.000_001)]);
        assert_eq!(earliest(Vec::new()), []);
    }
}
