//! Opening within places, against callers who would rather be elsewhere. Neighbours who help them meanwhile are in `races`.

mod owners;
mod races;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::open::{Mode as OpenMode, open};
use super::*;

const SECRET: &str = "the secret";

/// A folder with `place/file` and `place/sub/deep` that may be opened, and `secret` beside it that may not.
struct Site {
    root: PathBuf,
    places: Vec<Places>,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("place/sub")).unwrap();
        fs::create_dir_all(root.join("placeX")).unwrap();
        fs::create_dir_all(root.join("outside")).unwrap();
        for (path, text) in [("place/file", "file"), ("place/sub/deep", "deep"), ("secret", SECRET)] {
            fs::write(root.join(path), text).unwrap();
        }
        for path in ["placeX/file", "outside/file", "outside/deep"] {
            fs::write(root.join(path), SECRET).unwrap();
        }
        let mut site = Self { root, places: Vec::new(), _directory: directory };
        site.layer(&["place"], &["place"]);
        site
    }

    /// Adds a layer; the paths are relative to the site.
    fn layer(&mut self, read: &[&str], write: &[&str]) {
        let paths = |list: &[&str]| list.iter().map(|path| self.path(path)).collect::<Vec<_>>();
        let layer = Places::new(&paths(read), &paths(write)).unwrap();
        self.places.push(layer);
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.root.join(path)).unwrap();
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.root.display())
    }

    /// Opens a path of the site, or an absolute one.
    fn open(&self, path: &str, word: &str) -> std::result::Result<File, String> {
        let path = if path.starts_with('/') { path.to_owned() } else { self.path(path) };
        self.open_as_is(&path, word)
    }

    fn open_as_is(&self, path: &str, word: &str) -> std::result::Result<File, String> {
        open(&self.places, path, word, OpenMode::parse(word).unwrap()).map_err(|error| {
            let prefix = format!("failed to open file '{path}' (mode: '{word}'): ");
            let text = error.desc.strip_prefix(&prefix).unwrap().to_owned();
            assert_eq!(error.is_refusal(), text == REFUSED, "{path}: {text}");
            text
        })
    }

    fn read(&self, path: &str) -> std::result::Result<String, String> {
        let mut text = String::new();
        self.open(path, "r")?.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[track_caller]
    fn assert_refused(&self, path: &str) {
        for word in ["r", "w", "a", "r+", "w+", "a+"] {
            assert_eq!(self.open(path, word).err().as_deref(), Some(REFUSED), "{path} {word}");
        }
    }

    #[track_caller]
    fn assert_secrets_whole(&self) {
        for path in ["secret", "placeX/file", "outside/file", "outside/deep"] {
            assert_eq!(fs::read_to_string(self.root.join(path)).unwrap(), SECRET, "{path}");
        }
    }
}

const REFUSED: &str = "not allowed by policy";
const MISSING: &str = "No such file or directory";

#[test]
fn what_is_inside_is_opened_however_it_is_written() {
    let site = Site::new();
    site.link("file", "place/link");
    site.link("../file", "place/sub/up");
    site.link("sub", "place/folder");
    site.link("missing", "place/dangling");
    for (path, text) in [
        ("place/file", "file"),
        ("place//./file", "file"),
        ("place/sub/../file", "file"),
        ("place/link", "file"),
        ("place/sub/up", "file"),
        ("place/folder/deep", "deep"),
        ("place/folder/../sub/deep", "deep"),
    ] {
        assert_eq!(site.read(path).as_deref(), Ok(text), "{path}");
    }
    assert_eq!(site.read("place/missing").unwrap_err(), MISSING);
    assert_eq!(site.read("place/dangling").unwrap_err(), MISSING);
    assert_eq!(site.read("place/missing/x").unwrap_err(), MISSING);
    assert_eq!(site.read("place/file/").unwrap_err(), "Not a directory");
    assert_eq!(site.read("place/file/x").unwrap_err(), "Not a directory");
    assert_eq!(site.read("place/a\0b").unwrap_err(), "Invalid argument");
    // Folders as fopen has them: opened for reading, not read, and never written.
    for path in ["place", "place/", "place/.", "place/sub", "place/sub/", "place/sub/.."] {
        assert!(site.open(path, "r").unwrap().metadata().unwrap().is_dir(), "{path}");
        for word in ["r+", "a"] {
            assert!(site.open(path, word).is_err(), "{path} {word}");
        }
    }
    assert_eq!(site.open("place", "w").err().as_deref(), Some("Is a directory"));
    assert_eq!(site.open("place/sub/", "w").err().as_deref(), Some("Is a directory"));
    // Without places, anything.
    assert_eq!(Site { places: Vec::new(), ..site }.read("secret").as_deref(), Ok(SECRET));
}

#[test]
fn nothing_leads_out() {
    let site = Site::new();
    site.link("../secret", "place/relative");
    site.link(&site.path("secret"), "place/absolute");
    site.link(&site.path("place/file"), "place/absolute-inside");
    site.link("..", "place/up");
    site.link("../outside", "place/folder");
    site.link("/", "place/root");
    site.link("../missing", "place/dangling");
    site.link("relative", "place/chain");
    site.link("loop", "place/loop");
    site.link("/proc/self/root", "place/magic");
    for path in [
        "",
        "/",
        "//",
        ".",
        "..",
        "secret",
        "missing",
        "place/..",
        "place/../",
        "place/../secret",
        "place/../missing",
        "place/../place/file",
        "place/sub/../../secret",
        "place/sub/../../missing",
        "placeX",
        "placeX/file",
        "plac",
        "outside/../place/file",
        "place/relative",
        "place/absolute",
        "place/absolute-inside",
        "place/up",
        "place/up/secret",
        "place/up/missing",
        "place/folder/file",
        "place/folder/missing",
        "place/root/etc/passwd",
        "place/dangling",
        "place/chain",
        "place/loop",
        "place/magic/etc/passwd",
        "place\0/file",
        "place\0",
        "/etc/passwd",
        "/dev/null",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd",
        "/proc/self/fd/0",
        "/dev/fd/0",
    ] {
        site.assert_refused(path);
    }
    for path in ["", "place/file", "./place/file", "../place/file", "~/place"] {
        assert_eq!(site.open_as_is(path, "r").err().as_deref(), Some(REFUSED), "{path}");
    }
    site.assert_secrets_whole();
    assert!(!site.root.join("missing").exists() && !site.root.join("outside/missing").exists());
}

#[test]
fn links_of_proc_that_are_none_are_not_followed() {
    let mut site = Site::new();
    let secret = File::open(site.root.join("secret")).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&secret);
    site.places = vec![Places::new(&["/proc".into()], &["/proc/self/comm".into()]).unwrap()];
    assert!(site.read("/proc/self/status").unwrap().starts_with("Name:"));
    for path in [
        format!("/proc/self/fd/{number}"),
        format!("/proc/self/root{}", site.path("secret")),
        format!("/proc/thread-self/fd/{number}"),
        "/proc/self/exe".into(),
        "/proc/self/cwd/Cargo.toml".into(),
        "/proc/self/root".into(),
    ] {
        assert_eq!(site.read(&path).unwrap_err(), REFUSED, "{path}");
    }
    // The place was the link's target when it was made, and emptying works where there is nothing to empty.
    site.open("/proc/self/comm", "w").unwrap().write_all(b"within").unwrap();
    assert_eq!(fs::read_to_string("/proc/self/comm").unwrap(), "within\n");
}

#[test]
fn each_mode_wants_its_places() {
    let mut site = Site::new();
    site.places.clear();
    site.layer(&["place/file", "place/sub"], &["place/sub", "outside/new"]);
    for (path, read, write) in [
        ("place/file", true, false),
        ("place/sub/deep", true, true),
        ("outside/new", false, true),
        ("place/missing", false, false),
    ] {
        for word in ["r", "rb", "w", "a", "ab", "r+", "w+", "a+b"] {
            let wants =
                (word.starts_with('r') || word.contains('+'), !word.starts_with('r') || word.contains('+'));
            let admitted = (!wants.0 || read) && (!wants.1 || write);
            let opened = site.open(path, word);
            assert_eq!(opened.is_ok(), admitted, "{path} {word}: {opened:?}");
            assert_eq!(opened.err().as_deref(), (!admitted).then_some(REFUSED));
        }
    }
    site.places = vec![Places::default()];
    site.assert_refused("place/file");
}

#[test]
fn new_files_are_made_inside_and_old_ones_kept() {
    let site = Site::new();
    for (word, path) in
        [("w", "place/one"), ("a", "place/sub/../two"), ("w+", "place/sub/three"), ("a+", "place/four")]
    {
        site.open(path, word).unwrap().write_all(b"x").unwrap();
        let made = fs::metadata(site.root.join(path)).unwrap();
        assert_eq!((made.mode() & 0o7777, made.len()), (0o666, 1), "{path}");
        fs::set_permissions(site.root.join(path), Permissions::from_mode(0o600)).unwrap();
        site.open(path, word).unwrap().write_all(b"y").unwrap();
        let kept = fs::metadata(site.root.join(path)).unwrap();
        assert_eq!((kept.mode() & 0o7777, kept.len()), (0o600, if word.starts_with('w') { 1 } else { 2 }));
    }
    assert_eq!(site.open("place/none", "r+").err().as_deref(), Some(MISSING));
    assert_eq!(site.open("place/none/x", "w").err().as_deref(), Some(MISSING));
    assert_eq!(site.open("place/new/", "w").err().as_deref(), Some("Is a directory"));
    assert!(!site.root.join("place/none").exists() && !site.root.join("place/new").exists());
}

#[test]
fn a_single_file_is_found_by_name_each_time_and_never_through_a_link() {
    let mut site = Site::new();
    site.link("file", "place/named");
    site.places.clear();
    site.layer(&["place/file", "place/named", "place/later"], &["place/file", "place/later"]);
    let replace = |text: &str| {
        fs::write(site.root.join("staged"), text).unwrap();
        fs::rename(site.root.join("staged"), site.root.join("place/file")).unwrap();
    };
    replace("replaced");
    assert_eq!(site.read("place/file").as_deref(), Ok("replaced"));
    // Links there when the place was made are followed to where they led then.
    assert_eq!(site.read("place/named").as_deref(), Ok("replaced"));
    assert_eq!(site.open("place/sub/deep", "r").err().as_deref(), Some(REFUSED));
    assert_eq!(site.read("place/file/").unwrap_err(), "Not a directory");
    assert_eq!(site.read("place/later").unwrap_err(), MISSING);
    site.open("place/later", "w").unwrap().write_all(b"x").unwrap();
    assert_eq!(site.read("place/later").as_deref(), Ok("x"));
    fs::remove_file(site.root.join("place/later")).unwrap();
    // Even one that stays inside.
    for target in ["file", "../secret", "/etc/passwd", "missing"] {
        site.link(target, "place/later");
        for word in ["r", "w", "a", "w+"] {
            assert_eq!(site.open("place/later", word).err().as_deref(), Some(REFUSED), "{target} {word}");
        }
        fs::remove_file(site.root.join("place/later")).unwrap();
    }
    site.assert_secrets_whole();
    assert_eq!(site.read("place/file").as_deref(), Ok("replaced"));
}

#[test]
fn a_folder_that_was_swapped_for_a_link_is_refused() {
    let mut site = Site::new();
    site.link("place", "alias");
    site.places.clear();
    site.layer(&["alias/sub", "alias/file"], &["alias/sub"]);
    for path in ["alias/sub/deep", "place/sub/deep"] {
        assert_eq!(site.read(path).as_deref(), Ok("deep"), "{path}");
    }
    // Whoever may write above the place.
    fs::rename(site.root.join("place"), site.root.join("moved")).unwrap();
    assert_eq!(site.read("alias/sub/deep").unwrap_err(), MISSING);
    fs::create_dir(site.root.join("elsewhere")).unwrap();
    symlink(site.root.join("outside"), site.root.join("elsewhere/sub")).unwrap();
    site.link("elsewhere", "place");
    for path in ["alias/sub/deep", "place/sub/deep", "alias/sub", "alias/file", "place/file", "alias/sub/new"]
    {
        assert_eq!(site.open(path, "r").err().as_deref(), Some(REFUSED), "{path}");
    }
    assert_eq!(site.open("alias/sub/new", "w").err().as_deref(), Some(REFUSED));
    site.assert_secrets_whole();
}

#[test]
fn only_files_and_folders_are_opened() {
    let site = Site::new();
    let node =
        |name: &str, kind, device| mknodat(CWD, site.path(name), kind, Mode::RUSR | Mode::WUSR, device);
    node("place/fifo", FileType::Fifo, 0).unwrap();
    let _listener = UnixListener::bind(site.path("place/socket")).unwrap();
    site.link("fifo", "place/link");
    let mut names = vec!["place/fifo", "place/socket", "place/link"];
    // Needs root: the null device.
    if node("place/null", FileType::CharacterDevice, makedev(1, 3)).is_ok() {
        names.push("place/null");
    }
    for name in names {
        site.assert_refused(name);
    }
}

#[test]
fn every_layer_must_admit_the_same_file() {
    let mut site = Site::new();
    site.link("../outside/file", "place/out");
    site.link("sub/deep", "place/in");
    site.layer(&["place/sub", "place/file", "outside", "place/in"], &["place/sub", "outside"]);
    assert_eq!(site.read("place/file").as_deref(), Ok("file"));
    assert_eq!(site.read("place/sub/deep").as_deref(), Ok("deep"));
    // The first layer by the link, the second by what the link was.
    assert_eq!(site.read("place/in").as_deref(), Ok("deep"));
    for path in
        ["outside/file", "outside/missing", "place/out", "place/missing", "place", "place/sub/../missing"]
    {
        assert_eq!(site.read(path).unwrap_err(), REFUSED, "{path}");
    }
    site.open("place/sub/new", "w+").unwrap();
    assert_eq!(site.open("place/file", "a").err().as_deref(), Some(REFUSED));
    assert_eq!(site.open("place/new", "w").err().as_deref(), Some(REFUSED));
    assert_eq!(site.open("outside/new", "w").err().as_deref(), Some(REFUSED));
    assert_eq!(site.read("place/sub/missing").unwrap_err(), MISSING);
    // One that leads beneath for one layer and out for another.
    site.link("../file", "place/sub/up");
    for word in ["r", "w", "a+"] {
        assert_eq!(site.open("place/sub/up", word).err().as_deref(), Some(REFUSED), "{word}");
    }
    assert!(!site.root.join("place/new").exists() && !site.root.join("outside/new").exists());
    assert_eq!(fs::read_to_string(site.root.join("place/file")).unwrap(), "file");
    // The layers' links led to different files when they were made: there is none that both mean.
    fs::remove_file(site.root.join("place/in")).unwrap();
    site.link("file", "place/in");
    assert_eq!(site.read("place/in").unwrap_err(), REFUSED);
    site.assert_secrets_whole();
}

#[test]
fn nothing_is_made_where_layers_know_it_by_different_names() {
    let mut site = Site::new();
    site.link("file", "place/in");
    site.places.clear();
    site.layer(&[], &["place/in"]);
    fs::remove_file(site.root.join("place/in")).unwrap();
    fs::remove_file(site.root.join("place/file")).unwrap();
    site.layer(&[], &["place/in"]);
    assert_eq!(site.open("place/in", "w").err().as_deref(), Some(MISSING));
    assert!(!site.root.join("place/in").exists() && !site.root.join("place/file").exists());
}
