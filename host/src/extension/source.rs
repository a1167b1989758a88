//! What is known of a module, and where what was compiled of it is: from the cache, or by compiling it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::future::or;
use smol::lock::Semaphore;
use waga_builtins::Agent;

use super::artifact;
use super::cache::{Cache, Entry};
use super::compile::{CompileError, Compiler};
use super::description::Description;
use super::digest::Digest;
use super::engine::{ARTIFACTS, Kind};
use super::module::{Fingerprint, Module, ModuleError};
use super::scripts::Scripts;
use crate::config::{Extensions, Runtime};

/// Modules that are read at once: a hundred declared ones do not come to a hundred threads.
const READ_AT_ONCE: usize = 4;
/// How long one may take before the next is begun all the same.
const SLOW: Duration = Duration::from_secs(5);

/// Why nothing is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something is not there that may yet come.
    Missing(String),
    /// What is there must not, or cannot, be used.
    Refused(String),
    /// The system is at fault, for now.
    Failed(String),
}

/// What is known of a module.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) digest: Digest,
    pub(super) description: Description,
    /// What it was compiled for.
    pub(super) kind: Kind,
    /// What the system said of the module.
    pub(super) fingerprint: Fingerprint,
    /// What is known of the scripts that it is to run, if it is their engine.
    pub(super) scripts: Option<Arc<Scripts>>,
    compiled: Arc<Compiled>,
}

/// Where what was compiled is.
#[derive(Debug)]
enum Compiled {
    Cached(Entry),
    /// It could not be kept.
    InMemory(File),
}

/// The cache and the compiler.
#[derive(Debug)]
pub(super) struct Source {
    settings: Extensions,
    /// `None` if nothing can be trusted that is there.
    cache: Option<Cache>,
    compiler: Compiler,
    readers: Semaphore,
}

impl Source {
    /// With the cache that the settings name, if that can be trusted.
    pub(super) fn new(settings: &Extensions) -> Self {
        let cache = Cache::open(&settings.cache);
        let cache = cache.inspect_err(|error| tracing::error!("the cache is not used: {error}")).ok();
        Self { cache, ..Self::without_cache(settings) }
    }

    /// Nothing is kept.
    pub(super) fn without_cache(settings: &Extensions) -> Self {
        Self {
            settings: settings.clone(),
            cache: None,
            compiler: Compiler::installed(),
            readers: Semaphore::new(READ_AT_ONCE),
        }
    }

    /// What is known of the module at `path` of the extension `name`, if it is still that of last time. It is not read.
    pub(super) fn remembered(&self, name: &str, path: &Path) -> Option<Known> {
        let cache = self.cache.as_ref()?;
        let (digest, fingerprint) = cache.known(name, path)?;
        let kinds: &[Kind] = match self.settings.runtime {
            Runtime::Auto => &[Kind::Native, Kind::Pulley],
            Runtime::Native => &[Kind::Native],
            Runtime::Pulley => &[Kind::Pulley],
        };
        kinds.iter().find_map(|&kind| cached(cache, digest, kind, &fingerprint))
    }

    /// What is known of the scripts of the extension `name`, if this engine ran them and the folder is still as it was. None of them is read.
    pub(super) fn remembered_scripts(&self, name: &str, folder: &Path, engine: Digest) -> Option<Scripts> {
        self.noted_scripts(name, folder, engine).filter(Scripts::is_still)
    }

    /// The same, whatever became of the folder since.
    pub(super) fn noted_scripts(&self, name: &str, folder: &Path, engine: Digest) -> Option<Scripts> {
        self.cache.as_ref()?.scripts(name).filter(|noted| noted.is_of(folder, engine))
    }

    /// Keeps what is known of an extension's scripts.
    pub(super) async fn note_scripts(
        self: &Arc<Self>,
        agent: Option<Arc<Agent>>,
        name: &Arc<str>,
        scripts: Arc<Scripts>,
    ) {
        let name = name.clone();
        self.write(agent, move |cache| cache.note_scripts(&name, &scripts)).await;
    }

    /// Finds out about a module: by its digest in the cache, unless it is `distrusted`, else by compiling it.
    ///
    /// # Errors
    /// There is no module, or none that can be used.
    pub(super) async fn known(
        self: &Arc<Self>,
        agent: Option<Arc<Agent>>,
        name: &Arc<str>,
        path: &Path,
        kind: Kind,
        distrusted: Option<Digest>,
    ) -> Result<Known, Fault> {
        let reader = self.readers.acquire().await;
        let (this, name, opened) = (self.clone(), name.clone(), path.to_owned());
        let looked = smol::unblock(move || {
            let module = Module::open(&opened, this.settings.module_size)?;
            let digest = module.digest()?;
            let cache = this.cache.as_ref().filter(|_| distrusted != Some(digest));
            let found = cache.and_then(|cache| cached(cache, digest, kind, module.fingerprint()));
            Ok::<_, ModuleError>((Arc::new(module), digest, found))
        });
        let mut looked = pin!(looked);
        // A filesystem that does not answer keeps a thread, and nobody else's turn.
        let slow = async {
            Timer::after(SLOW).await;
            None
        };
        let in_time = or(async { Some(looked.as_mut().await) }, slow).await;
        drop(reader);
        let (module, digest, found) = match in_time {
            Some(looked) => looked,
            None => looked.await,
        }?;
        if let Some(known) = found {
            self.write(agent, move |cache| cache.note(&name, &module, digest)).await;
            return Ok(known);
        }
        let fingerprint = module.fingerprint().clone();
        tracing::info!(extension = &*name, kind = kind.as_str(), "compiling");
        let compiled = self.compiler.compile(&self.settings, module.clone(), digest, kind).await?;
        let description = compiled.description.clone();
        let compiled = Arc::new(compiled);
        let kept = compiled.clone();
        let entry = self.write(agent, move |cache| {
            let entry = cache.store(digest, kind, ARTIFACTS, &kept);
            if entry.is_some() {
                cache.note(&name, &module, digest);
            }
            entry
        });
        let compiled = match entry.await.flatten() {
            Some(entry) => Compiled::Cached(entry),
            None => Compiled::InMemory(compiled.artifact.file.try_clone().map_err(|error| {
                Fault::Failed(format!("what was compiled of it cannot be opened: {error}"))
            })?),
        };
        let compiled = Arc::new(compiled);
        Ok(Known { digest, description, kind, fingerprint, scripts: None, compiled })
    }

    /// What was compiled, to be mapped, after looking again at the module and at it; `None` if either is not what it was.
    pub(super) fn artifact(&self, path: &Path, known: &Known) -> Result<Option<File>, Fault> {
        if Module::open(path, self.settings.module_size)?.digest()? != known.digest {
            tracing::info!("{}: changed since it was compiled", path.display());
            return Ok(None);
        }
        let file = match (&*known.compiled, &self.cache) {
            (Compiled::InMemory(file), _) => file.try_clone().map_err(|error| error.to_string()),
            (Compiled::Cached(entry), Some(cache)) => {
                cache.artifact(entry).map_err(|error| error.to_string())
            }
            (Compiled::Cached(_), None) => return Ok(None),
        };
        Ok(file.inspect_err(|error| tracing::warn!("not loaded, and compiled anew: {error}")).ok())
    }

    /// Tries whether pages of a file in the cache's folder can be made executable; where there is none yet, of a file in memory.
    pub(super) fn try_page(&self) -> io::Result<()> {
        let folder = self.cache.as_ref().map(Cache::path);
        let page = folder.and_then(|folder| tempfile_in(folder).ok());
        match page {
            Some(file) => artifact::is_executable(&file),
            None => {
                artifact::is_executable(rustix::fs::memfd_create(c"page", rustix::fs::MemfdFlags::CLOEXEC)?)
            }
        }
    }

    /// Writes to the cache, unless filesystems are frozen.
    async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        agent: Option<Arc<Agent>>,
        write: impl FnOnce(&Cache) -> T + Send + 'static,
    ) -> Option<T> {
        let writer = agent?.freeze.writer().ok()?;
        let this = self.clone();
        smol::unblock(move || {
            let written = this.cache.as_ref().map(write);
            drop(writer);
            written
        })
        .await
    }
}

fn cached(cache: &Cache, digest: Digest, kind: Kind, fingerprint: &Fingerprint) -> Option<Known> {
    let entry = cache.find(digest, kind, ARTIFACTS)?;
    Some(Known {
        digest,
        description: entry.description.clone(),
        kind,
        fingerprint: fingerprint.clone(),
        scripts: None,
        compiled: Arc::new(Compiled::Cached(entry)),
    })
}

/// A file without a name in a folder.
fn tempfile_in(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(open(folder, flags, Mode::RUSR | Mode::WUSR)?);
    file.set_len(artifact::PAGE as u64)?;
    Ok(file)
}

impl From<ModuleError> for Fault {
    fn from(error: ModuleError) -> Self {
        match error {
            ModuleError::Missing(_) => Self::Missing(error.to_string()),
            ModuleError::Refused(reason) => Self::Refused(reason),
            ModuleError::Changed(_) | ModuleError::Read(..) => Self::Failed(error.to_string()),
        }
    }
}

impl From<CompileError> for Fault {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Missing(reason) => Self::Missing(reason),
            CompileError::Refused(reason) | CompileError::Limit(reason) => Self::Refused(reason),
            CompileError::Failed(reason) => Self::Failed(reason),
        }
    }
}
