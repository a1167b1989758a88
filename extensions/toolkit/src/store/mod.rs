//! Packs that are installed: where they lie, and how one state becomes another.
//!
//! | in the store | is |
//! |---|---|
//! | `NAME/VERSION/` | the files of a pack, its digests and signature, and the receipt that the agent reads |
//! | `NAME/saved-N-VERSION.toml` | the table of that version as it was when another took its place; the highest N is what `rollback` goes to |
//! | `.staging-PID/` | a pack on its way here |
//! | `.lock` | who is changing something |
//!
//! What is installed is what `agent.d/pack-NAME.toml` says: that file appears, changes or goes by one system call, and everything else is
//! prepared before or cleared away after. So whoever is interrupted leaves the one state or the other, and perhaps something that nobody
//! names, which the next change of that pack clears away.

pub(crate) mod disk;
pub(crate) mod doctor;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod switch;
pub(crate) mod table;
mod trial;
pub(crate) mod trust;
pub(crate) mod upgrade;

use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use waga::config::command_name::is_extension;
use waga::config::pack::{RECEIPT, Receipt, is_ours};
use waga::config::{Config, Extension, Proposed};
use waga_pack::{MANIFEST, Manifest, Pack, SIGNATURE, SUMS};

/// Where a configuration is unless somebody says otherwise.
const ETC: &str = "/etc/waga";

/// What all verbs that change something have.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The configuration's folder.
    ///
    /// It has agent.toml, agent.d and trust.d.
    #[arg(short, long, value_name = "FOLDER", default_value = ETC)]
    config: PathBuf,
}

/// A pack that is to come in.
#[derive(Debug, Args)]
pub(crate) struct Incoming {
    /// The pack, NAME-VERSION.waga.
    pack: PathBuf,
    /// Agree without being asked.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: Where,
}

/// A configuration, and the store that it has.
pub(crate) struct Store {
    /// That of the configuration.
    folder: PathBuf,
    pub(crate) config: Config,
    /// Held while something is changed.
    lock: Option<File>,
}

/// One that `waga-ext` installed, as its table says.
pub(crate) struct Installed<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) extension: &'a Extension,
}

impl Store {
    /// To look at it.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn open(place: &Where) -> Result<Self> {
        let folder = std::path::absolute(&place.config).context("there is no working folder")?;
        match fs::metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => {}
            // Without a configuration an agent does with what it has; one that somebody names is to be there.
            Err(error) if error.kind() == ErrorKind::NotFound && folder == Path::new(ETC) => {}
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", folder.display()));
            }
            _ => {
                bail!("{} is no folder: -c names one with agent.toml, agent.d and trust.d", folder.display())
            }
        }
        let config = Config::of_folder(&folder, None)?;
        Ok(Self { folder, config, lock: None })
    }

    /// To change something of a pack: nobody else does meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`], the name is none, or the store cannot be written to.
    pub(crate) fn change(place: &Where, name: &str) -> Result<Self> {
        ensure!(is_extension(name), "'{}' is no name of a pack", name.escape_debug());
        let first = Self::open(place)?;
        // Whoever else may write there could have what is written follow a link.
        is_ours(first.packs())?;
        disk::folder(first.packs())?;
        let path = first.packs().join(".lock");
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link);
        let lock = options.open(&path);
        let lock = lock.with_context(|| format!("cannot write {}", path.display()))?;
        if lock.try_lock().is_err() {
            say("packs are being changed by somebody else, waiting for it");
            lock.lock().context("cannot wait for it")?;
        }
        // It may have been changed while this one waited.
        let store = Self { lock: Some(lock), ..Self::open(place)? };
        ensure!(store.packs() == first.packs(), "the configuration was changed meanwhile: try again");
        store.belongs()?;
        store.clear_staging()?;
        Ok(store)
    }

    /// Whether the store is that of this configuration: what another one names would be cleared away.
    fn belongs(&self) -> Result<()> {
        let (path, ours) = (self.packs().join(".of"), self.folder.display().to_string());
        match fs::read_to_string(&path) {
            Ok(of) if of.trim_end() == ours => Ok(()),
            Ok(of) => bail!(
                "{} is the store of {}: give this configuration another one, [extensions] packs = \"/PATH\"",
                self.packs().display(),
                of.trim_end()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                disk::replace(&path, format!("{ours}\n").as_bytes(), false)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn packs(&self) -> &Path {
        &self.config.extensions.packs
    }

    /// The file that says that a pack is installed.
    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.folder.join("agent.d").join(table::file_name(name))
    }

    /// Those that `waga-ext` installed, by name.
    pub(crate) fn all(&self) -> Vec<Installed<'_>> {
        let mut all: Vec<_> =
            self.config.extensions.list.iter().filter_map(|it| self.installed_by(it)).collect();
        all.sort_by_key(|it| it.name);
        all
    }

    /// The one that is called so.
    ///
    /// # Errors
    /// There is none; which there are.
    pub(crate) fn find(&self, name: &str) -> Result<Installed<'_>> {
        let all = self.all();
        let names: Vec<_> = all.iter().map(|it| it.name).collect();
        let hint = waga::nearest(name, names.iter().copied()).map(|near| format!("; did you mean '{near}'?"));
        let there = if names.is_empty() { "none is".to_owned() } else { names.join(", ") };
        let text =
            format!("no pack '{}' is installed ({there}){}", name.escape_debug(), hint.unwrap_or_default());
        all.into_iter().find(|it| it.name == name).context(text)
    }

    fn installed_by<'a>(&self, extension: &'a Extension) -> Option<Installed<'a>> {
        let pack = extension.code.pack()?;
        let table = self.table(&pack.name);
        let is_own = *extension.name == *pack.name && extension.origin.file() == Some(&table);
        is_own.then_some(Installed { name: &pack.name, version: &pack.version, extension })
    }

    /// Where a version is.
    pub(crate) fn version(&self, name: &str, version: &str) -> PathBuf {
        self.packs().join(name).join(version)
    }

    /// What a version that is in the store says of itself.
    pub(crate) fn manifest(&self, name: &str, version: &str) -> Result<Manifest> {
        let path = self.version(name, version).join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Manifest::parse(&text).with_context(|| path.display().to_string())
    }

    /// The version that `rollback` goes to, and the table that it had.
    pub(crate) fn previous(&self, name: &str, current: &str) -> Option<(String, PathBuf)> {
        let mut saved = self.saved(name);
        saved.sort();
        let usable = saved
            .into_iter()
            .rev()
            .find(|(_, version, _)| version != current && self.version(name, version).join(RECEIPT).exists());
        usable.map(|(_, version, path)| (version, path))
    }

    /// The tables that were saved: their number, the version, and where.
    fn saved(&self, name: &str) -> Vec<(u32, String, PathBuf)> {
        let entries = fs::read_dir(self.packs().join(name)).into_iter().flatten().flatten();
        let of = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_prefix("saved-")?.strip_suffix(".toml")?;
            let (number, version) = name.split_once('-')?;
            Some((number.parse().ok()?, version.to_owned(), path.clone()))
        };
        entries.filter_map(|entry| of(entry.path())).collect()
    }

    /// Puts a pack into the store, where nobody names it yet, or in the place of the same one that was damaged.
    pub(crate) fn stage(&self, pack: &Pack, receipt: &Receipt) -> Result<()> {
        let manifest = pack.manifest();
        let staging = self.packs().join(format!(".staging-{}", std::process::id()));
        // A disk that is full has better use for what is there.
        self.unpack(pack, receipt, &staging).inspect_err(|_| drop(disk::remove(&staging)))?;
        let place = self.version(&manifest.name, &manifest.version);
        disk::folder(&self.packs().join(&manifest.name))?;
        match place.exists() {
            // It is named: at each moment there is one.
            true => disk::exchange(&staging, &place),
            false => disk::rename(&staging, &place),
        }
    }

    /// Writes all of a pack into a folder.
    fn unpack(&self, pack: &Pack, receipt: &Receipt, folder: &Path) -> Result<()> {
        disk::folder(folder)?;
        for (name, bytes) in pack.files() {
            disk::new_file(&folder.join(name), bytes)?;
        }
        disk::new_file(&folder.join(SUMS), pack.sums().as_bytes())?;
        if let Some(signature) = pack.signature() {
            disk::new_file(&folder.join(SIGNATURE), signature.as_bytes())?;
        }
        let receipt = serde_json::to_string_pretty(receipt)? + "\n";
        disk::new_file(&folder.join(RECEIPT), receipt.as_bytes())?;
        disk::sync_all(folder)
    }

    /// The text of a pack's table.
    ///
    /// # Errors
    /// It cannot be read, or is a link: what would be written in its place is no link.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let path = self.table(name);
        ensure!(!path.is_symlink(), "{} is a link: put the file itself there", path.display());
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Keeps the table of a version that another is to take the place of.
    pub(crate) fn save(&self, name: &str, version: &str, text: &str) -> Result<()> {
        let number = self.saved(name).iter().map(|(number, ..)| number + 1).max().unwrap_or(1);
        let path = self.packs().join(name).join(format!("saved-{number:06}-{version}.toml"));
        disk::replace(&path, text.as_bytes(), true)
    }

    /// What would come of a file of `agent.d`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn proposed(&self, path: &Path, text: Option<String>) -> Result<Config> {
        let proposed = Proposed { path: path.to_owned(), text };
        Config::of_folder(&self.folder, Some(&proposed))
            .context("with this table the configuration would be at fault")
    }

    /// The change itself: what was prepared is in force, or what was is no more. `before` is the table's text as it was when all was prepared.
    ///
    /// # Errors
    /// Somebody changed the table meanwhile, or it cannot be written.
    pub(crate) fn commit(&mut self, name: &str, before: Option<&str>, text: Option<&str>) -> Result<()> {
        debug_assert!(self.lock.is_some(), "nobody else may change it meanwhile");
        let path = self.table(name);
        let now = match path.symlink_metadata() {
            Ok(_) => Some(self.text(name)?),
            Err(_) => None,
        };
        ensure!(
            now.as_deref() == before,
            "{} was changed meanwhile, and is as it was changed: try again",
            path.display()
        );
        match text {
            Some(text) => {
                disk::folder(&self.folder.join("agent.d"))?;
                disk::replace(&path, text.as_bytes(), false)?;
            }
            None => disk::remove(&path)?,
        }
        self.config = Config::of_folder(&self.folder, None)?;
        Ok(())
    }

    /// Removes what of a pack nobody names any more, but for what `rollback` goes to.
    pub(crate) fn clear(&self, name: &str) -> Result<()> {
        for path in self.surplus(name) {
            disk::remove(&path)?;
        }
        let place = self.packs().join(name);
        // What has nothing in it goes, too.
        let _ = fs::remove_dir(&place);
        Ok(())
    }

    /// That.
    pub(crate) fn surplus(&self, name: &str) -> Vec<PathBuf> {
        let named = self.config.extensions.list.iter().filter_map(|it| it.code.pack());
        let named: Vec<&str> = named.filter(|pack| *pack.name == *name).map(|pack| &*pack.version).collect();
        let own = self.all().into_iter().find(|it| it.name == name).map(|it| it.version);
        let previous = own.and_then(|current| self.previous(name, current));
        let entries = fs::read_dir(self.packs().join(name)).into_iter().flatten().flatten();
        let is_kept = |path: &Path| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            named.contains(&file)
                || previous.as_ref().is_some_and(|(version, saved)| file == version || path == saved)
        };
        entries.map(|entry| entry.path()).filter(|path| !is_kept(path)).collect()
    }

    fn clear_staging(&self) -> Result<()> {
        let entries = fs::read_dir(self.packs()).into_iter().flatten().flatten();
        let left = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".staging-"));
        left.map(|entry| entry.path()).try_for_each(|path| disk::remove(&path))
    }
}

/// Asks whether to go on, of whoever sits at the terminal.
pub(crate) fn agreed(yes: bool, question: &str) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    ensure!(std::io::stdin().is_terminal(), "nobody is here to be asked: say --yes to agree to this");
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// How a running agent sees a change.
pub(crate) const RELOAD: &str =
    "A running agent sees it once it reloads: systemctl reload qemu-guest-agent\n";

/// A word about what goes on.
pub(crate) fn say(text: &str) {
    eprintln!("waga-ext: {text}");
}

/// That nobody agreed.
pub(crate) fn nothing_done() -> Result<String> {
    bail!("nothing was changed")
}
