//! What an extension may change, and what it may not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::io::Errno;

use super::super::{Folder, How, Node, Times};
use super::{MAKE, Place, READ, WRITE, granted, open, text, write};

#[test]
fn what_may_be_read_cannot_be_changed() {
    let place = Place::new();
    let (folder, single) = (place.at("in"), place.file("single", "old"));
    let inside = place.file("in/x", "old");
    fs::create_dir(place.at("out")).unwrap();
    let out = place.at("out");
    let files = granted(&[&folder, &single], &[&out]);
    let root = Folder::root();
    let refused = Err(Errno::ACCESS);
    let exclusive = How { exclusive: true, ..MAKE };
    for path in [&single, &inside] {
        for how in [WRITE, MAKE, How { truncate: true, ..READ }, How { create: true, ..READ }, exclusive] {
            assert_eq!(open(&files, path, &how).map(|_| ()), refused, "{path} {how:?}");
        }
        assert_eq!(files.remove_at(&root, &path[1..], false), refused);
        assert_eq!(files.rename_at((&root, &path[1..]), (&root, &format!("{out}/x")[1..])), refused);
        let times = Times {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
        };
        assert_eq!(open(&files, path, &READ).unwrap().set_times(&times), refused);
    }
    let new = format!("{folder}/new");
    assert_eq!(open(&files, &new, &MAKE).map(|_| ()), refused);
    assert_eq!(files.make_folder_at(&root, &new[1..]), refused);
    assert_eq!(files.remove_at(&root, &folder[1..], true), refused);
    write(&files, &format!("{out}/y"), &MAKE, "mine").unwrap();
    assert_eq!(files.rename_at((&root, &format!("{out}/y")[1..]), (&root, &inside[1..])), refused);
    // Nor can anything be made where nothing was granted.
    for path in ["/etc/new", "/new", &place.at("new"), "/proc/new"] {
        assert_eq!(open(&files, path, &MAKE).map(|_| ()), refused, "{path}");
        assert_eq!(files.make_folder_at(&root, &path[1..]), refused, "{path}");
    }
    assert_eq!(
        (fs::read_to_string(&single).unwrap(), fs::read_to_string(&inside).unwrap()),
        ("old".into(), "old".into())
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// The file that it leads to might be made, but a link is nobody's to follow for that: said at once, and not as if it might come to be.
#[test]
fn no_file_is_made_through_a_link_to_nowhere() {
    let place = Place::new();
    let folder = place.at("out");
    fs::create_dir(&folder).unwrap();
    symlink("there", place.at("out/link")).unwrap();
    let files = granted(&[], &[&folder]);
    assert_eq!(open(&files, &place.at("out/link"), &MAKE).map(|_| ()), Err(Errno::NOENT));
    let exclusive = How { exclusive: true, ..MAKE };
    assert_eq!(open(&files, &place.at("out/link"), &exclusive).map(|_| ()), Err(Errno::EXIST));
    assert!(!Path::new(&place.at("out/there")).exists());
    // As soon as it leads somewhere, it is followed.
    fs::write(place.at("out/there"), "old").unwrap();
    write(&files, &place.at("out/link"), &MAKE, "new").unwrap();
    assert_eq!(fs::read_to_string(place.at("out/there")).unwrap(), "new");
}

#[test]
fn what_may_be_written_can_be_made_changed_and_removed() {
    let place = Place::new();
    let folder = place.at("out");
    fs::create_dir(&folder).unwrap();
    let (single, later) = (place.at("not-there-yet"), place.at("later/"));
    let files = granted(&[&place.at("out/read")], &[&folder, &single, &later]);
    assert_eq!(files.open(), Ok(()));
    let root = Folder::root();
    let (file, sub) = (format!("{folder}/x"), format!("{folder}/sub"));
    write(&files, &file, &MAKE, "hello").unwrap();
    assert_eq!(text(&files, &file).as_deref(), Ok("hello"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7022, 0);
    assert_eq!(open(&files, &file, &How { exclusive: true, ..MAKE }).map(|_| ()), Err(Errno::EXIST));
    write(&files, &file, &WRITE, "J").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "Jello");
    let Ok(Node::File(appends)) = open(&files, &file, &WRITE) else { panic!() };
    appends.write_all(b" there", None).unwrap();
    appends.set_size(8).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "Jello th");
    files.make_folder_at(&root, &sub[1..]).unwrap();
    assert_eq!(files.make_folder_at(&root, &sub[1..]), Err(Errno::EXIST));
    files.rename_at((&root, &file[1..]), (&root, &format!("{sub}/y")[1..])).unwrap();
    assert_eq!(fs::read_to_string(format!("{sub}/y")).unwrap(), "Jello th");
    assert_eq!(files.remove_at(&root, &sub[1..], true), Err(Errno::NOTEMPTY));
    assert_eq!(files.remove_at(&root, &sub[1..], false), Err(Errno::ISDIR));
    assert_eq!(files.remove_at(&root, &format!("{sub}/y/")[1..], false), Err(Errno::NOTDIR));
    files.remove_at(&root, &format!("{sub}/y")[1..], false).unwrap();
    files.remove_at(&root, &format!("{sub}/")[1..], true).unwrap();
    assert_eq!(open(&files, &format!("{folder}/new/"), &MAKE).map(|_| ()), Err(Errno::ISDIR));
    // The folder itself is not its to remove.
    for path in [folder.clone(), format!("{folder}/."), format!("{folder}/")] {
        assert_eq!(files.remove_at(&root, &path[1..], true), Err(Errno::ACCESS), "{path}");
    }
    // What is granted to be read within what may be written may be written, or a rename would come to it anyway.
    write(&files, &format!("{folder}/read"), &MAKE, "x").unwrap();
    // A file that was not there, and a folder that comes later.
    write(&files, &single, &MAKE, "made").unwrap();
    assert_eq!(fs::read_to_string(&single).unwrap(), "made");
    files.remove_at(&root, &single[1..], false).unwrap();
    assert!(!Path::new(&single).exists());
    let inside = place.at("later/x");
    assert_eq!(write(&files, &inside, &MAKE, "x"), Err(Errno::ACCESS));
    fs::create_dir(place.at("later")).unwrap();
    write(&files, &inside, &MAKE, "came").unwrap();
    assert_eq!(fs::read_to_string(&inside).unwrap(), "came");
    // No link is followed to make something, not even within.
    symlink("elsewhere", format!("{folder}/link")).unwrap();
    assert!(write(&files, &format!("{folder}/link"), &MAKE, "x").is_err());
    assert!(!Path::new(&format!("{folder}/elsewhere")).exists());
}
