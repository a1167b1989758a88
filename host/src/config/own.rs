//! What on the filesystem is the agent's own: no extension is granted it, whatever its operator writes.

use std::path::{Path, PathBuf};

use super::{Code, Config, Endpoint, Target};

/// Where the configuration is usually.
const CONFIGURATION: &str = "/etc/waga";

/// Files that the agent keeps in its state folder.
const STATE: [&str; 6] =
    ["qga.state", "qga.state.new", "qga.state.isfrozen", "waga.thawed", "waga.owed", "waga.owed.new"];

/// Where its compiler is.
const PROGRAMS: [&str; 3] = ["/usr/libexec/waga/waga-ext", "/usr/local/bin/waga-ext", "/usr/bin/waga-ext"];

/// A file or folder of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPlace {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
    /// Whether all that is in it is the agent's, too.
    pub whole: bool,
    /// Whether it may be read all the same: what the agent runs as root.
    pub is_program: bool,
}

impl Config {
    /// What is the agent's own.
    pub fn own_places(&self) -> Vec<OwnPlace> {
        let place =
            |path: &Path, what| OwnPlace { path: path.to_owned(), what, whole: false, is_program: false };
        let folder = |path: &Path, what| OwnPlace { whole: true, ..place(path, what) };
        let mut places = vec![
            folder(Path::new(CONFIGURATION), "its configuration"),
            folder(&self.extensions.cache, "its cache"),
            folder(&self.extensions.state, "what extensions keep"),
            folder(&self.extensions.packs, "its packs"),
            folder(&self.extensions.trusted_keys, "the keys that it trusts"),
            place(&self.state_dir, "its state"),
            place(&self.pid_file, "its pid file"),
        ];
        places.extend(self.files.iter().map(|path| place(path, "its configuration")));
        places.extend(STATE.map(|name| place(&self.state_dir.join(name), "its state")));
        let targets = [Some(&self.log.target), self.audit.as_ref().map(|audit| &audit.target)];
        let log = |target: &Target| match target {
            Target::File(path) => Some(place(path, "its log")),
            _ => None,
        };
        places.extend(targets.into_iter().flatten().filter_map(log));
        places.extend(self.channels.iter().filter_map(|channel| match &channel.endpoint {
            Endpoint::Unix(path, _) => Some(place(path, "its socket")),
            _ => None,
        }));
        places.extend(self.freeze.hook.iter().map(|path| place(path, "its hook")));
        // Who may write to a program that the agent runs is root.
        let program = |path: &Path, what| OwnPlace { is_program: true, ..place(path, what) };
        let granted = self.extensions.list.iter().flat_map(|extension| &extension.exec);
        places
            .extend(granted.map(|it| program(Path::new(&it.program), "a program that an extension may run")));
        places.extend(PROGRAMS.map(|path| program(Path::new(path), "its compiler")));
        places.extend(std::env::current_exe().ok().map(|path| program(&path, "its program")));
        places.extend(self.extensions.list.iter().map(|extension| match &extension.code {
            Code::Module(path) => place(path, "the module of an extension"),
            Code::Scripts(path) => place(path, "the scripts of an extension"),
            Code::Pack(pack) => folder(&pack.place, "a pack"),
        }));
        places
    }
}
