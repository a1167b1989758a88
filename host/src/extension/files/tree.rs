//! The tree that an extension sees: what it was granted, and the folders on the way there. Nothing else has a name in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::Files;
use super::beneath::Beneath;
use super::grant::Failure;
use super::handle::Handle;

/// The longest path that Linux takes.
const LONGEST: usize = 4095;

/// A folder of the tree.
#[derive(Debug, Clone)]
pub(in crate::extension) struct Folder {
    /// How the extension came to it.
    pub(super) at: PathBuf,
    /// The folder itself, and whether it may be changed. `None`: it is on the way to what was granted, and shows nothing else.
    pub(super) real: Option<(Arc<Handle>, bool)>,
}

impl Folder {
    /// The whole tree.
    pub(in crate::extension) fn root() -> Self {
        Self { at: "/".into(), real: None }
    }

    /// Whether what is in it may be changed.
    pub(in crate::extension) fn may_change(&self) -> bool {
        self.real.as_ref().is_some_and(|(_, write)| *write)
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Reached {
    /// To a folder on the way to what was granted.
    Shown(PathBuf),
    /// Into what was granted.
    Granted(Way),
}

/// A way within what was granted.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) at: PathBuf,
    folder: Arc<Handle>,
    path: PathBuf,
    single: bool,
    /// Whether it may be changed.
    pub(super) write: bool,
    /// Whether it is the folder itself that was granted, which is nobody's to remove or rename.
    pub(super) is_whole: bool,
}

impl Way {
    pub(super) fn beneath(&self) -> Beneath<'_> {
        use std::os::fd::AsFd;
        Beneath { folder: self.folder.as_fd(), path: &self.path, single: self.single }
    }
}

impl Files {
    /// Where a path from a folder leads. What lies within a grant is not looked at here.
    pub(super) fn reach(&self, from: &Folder, path: &str) -> Result<Reached, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.contains('\0') {
            return Err(Errno::INVAL);
        }
        if path.starts_with('/') {
            return Err(Errno::PERM);
        }
        if path.len() > LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let end = if path.ends_with('/') { "/" } else { "" };
        let mut at = from.at.clone();
        // The innermost grant on the way, and how many parts lead to it.
        let mut entered = None;
        for (count, &part) in parts.iter().enumerate() {
            let is_inside = entered.is_some() || from.real.is_some();
            if part == ".." {
                if is_inside {
                    // Where that leads only the kernel can say.
                    break;
                }
                if !at.pop() {
                    return Err(Errno::PERM);
                }
                continue;
            }
            at.push(part);
            match self.grants.iter().position(|grant| grant.path == at) {
                Some(grant) => entered = Some((grant, count + 1)),
                None if is_inside || self.leads_on(&at) => {}
                None => return Err(Errno::NOENT),
            }
        }
        if let Some((grant, count)) = entered {
            return self.enter(grant, &parts[count..], end).map(Reached::Granted);
        }
        let Some((folder, write)) = &from.real else { return Ok(Reached::Shown(at)) };
        let rest = parts.join("/");
        Ok(Reached::Granted(Way {
            at: from.at.join(&rest),
            folder: folder.clone(),
            path: relative(&rest, end),
            single: false,
            write: *write,
            is_whole: parts.is_empty(),
        }))
    }

    /// As [`Self::reach`], for what changes something.
    pub(super) fn reach_to_change(&self, from: &Folder, path: &str) -> Result<Way, Errno> {
        match self.reach(from, path) {
            Ok(Reached::Granted(way)) if way.write && !way.is_whole => Ok(way),
            // Nothing can be made that was not granted.
            Ok(_) | Err(Errno::NOENT) if !path.is_empty() => Err(Errno::ACCESS),
            Ok(_) => Err(Errno::ACCESS),
            Err(error) => Err(error),
        }
    }

    /// The way into a grant.
    fn enter(&self, grant: usize, rest: &[&str], end: &str) -> Result<Way, Errno> {
        let grant = &self.grants[grant];
        let place = grant.place(&self.own).map_err(|failure| match failure {
            Failure::Missing => Errno::NOENT,
            // It came about after the others were opened.
            Failure::Refused(reason) => {
                grant.tell(&reason);
                Errno::ACCESS
            }
        })?;
        let rest = rest.join("/");
        let (path, single) = match &place.name {
            None => (relative(&rest, end), false),
            Some(name) if rest.is_empty() && end.is_empty() => (name.into(), true),
            Some(_) => return Err(Errno::NOTDIR),
        };
        let is_whole = rest.is_empty() && !single;
        // What is within a folder that may be written may be, even if a grant of its own does not say so.
        let covers = |other: &&super::grant::Grant| {
            let folder = other.known().filter(|other| other.name.is_none());
            other.write && folder.is_some_and(|other| place.real.starts_with(&other.real))
        };
        let write = grant.write || self.grants.iter().any(|other| covers(&other));
        Ok(Way { at: grant.path.join(&rest), folder: place.folder.clone(), path, single, write, is_whole })
    }

    /// Whether something was granted below a path.
    fn leads_on(&self, at: &Path) -> bool {
        self.grants.iter().any(|grant| grant.path.starts_with(at))
    }

    /// The names in a folder that is on the way to what was granted, each with what is there; `None`: another such folder.
    pub(super) fn names(&self, at: &Path) -> Vec<(String, Option<&super::grant::Grant>)> {
        let mut names: Vec<(String, Option<&super::grant::Grant>)> = Vec::new();
        for grant in &self.grants {
            let Ok(rest) = grant.path.strip_prefix(at) else { continue };
            let mut parts = rest.components();
            let Some(name) = parts.next().and_then(|part| part.as_os_str().to_str()) else { continue };
            // They are sorted: what is granted itself comes before what is granted below it.
            if names.last().is_none_or(|(last, _)| last != name) {
                names.push((name.to_owned(), parts.next().is_none().then_some(grant)));
            }
        }
        names
    }
}

/// A path for the kernel.
fn relative(rest: &str, end: &str) -> PathBuf {
    if rest.is_empty() { ".".into() } else { format!("{rest}{end}").into() }
}
