//! Where the paths of an extension lead, on real files.

mod changing;
mod granting;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Files, Folder, How, Kind, Node, Slots};
use crate::config::OwnPlace;

/// A folder to try things in, without links in its path.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        Self { _dir: dir, path }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.path.display())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn granted(read: &[&str], write: &[&str]) -> Files {
    with_own(read, write, &[])
}

fn with_own(read: &[&str], write: &[&str], own: &[OwnPlace]) -> Files {
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    Files::new(&owned(read), &owned(write), 4, &own.into())
}

const READ: How = How {
    read: true,
    write: false,
    create: false,
    exclusive: false,
    truncate: false,
    folder: false,
    follow: true,
    sync: OFlags::empty(),
};
const WRITE: How = How { read: false, write: true, ..READ };
const MAKE: How = How { create: true, truncate: true, ..WRITE };

fn open(files: &Files, path: &str, how: &How) -> Result<Node, Errno> {
    // As a libc does with an absolute path.
    files.open_at(&Folder::root(), path.trim_start_matches('/'), how, Slots::default().file().unwrap())
}

fn text(files: &Files, path: &str) -> Result<String, Errno> {
    match open(files, path, &READ)? {
        Node::File(file) => Ok(String::from_utf8(file.read_at(1000, 0)?).unwrap()),
        Node::Folder(_) => Err(Errno::ISDIR),
    }
}

fn write(files: &Files, path: &str, how: &How, text: &str) -> Result<(), Errno> {
    match open(files, path, how)? {
        Node::File(file) => file.write_all(text.as_bytes(), Some(0)),
        Node::Folder(_) => Err(Errno::ISDIR),
    }
}

fn names(files: &Arc<Files>, path: &str) -> Result<Vec<(String, Kind)>, Errno> {
    let root = Folder::root();
    let folder = match path.trim_start_matches('/') {
        "" => root,
        path => match open(files, path, &How { folder: true, ..READ })? {
            Node::Folder(folder) => folder,
            Node::File(_) => return Err(Errno::NOTDIR),
        },
    };
    let mut listing = files.list(&folder, Slots::default().file().unwrap())?;
    let mut names = Vec::new();
    loop {
        let next = listing.next()?;
        if next.is_empty() {
            names.sort_unstable_by(|(one, _): &(String, _), (other, _)| one.cmp(other));
            return Ok(names);
        }
        names.extend(next.into_iter().map(|entry| (entry.name, entry.kind)));
    }
}

#[test]
fn nothing_exists_but_what_was_granted_and_the_way_there() {
    let place = Place::new();
    let (file, folder) = (place.file("a/file", "one"), place.at("b"));
    place.file("b/inner/x", "two");
    place.file("a/other", "secret");
    let files = Arc::new(granted(&["/proc/meminfo", &file, &folder], &[]));
    assert_eq!(files.open(), Ok(()));
    assert!(text(&files, "/proc/meminfo").unwrap().starts_with("MemTotal:"));
    assert_eq!(text(&files, &file).as_deref(), Ok("one"));
    assert_eq!(text(&files, &format!("{folder}/inner/x")).as_deref(), Ok("two"));
    for path in
        [&*place.at("a/other"), "/proc/cpuinfo", "/etc/passwd", "/etc", "/proc/self/mem", &place.at("c")]
    {
        assert_eq!(text(&files, path), Err(Errno::NOENT), "{path}");
    }
    assert_eq!(text(&files, &format!("{file}/x")), Err(Errno::NOTDIR));
    assert_eq!(text(&files, &place.at("a")), Err(Errno::ISDIR));
    let of = |path: &str| names(&files, path).unwrap();
    let own = |list: &[(&str, Kind)]| {
        list.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect::<Vec<_>>()
    };
    assert_eq!(of("/proc"), own(&[("meminfo", Kind::File)]));
    assert_eq!(of(&place.at("")), own(&[("a", Kind::Folder), ("b", Kind::Folder)]));
    assert_eq!(of(&place.at("a")), own(&[("file", Kind::File)]));
    assert_eq!(of(&folder), own(&[("inner", Kind::Folder)]));
    assert_eq!(of("/").len(), 2);
    let stat = |path: &str| files.stat_at(&Folder::root(), path.trim_start_matches('/'), true);
    assert_eq!(stat("/proc").unwrap().kind, Kind::Folder);
    let facts = stat(&file).unwrap();
    assert_eq!((facts.kind, facts.size, facts.links), (Kind::File, 3, 1));
    assert!(facts.modified.is_some_and(|(seconds, _)| seconds > 1_700_000_000));
    assert_eq!(
        stat(&folder).unwrap().identity,
        open(&files, &folder, &READ).unwrap().facts().unwrap().identity
    );
    assert_ne!(stat(&folder).unwrap().identity, facts.identity);
    // No grant at all: an empty folder.
    let none = Arc::new(Files::default());
    assert_eq!(names(&none, "/"), Ok(vec![]));
    assert_eq!(text(&none, "/etc/passwd"), Err(Errno::NOENT));
}

#[test]
fn nothing_leads_out_of_a_folder() {
    let place = Place::new();
    let folder = place.at("in");
    place.file("in/x", "inside");
    place.file("in/sub/y", "deep");
    place.file("out", "outside");
    let link = |target: &str, name: &str| symlink(target, place.at(&format!("in/{name}"))).unwrap();
    link("../out", "relative");
    link(&place.at("out"), "absolute");
    link("/", "root");
    link("/proc/self/mem", "memory");
    link("/proc/self/cwd", "magic");
    link("..", "up");
    link("x", "fine");
    link("sub/../x", "winding");
    link("round", "round");
    link("not-there", "nowhere");
    let files = granted(&[&folder], &[]);
    let of = |name: &str| text(&files, &format!("{folder}/{name}"));
    for name in ["x", "fine", "winding", "./x", "sub//../x", "sub/./../fine"] {
        assert_eq!(of(name).as_deref(), Ok("inside"), "{name}");
    }
    for name in [
        "../out",
        "sub/../../out",
        "..",
        "relative",
        "absolute",
        "root",
        "root/etc/passwd",
        "memory",
        "magic/x",
        "up/out",
        "../in/x",
        "../../../../../../../../etc/passwd",
    ] {
        assert_eq!(of(name), Err(Errno::PERM), "{name}");
        assert_eq!(
            files.stat_at(&Folder::root(), &format!("{folder}/{name}")[1..], true),
            Err(Errno::PERM),
            "{name}"
        );
    }
    assert_eq!(of("round"), Err(Errno::LOOP));
    assert_eq!(of("nowhere"), Err(Errno::NOENT));
    // Of a folder that is open the same is true; and a path from its root is none.
    let Ok(Node::Folder(sub)) = open(&files, &format!("{folder}/sub"), &READ) else { panic!() };
    let from_sub =
        |path: &str| files.open_at(&sub, path, &READ, Slots::default().file().unwrap()).map(|_| ());
    assert_eq!(from_sub("y"), Ok(()));
    assert_eq!(
        (from_sub("../x"), from_sub("/x"), from_sub("")),
        (Err(Errno::PERM), Err(Errno::PERM), Err(Errno::NOENT))
    );
    assert_eq!(from_sub("y\0"), Err(Errno::INVAL));
    assert_eq!(from_sub(&"y".repeat(5000)), Err(Errno::NAMETOOLONG));
    let root = |path: &str| {
        files.open_at(&Folder::root(), path, &READ, Slots::default().file().unwrap()).map(|_| ())
    };
    assert_eq!(
        (root(".."), root("proc/.."), root("/")),
        (Err(Errno::PERM), Err(Errno::NOENT), Err(Errno::PERM))
    );
    // A link is told where it is one, but not where an absolute one leads.
    let target = |name: &str| files.read_link_at(&Folder::root(), &format!("{folder}/{name}")[1..]);
    assert_eq!(target("fine").as_deref(), Ok("x"));
    assert_eq!((target("absolute"), target("x")), (Err(Errno::PERM), Err(Errno::INVAL)));
    assert_eq!(
        open(&files, &format!("{folder}/fine"), &How { follow: false, ..READ }).map(|_| ()),
        Err(Errno::LOOP)
    );
}

#[test]
fn what_is_no_file_is_not_opened_and_nothing_waits_for_it() {
    let place = Place::new();
    let folder = place.at("in");
    fs::create_dir(&folder).unwrap();
    let node = |name: &str, kind, device| {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, place.at(name), kind, mode, device)
    };
    node("in/fifo", rustix::fs::FileType::Fifo, 0).unwrap();
    node("fifo", rustix::fs::FileType::Fifo, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("in/socket")).unwrap();
    let mut names = vec!["fifo", "socket"];
    // Devices can be made by root alone, and not in every container.
    if node("in/null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)).is_ok() {
        names.push("null");
    }
    let files = granted(&[], &[&folder]);
    for name in names {
        let path = format!("{folder}/{name}");
        for how in [READ, WRITE, MAKE, How { read: true, ..WRITE }] {
            assert_eq!(open(&files, &path, &how).map(|_| ()), Err(Errno::PERM), "{name}");
        }
        assert!(files.stat_at(&Folder::root(), &path[1..], true).is_ok(), "{name}");
    }
    let refused = granted(&[&place.at("fifo")], &[]).open().unwrap_err();
    assert_eq!(
        refused,
        format!(
            "read \"{}\" is neither a regular file nor a folder: only these can be granted",
            place.at("fifo")
        )
    );
    // One that comes where a file was granted.
    let single = place.file("single", "x");
    let files = granted(&[&single], &[]);
    assert_eq!(text(&files, &single).as_deref(), Ok("x"));
    fs::remove_file(&single).unwrap();
    node("single", rustix::fs::FileType::Fifo, 0).unwrap();
    assert_eq!(text(&files, &single), Err(Errno::PERM));
    fs::remove_file(&single).unwrap();
    fs::create_dir(&single).unwrap();
    assert_eq!(text(&files, &single), Err(Errno::PERM));
}

#[test]
fn a_folder_stays_the_one_that_was_granted_and_a_file_is_looked_up_anew() {
    let place = Place::new();
    let (folder, single) = (place.at("in"), place.file("single", "old"));
    place.file("in/x", "mine");
    place.file("other/x", "other");
    let files = granted(&[&folder, &single], &[]);
    files.open().unwrap();
    // Swapped for another, by rename and by a link.
    fs::rename(&folder, place.at("away")).unwrap();
    fs::rename(place.at("other"), &folder).unwrap();
    assert_eq!(text(&files, &format!("{folder}/x")).as_deref(), Ok("mine"));
    fs::rename(&folder, place.at("other")).unwrap();
    symlink("/etc", &folder).unwrap();
    assert_eq!(text(&files, &format!("{folder}/x")).as_deref(), Ok("mine"));
    assert_eq!(text(&files, &format!("{folder}/passwd")), Err(Errno::NOENT));
    // A file that was replaced as careful programs do it.
    place.file("new", "new");
    fs::rename(place.at("new"), &single).unwrap();
    assert_eq!(text(&files, &single).as_deref(), Ok("new"));
    // But no link that came in its place.
    fs::remove_file(&single).unwrap();
    assert_eq!(text(&files, &single), Err(Errno::NOENT));
    symlink(place.at("away/x"), &single).unwrap();
    assert_eq!(text(&files, &single), Err(Errno::LOOP));
}

#[test]
fn no_call_has_many_files_open() {
    let place = Place::new();
    let folder = place.at("in");
    let path = place.file("in/x", "x");
    let files = granted(&[&folder], &[]);
    let slots = Slots::default();
    let open = |path: &str| files.open_at(&Folder::root(), &path[1..], &READ, slots.file()?).ok();
    let mut held: Vec<_> = std::iter::from_fn(|| open(&path)).collect();
    assert_eq!(held.len(), 32);
    held.pop();
    assert!(open(&path).is_some());
}

/// A name within the folder that is now a file or a folder of it, and now a link that leads out.
#[test]
fn nothing_leads_out_while_names_change() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = Place::new();
    let folder = place.at("in");
    place.file("in/x", "inside");
    place.file("in/sub/x", "inside");
    place.file("out/x", "secret");
    symlink("../out/x", place.at("in/leads")).unwrap();
    symlink("../out", place.at("in/subleads")).unwrap();
    let files = granted(&[], &[&folder]);
    files.open().unwrap();
    let (done, swap) = (AtomicBool::new(false), |one: &str, other: &str| {
        let at = |name: &str| place.at(&format!("in/{name}"));
        let (one, other) = (at(one), at(other));
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            one,
            rustix::fs::CWD,
            other,
            rustix::fs::RenameFlags::EXCHANGE,
        )
        .unwrap();
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap("x", "leads");
                swap("sub", "subleads");
            }
        });
        let mut read = 0;
        for turn in 0..4000 {
            for name in ["x", "sub/x", "leads", "sub/../x", "subleads/x"] {
                match text(&files, &format!("{folder}/{name}")) {
                    Ok(text) => {
                        assert_eq!(text, "inside", "{name}");
                        read += 1;
                    }
                    Err(error) => assert!(
                        [Errno::PERM, Errno::AGAIN, Errno::LOOP, Errno::NOENT, Errno::NOTDIR]
                            .contains(&error),
                        "{name}: {error}"
                    ),
                }
            }
            let made = format!("{folder}/sub/made-{turn}");
            let _ = write(&files, &made, &MAKE, "x");
        }
        done.store(true, Ordering::Relaxed);
        assert!(read > 0);
    });
    assert_eq!(fs::read_dir(place.at("out")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(place.at("out/x")).unwrap(), "secret");
}
