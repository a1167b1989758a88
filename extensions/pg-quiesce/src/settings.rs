//! What the operator says of the servers: `config` in `agent.toml`.

use serde::Deserialize;

/// The key `config`, with what holds without it.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// The ports of the servers; each has a socket in the folder that `psql` looks into.
    pub(crate) ports: Vec<u16>,
    /// The database that is connected to; a checkpoint is always that of the whole server.
    pub(crate) database: String,
    /// How `psql` is started, so that it may write a checkpoint: a program and its first arguments.
    pub(crate) psql: Vec<String>,
    /// What becomes of a freeze if a server does not run.
    pub(crate) if_down: IfDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IfDown {
    /// It fails.
    Error,
    /// It goes on: the files of a server that does not run do not change.
    Skip,
}

impl Default for Settings {
    fn default() -> Self {
        let psql = ["/usr/sbin/runuser", "-u", "postgres", "--", "/usr/bin/psql"];
        Self {
            ports: vec![5432],
            database: "postgres".into(),
            psql: psql.map(str::to_owned).to_vec(),
            if_down: IfDown::Error,
        }
    }
}

impl Settings {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(text).map_err(|error| format!("config: {error}"))?;
        match () {
            () if settings.ports.is_empty() => Err("config: 'ports' names no server".into()),
            () if settings.psql.is_empty() => Err("config: 'psql' names no program".into()),
            () => Ok(settings),
        }
    }

    /// The program that has a server write a checkpoint, and its arguments.
    pub(crate) fn command(&self, port: u16) -> (String, Vec<String>) {
        let (program, first) = self.psql.split_first().expect("there is one");
        let port = port.to_string();
        // No file of settings, no password asked for, an exit code that tells of failures.
        let own = ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-p", &port, "-d", &self.database];
        // The one statement, so that the grant can be of this one: how long it may take says the environment that is granted.
        let statement = ["-c", "CHECKPOINT"];
        let args = first.iter().cloned().chain(own.into_iter().chain(statement).map(str::to_owned));
        (program.clone(), args.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_one_that_the_pack_asks_for() {
        let (program, args) = Settings::read("{}").unwrap().command(5432);
        assert_eq!(program, "/usr/sbin/runuser");
        let all =
            "-u postgres -- /usr/bin/psql -X -q -w -v ON_ERROR_STOP=1 -p 5432 -d postgres -c CHECKPOINT";
        assert_eq!(args.join(" "), all);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [r#"{"port": 1}"#, r#"{"ports": []}"#, r#"{"psql": []}"#, r#"{"ports": [70000]}"#] {
            assert!(Settings::read(text).is_err_and(|error| error.starts_with("config: ")), "{text}");
        }
        let settings = Settings::read(r#"{"ports": [1, 2], "if-down": "skip"}"#).unwrap();
        assert_eq!((settings.ports, settings.if_down), (vec![1, 2], IfDown::Skip));
    }
}
