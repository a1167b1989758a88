//! Extensions: which there are, what each is granted, and what bounds them.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use waga_builtins::exec;

use super::pack::{Keys, Pack, Trust};
use crate::policy::Origin;

/// How long the store of packs is waited for: longer than a busy disk takes for a few small files, for without them no pack is run. And the
/// stack of the thread that asks it, in bytes.
const ANSWERED: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// `[extensions]` and every `[extension.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extensions {
    /// How components are run.
    pub runtime: Runtime,
    /// Where what was compiled is kept.
    pub cache: PathBuf,
    /// Where what extensions keep from one call to the next is.
    pub state: PathBuf,
    /// Bytes of stack that a component may use.
    pub stack: usize,
    /// Bytes of memory that a compilation may take.
    pub compile_memory: u64,
    /// How long a compilation may take.
    pub compile_time: Duration,
    /// Most bytes of a module.
    pub module_size: u64,
    /// What is asked of a pack's signature.
    pub trust: Trust,
    /// Where the public keys are that are trusted.
    pub trusted_keys: PathBuf,
    /// Where installed packs are.
    pub packs: PathBuf,
    /// The extensions, in the order of the files.
    pub list: Vec<Extension>,
}

/// What one file says of them.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) runtime: Option<Runtime>,
    pub(super) cache: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) stack: Option<usize>,
    pub(super) compile_memory: Option<u64>,
    pub(super) compile_time: Option<Duration>,
    pub(super) module_size: Option<u64>,
    pub(super) trust: Option<Trust>,
    pub(super) trusted_keys: Option<PathBuf>,
    pub(super) packs: Option<PathBuf>,
    pub(super) list: Vec<Extension>,
    /// Of each of the list: what it reads of itself, as it was written.
    pub(super) settings: Vec<Option<toml::Table>>,
}

impl Extensions {
    /// Whether extensions are compiled and run alike by both.
    #[cfg(feature = "extensions")]
    pub(crate) fn run_like(&self, other: &Self) -> bool {
        let alone = |it: &Self| Self {
            list: Vec::new(),
            state: PathBuf::new(),
            trust: Trust::Require,
            trusted_keys: PathBuf::new(),
            packs: PathBuf::new(),
            ..it.clone()
        };
        alone(self) == alone(other)
    }

    /// What holds unless something else is said, of a configuration in this folder or at the usual place.
    pub(super) fn of_folder(folder: Option<&Path>) -> Self {
        let default = Self::default();
        let trusted_keys = folder.map_or(default.trusted_keys, |folder| folder.join("trust.d"));
        Self { trusted_keys, ..default }
    }

    /// A later file's word counts; an extension is declared once.
    pub(super) fn add(&mut self, said: Said) -> Result<(), String> {
        self.runtime = said.runtime.unwrap_or(self.runtime);
        self.cache = said.cache.unwrap_or_else(|| mem::take(&mut self.cache));
        self.state = said.state.unwrap_or_else(|| mem::take(&mut self.state));
        self.stack = said.stack.unwrap_or(self.stack);
        self.compile_memory = said.compile_memory.unwrap_or(self.compile_memory);
        self.compile_time = said.compile_time.unwrap_or(self.compile_time);
        self.module_size = said.module_size.unwrap_or(self.module_size);
        self.trust = said.trust.unwrap_or(self.trust);
        self.trusted_keys = said.trusted_keys.unwrap_or_else(|| mem::take(&mut self.trusted_keys));
        self.packs = said.packs.unwrap_or_else(|| mem::take(&mut self.packs));
        for extension in said.list {
            if let Some(first) = self.list.iter().find(|other| other.name == extension.name) {
                return Err(format!(
                    "{}: it is declared already, at {}; give one of them another name",
                    extension.origin, first.origin
                ));
            }
            self.list.push(extension);
        }
        Ok(())
    }

    /// Looks what there is of the packs that are named; what an operator should know of them.
    pub(super) fn find_packs(&mut self) -> Vec<String> {
        if self.list.iter().all(|extension| extension.code.pack().is_none()) {
            return Vec::new();
        }
        let mut packs: Vec<Pack> = self.list.iter().filter_map(|it| it.code.pack().cloned()).collect();
        let (store, folder, trust) = (self.packs.clone(), self.trusted_keys.clone(), self.trust);
        let (told, answered) = mpsc::channel();
        let look = move || {
            let keys = Keys::read(&folder);
            packs.iter_mut().for_each(|pack| pack.find(&store, &keys, trust));
            let _ = told.send((packs, keys));
        };
        // A filesystem that does not answer keeps no agent from starting, and nothing from being thawed.
        let asked = thread::Builder::new().name("packs".into()).stack_size(STACK).spawn(look);
        let found = asked.ok().and_then(|_| answered.recv_timeout(ANSWERED).ok());
        let Some((packs, keys)) = found else {
            for extension in &mut self.list {
                if let Code::Pack(pack) = &mut extension.code {
                    pack.unanswered(&self.packs);
                }
            }
            return vec![format!("{} does not answer: no pack is run until a reload", self.packs.display())];
        };
        let mut doubts: Vec<_> = keys.faults().map(str::to_owned).collect();
        let mut packs = packs.into_iter();
        for extension in &mut self.list {
            let Code::Pack(pack) = &mut extension.code else { continue };
            if let Some(found) = packs.next() {
                *pack = found;
            }
            let doubt = pack.installed.as_ref().ok().and_then(|installed| installed.doubt.as_ref());
            doubts.extend(doubt.map(|doubt| format!("pack {} {}: {doubt}", pack.name, pack.version)));
        }
        doubts
    }
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            runtime: Runtime::Auto,
            cache: "/var/lib/waga/cache".into(),
            state: "/var/lib/waga/state".into(),
            stack: 512 << 10,
            compile_memory: 1 << 30,
            compile_time: Duration::from_secs(300),
            module_size: 32 << 20,
            trust: Trust::Require,
            trusted_keys: "/etc/waga/trust.d".into(),
            packs: "/var/lib/waga/packs".into(),
            list: Vec::new(),
        }
    }
}

/// How components are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// As machine code where the system lets pages be made executable, else interpreted.
    Auto,
    /// As machine code.
    Native,
    /// Interpreted.
    Pulley,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Native, Self::Pulley];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Pulley => "pulley",
        }
    }
}

/// One `[extension.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// Its name: `[a-z][a-z0-9-]*`.
    pub name: Arc<str>,
    /// Where its table stands.
    pub origin: Origin,
    /// Where its commands come from.
    pub code: Code,
    /// Whether it is to be there at all.
    pub enabled: bool,
    /// The commands that it adds, each with its place; `None`: every one that it has and nobody else does.
    pub add: Option<Vec<(Arc<str>, Origin)>>,
    /// The commands whose place it takes, each with its place.
    pub overrides: Vec<(Arc<str>, Origin)>,
    /// The commands that it runs around, each with its place.
    pub wraps: Vec<(Arc<str>, Origin)>,
    /// The commands that it may call, each with its place.
    pub commands: Vec<(Arc<str>, Origin)>,
    /// The environment that it sees.
    pub env: Vec<(String, String)>,
    /// Whether it is told of freezing and thawing.
    pub freeze_hooks: bool,
    /// Whether it runs while filesystems are frozen.
    pub while_frozen: bool,
    /// What is done instead where it cannot be called, or ends otherwise than well.
    pub on_failure: OnFailure,
    /// What it reads of itself, as JSON.
    pub config: String,
    /// The programs that it may run.
    pub exec: Vec<GrantedProgram>,
    /// Files, and folders with all that is in them, that it may read: absolute paths without `..`.
    pub read: Vec<String>,
    /// Those that it may write, too; one may not be there yet.
    pub write: Vec<String>,
    /// What bounds its calls.
    pub limits: CallLimits,
}

/// Where the commands of an extension come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Code {
    /// A component, in this file.
    Module(PathBuf),
    /// Scripts, in this folder.
    Scripts(PathBuf),
    /// Either, of a pack.
    Pack(Pack),
}

impl Code {
    /// The file or the folder. Of a pack that is not there: the folder where it would be.
    pub fn path(&self) -> &Path {
        match self {
            Self::Module(path) | Self::Scripts(path) => path,
            Self::Pack(pack) => pack.path(),
        }
    }

    /// The folder of scripts, if it is one.
    pub fn scripts(&self) -> Option<&Path> {
        match self {
            Self::Module(_) => None,
            Self::Scripts(path) => Some(path),
            Self::Pack(pack) => pack.has_scripts().then(|| pack.path()),
        }
    }

    /// What an extension's state belongs to: that of a pack stays from one version to the next, and is no other signer's.
    pub fn home(&self) -> &Path {
        match self {
            Self::Module(path) | Self::Scripts(path) => path,
            Self::Pack(pack) => &pack.home,
        }
    }

    /// The pack.
    pub fn pack(&self) -> Option<&Pack> {
        match self {
            Self::Module(_) | Self::Scripts(_) => None,
            Self::Pack(pack) => Some(pack),
        }
    }

    /// Its paths, to be changed.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Module(path) | Self::Scripts(path) => vec![path],
            Self::Pack(Pack { place, home, installed: Ok(installed), .. }) => {
                vec![place, home, &mut installed.code]
            }
            Self::Pack(Pack { place, home, .. }) => vec![place, home],
        }
    }
}

/// What is done where a command that an extension laid over another fails otherwise than by the component's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The request fails.
    Error,
    /// What is below serves it, if the extension could not be loaded.
    Builtin,
    /// The same, and if it trapped or ran into a limit. It may have been there to restrict something.
    BuiltinAlways,
}

impl OnFailure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Error, Self::Builtin, Self::BuiltinAlways];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Builtin => "builtin",
            Self::BuiltinAlways => "builtin-always",
        }
    }
}

/// A program that an extension may run: as it is written, and the rule that it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantedProgram {
    /// Its path.
    pub program: String,
    /// A pattern for each argument.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Which requests for it are admitted.
    pub rule: exec::Rule,
}

/// Most that `limits.state` may be: all of it is in memory, and each change writes all of it.
pub(crate) const LARGEST_STATE: u64 = 16 << 20;

/// What bounds the calls of one extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// CPU time of one call.
    pub cpu: Duration,
    /// Time of one call by the clock on the wall, waiting and start included.
    pub time: Duration,
    /// The same of a command that is laid over another, whose clients do not wait as long.
    pub time_over: Duration,
    /// Bytes of all memories of one call together.
    pub memory: u64,
    /// Bytes of the arguments, and of the result.
    pub message: u64,
    /// Calls that the component may make to the agent in one call.
    pub host_calls: u64,
    /// Calls at the same time.
    pub concurrency: usize,
    /// Bytes that one call may write to the log, standard output and error included.
    pub log: u64,
    /// Bytes of what it keeps from one call to the next, all calls together.
    pub state: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(100),
            time: Duration::from_secs(2),
            time_over: Duration::from_millis(800),
            memory: 32 << 20,
            message: 4 << 20,
            host_calls: 10_000,
            concurrency: 4,
            log: 64 << 10,
            state: 1 << 20,
        }
    }
}
