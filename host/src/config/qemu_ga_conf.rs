//! `qemu-ga.conf`: the group `[general]` of a key file, read as qemu-ga reads it. Unknown keys mean nothing, as there.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::key_file::{self, Entry, Fault};
use crate::cli::{self, Options};
use crate::nearest::nearest;
use crate::policy::Origin;

/// Where qemu-ga has it; the variable `QGA_CONF` names another.
pub(super) const DEFAULT: &str = "/etc/qemu/qemu-ga.conf";

/// What a file says, and for the two lists where.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) options: Options,
    /// `verbose=false` and the like are no answer: they cannot take back an option.
    pub(super) block: Vec<Origin>,
    pub(super) allow: Vec<Origin>,
    /// Keys that mean nothing.
    pub(super) doubts: Vec<String>,
}

/// What there is.
const KEYS: [&str; 11] = [
    "daemon",
    "method",
    "path",
    "logfile",
    "pidfile",
    "fsfreeze-hook",
    "statedir",
    "verbose",
    "retry-path",
    "block-rpcs",
    "allow-rpcs",
];

/// Whether a file has groups, but not the one that means something.
pub(super) fn is_another(text: &str) -> bool {
    let mut groups = text.lines().map(str::trim).filter(|line| line.starts_with('[')).peekable();
    groups.peek().is_some() && !groups.any(|line| line == "[general]")
}

/// Reads the text of a file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Said, ConfigError> {
    let failed =
        |fault: Fault| ConfigError::new(format!("{}:{}: {}", path.display(), fault.line, fault.text));
    let mut said = Said::default();
    for entry in key_file::group(text, "general").map_err(failed)? {
        record(&mut said, &entry, path).map_err(failed)?;
    }
    Ok(said)
}

/// Of a key that stands twice the last one counts.
fn record(said: &mut Said, entry: &Entry, path: &Path) -> Result<(), Fault> {
    let file = || entry.string().map(|value| Some(PathBuf::from(value)));
    let options = &mut said.options;
    match entry.key.as_str() {
        "daemon" => options.daemonize = entry.boolean()?,
        "method" => options.method = Some(entry.string()?),
        "path" => options.path = file()?,
        "logfile" => options.log_file = file()?,
        "pidfile" => options.pid_file = file()?,
        "fsfreeze-hook" => options.fsfreeze_hook = file()?,
        "statedir" => options.state_dir = file()?,
        "verbose" => options.verbose = entry.boolean()?,
        "retry-path" => options.retry_path = entry.boolean()?,
        // `blacklist` is what it was called before 8.0. Where both are, both hold.
        key @ ("block-rpcs" | "blacklist") => {
            let origin = Origin::line(path, entry.line, key);
            set(&mut options.block, &mut said.block, &entry.string()?, origin);
        }
        key @ "allow-rpcs" => {
            let origin = Origin::line(path, entry.line, key);
            set(&mut options.allow, &mut said.allow, &entry.string()?, origin);
        }
        key => {
            let hint =
                nearest(key, KEYS).map(|known| format!("; did you mean '{known}'?")).unwrap_or_default();
            let text = format!("{}:{}: qemu-ga knows no key '{key}'{hint}", path.display(), entry.line);
            said.doubts.push(text);
        }
    }
    Ok(())
}

/// Takes the place of the list that this key brought before.
fn set(lists: &mut Vec<Vec<String>>, origins: &mut Vec<Origin>, value: &str, origin: Origin) {
    if let Some(place) = origins.iter().position(|known| known.key() == origin.key()) {
        lists.remove(place);
        origins.remove(place);
    }
    if let Some(names) = cli::names(value) {
        lists.push(names);
        origins.push(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Options, String> {
        let said = parse(text, Path::new("q.conf")).map_err(|error| error.to_string())?;
        assert_eq!(
            (said.block.len(), said.allow.len()),
            (said.options.block.len(), said.options.allow.len())
        );
        Ok(said.options)
    }

    #[test]
    fn every_key_is_read() {
        let options = check(
            "[general]\ndaemon=1\nmethod=isa-serial\npath=/p\nlogfile=/l\npidfile=/f\nfsfreeze-hook=/h\nstatedir=/s\n\
             verbose=true\nretry-path=true\nblock-rpcs=a,b;c\nallow-rpcs=d,,e\nunknown=x\n",
        );
        let path = |path: &str| Some(PathBuf::from(path));
        let expected = Options {
            method: Some("isa-serial".into()),
            path: path("/p"),
            log_file: path("/l"),
            pid_file: path("/f"),
            fsfreeze_hook: path("/h"),
            state_dir: path("/s"),
            verbose: true,
            daemonize: true,
            retry_path: true,
            block: vec![vec!["a".into(), "b;c".into()]],
            allow: vec![vec!["d".into(), "".into(), "e".into()]],
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn the_last_one_counts_and_old_spellings_do() {
        let options =
            check("[general]\nblock-rpcs=x\nblacklist=b\nblock-rpcs=a\nallow-rpcs=c\nallow-rpcs=\n").unwrap();
        let mut block = options.block.concat();
        block.sort();
        assert_eq!((block, options.allow), (vec!["a".to_owned(), "b".to_owned()], vec![]));
        assert_eq!(
            check("[general]\nverbose=maybe\n").unwrap_err(),
            "q.conf:2: the value of 'verbose' has to be true, false, 1 or 0"
        );
    }
    #[test]
    fn a_key_that_means_nothing_is_told_and_no_fault() {
        let said = parse("[general]\nblock-rpc=a\nfoo=1\n", Path::new("q.conf")).unwrap();
        assert_eq!(
            said.doubts,
            [
                "q.conf:2: qemu-ga knows no key 'block-rpc'; did you mean 'block-rpcs'?",
                "q.conf:3: qemu-ga knows no key 'foo'"
            ]
        );
    }
}
