//! Which files a caller may open: the operator's places, and by which ways a requested path leads through them.
//!
//! Here paths are compared as text only. That nobody leaves a place by `..` or a link is seen to where files are opened, in `within`.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use rustix::fs::ResolveFlags;

/// A layer of places: files, and folders with all that is in them, that may be read and written. No place: nothing may be.
///
/// A hard link inside a place to a file elsewhere is a file of the place, and what is mounted inside belongs to it. Links that are in
/// the path of a place itself are followed once, when it is made: later, who may write to a folder above it cannot lead it elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    read: Vec<Place>,
    write: Vec<Place>,
}

impl Places {
    /// The places at these absolute paths. Looks at the filesystem, to follow the links in them.
    ///
    /// Opening for reading wants the file in `read`, for writing in `write`, for both in both.
    ///
    /// # Errors
    /// What is wrong with which path, and the way out.
    pub fn new(read: &[String], write: &[String]) -> Result<Self, String> {
        let places = |paths: &[String]| paths.iter().map(|path| Place::new(path)).collect::<Result<_, _>>();
        Ok(Self { read: places(read)?, write: places(write)? })
    }

    /// The ways to a path that is to be read, written, or both: for each of these the ways by any of its places, one of which must
    /// lead to the file.
    pub(super) fn needs(&self, path: &Path, read: bool, write: bool) -> impl Iterator<Item = Vec<Way>> {
        let read = read.then_some(&self.read);
        let write = write.then_some(&self.write);
        let ways = |places: &Vec<Place>| places.iter().filter_map(|place| place.way(path)).collect();
        read.into_iter().chain(write).map(ways)
    }
}

/// One file or folder.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    /// As the operator wrote it, and as requests may.
    written: PathBuf,
    /// Where it is, without links.
    real: PathBuf,
}

impl Place {
    fn new(written: &str) -> Result<Self, String> {
        let path = Path::new(written);
        if !path.is_absolute() {
            return Err(format!("'{written}' is not an absolute path: write it from '/' on"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("'{written}' contains '..': write the path that it means"));
        }
        if written.contains('\0') {
            return Err(format!("'{written}' contains a NUL character, which no path does: leave it out"));
        }
        let written: PathBuf = path.components().collect();
        Ok(Self { real: real(&written), written })
    }

    /// The way to `path`, if that is this place or beneath it.
    fn way(&self, path: &Path) -> Option<Way> {
        let rest = path.strip_prefix(&self.written).or_else(|_| path.strip_prefix(&self.real)).ok()?;
        // Without doubled slashes and dots; `..` stays.
        let rest: PathBuf = rest.components().collect();
        let (folder, rest, resolve) =
            match (rest.as_os_str().is_empty(), self.real.parent(), self.real.file_name()) {
                (false, ..) => (self.real.clone(), rest, ResolveFlags::empty()),
                // The name is looked up each time, so that a file that was replaced by rename is found, and a link there is not followed.
                (true, Some(parent), Some(name)) => {
                    (parent.to_owned(), name.into(), ResolveFlags::NO_SYMLINKS)
                }
                (true, ..) => (self.real.clone(), ".".into(), ResolveFlags::empty()),
            };
        Some(Way { folder, rest, resolve })
    }
}

/// The path without links, as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
            real(parent).join(name)
        }
        (Err(_), ..) => path.to_owned(),
    }
}

/// A way to a requested file: from a folder whose path has no links, by a path that must not leave it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// Opened without following any link.
    pub folder: PathBuf,
    /// Relative, never empty.
    pub rest: PathBuf,
    /// What else must not be followed on the way.
    pub resolve: ResolveFlags,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn faults_of_places_name_what_is_wrong() {
        for (path, text) in [
            ("", "'' is not an absolute path"),
            ("srv", "'srv' is not an absolute path"),
            ("./srv", "not an absolute path"),
            ("/srv/../etc", "'/srv/../etc' contains '..'"),
            ("/srv/..", "contains '..'"),
            ("/s\0rv", "NUL"),
        ] {
            for (read, write) in [(&[path][..], &[][..]), (&[], &["/ok", path])] {
                let fault = Places::new(&owned(read), &owned(write)).unwrap_err();
                assert!(fault.contains(text), "{fault}");
            }
        }
    }

    #[test]
    fn a_path_leads_through_a_place_component_by_component() {
        let place = Place::new("/nowhere//waga/./place/").unwrap();
        let inside = |rest: &str| Some(("/nowhere/waga/place".to_owned(), rest.to_owned(), false));
        for (path, expected) in [
            ("/nowhere/waga/place/x", inside("x")),
            ("//nowhere/./waga//place//x/./y//", inside("x/y")),
            ("/nowhere/waga/place/../x", inside("../x")),
            ("/nowhere/waga/place/..", inside("..")),
            ("/nowhere/waga/place", Some(("/nowhere/waga".into(), "place".into(), true))),
            ("/nowhere/waga/place/.", Some(("/nowhere/waga".into(), "place".into(), true))),
            ("/nowhere/waga/placeX", None),
            ("/nowhere/waga/placeX/x", None),
            ("/nowhere/waga/plac", None),
            ("/nowhere/waga", None),
            ("/", None),
            ("", None),
            ("nowhere/waga/place/x", None),
            ("/nowhere/x/../waga/place/x", None),
            ("/nowhere/waga/place\0/x", None),
        ] {
            let way = place.way(Path::new(path)).map(|way| {
                let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
                (text(way.folder), text(way.rest), way.resolve.contains(ResolveFlags::NO_SYMLINKS))
            });
            assert_eq!(way, expected, "{path:?}");
        }
        let root = Place::new("/").unwrap();
        assert_eq!(root.way(Path::new("/")).unwrap().rest, Path::new("."));
        assert_eq!(root.way(Path::new("/etc/x")).unwrap().rest, Path::new("etc/x"));
    }

    #[test]
    fn links_in_a_place_are_followed_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        for (name, real) in [("link", "real"), ("link/new/er", "real/new/er"), ("none", "none")] {
            let place = Place::new(root.join(name).to_str().unwrap()).unwrap();
            assert_eq!((place.written, place.real), (root.join(name), root.join(real)));
        }
    }
}
