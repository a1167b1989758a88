//! Keys in made-up homes: as the user who runs the tests, and, where that is root, as another whose home is hostile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use nix::unistd::{Gid, Uid, getegid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::sys::identity::Identity;

const NOBODY: u32 = 65534;

/// A home, and the account that it is of.
struct Home {
    folder: TempDir,
    account: Account,
}

impl Home {
    fn of(uid: Uid, gid: Gid) -> Self {
        let folder = tempfile::tempdir().unwrap();
        chown(folder.path(), Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
        let account = Account::made_up(Identity { uid, gid, groups: vec![gid] }, folder.path());
        Self { folder, account }
    }

    fn own() -> Self {
        Self::of(geteuid(), getegid())
    }

    /// The home of a user whom root does not trust.
    fn of_nobody() -> Option<Self> {
        geteuid().is_root().then(|| Self::of(Uid::from_raw(NOBODY), Gid::from_raw(NOBODY)))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Something that the user made.
    fn give<T>(&self, make: impl FnOnce() -> T + Send) -> T
    where
        T: Send,
    {
        self.account.do_as(make).unwrap()
    }

    fn add(&self, keys: &[&str], reset: bool) -> std::result::Result<(), String> {
        self.told(|account, keys| add(account, keys, reset), keys)
    }

    fn remove(&self, keys: &[&str]) -> std::result::Result<(), String> {
        self.told(remove, keys)
    }

    fn told(
        &self,
        change: impl Fn(&Account, &[String]) -> Result<()> + Sync,
        keys: &[&str],
    ) -> std::result::Result<(), String> {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        let done = self.account.do_as(|| change(&self.account, &keys)).unwrap();
        done.map_err(|error| error.desc.replace(&self.folder.path().display().to_string(), "HOME"))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.account.file()).unwrap()
    }

    /// Folder and file are the user's alone, and nothing else lies about.
    fn is_in_order(&self) {
        let (uid, gid) = (self.account.identity.uid.as_raw(), self.account.identity.gid.as_raw());
        for (path, mode) in [(self.account.folder.clone(), 0o700), (self.account.file(), 0o600)] {
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path:?}");
            assert_eq!((metadata.uid(), metadata.gid()), (uid, gid), "{path:?}");
        }
        assert!(fs::symlink_metadata(self.account.file()).unwrap().is_file());
        assert_eq!(names(&self.account.folder), [NAME]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn keys_are_added_to_the_lines_there_are() {
    for (old, keys, new) in [
        ("", &["a", "b"][..], "a\nb"),
        ("", &[], ""),
        ("", &[""], ""),
        ("a", &["a", "b", "b"], "a\nb"),
        ("a\n", &["b"], "a\n\nb"),
        ("a\n", &["", "a"], "a\n"),
        ("# c\n\n a \nb", &["a", "c"], "# c\n\n a \nb\na\nc"),
    ] {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        assert_eq!(String::from_utf8(with(old.as_bytes(), &keys)).unwrap(), new, "{old:?} {keys:?}");
    }
    assert_eq!(with(b"a\xff", &["b".to_owned()]), b"a\xff\nb", "what is no text stays as it is");
}

#[test]
fn keys_are_removed_wherever_they_stand() {
    for (old, keys, new) in [
        ("a\nb\na\n# a\nc", &["a", "c"][..], "b\n# a"),
        ("a\nb\n", &["x", "A", " a"], "a\nb\n"),
        ("a\nb\n", &["b"], "a\n"),
        ("a\n\nb\n", &[""], "a\nb"),
        ("a", &["a"], ""),
        ("", &["a"], ""),
    ] {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        assert_eq!(String::from_utf8(without(old.as_bytes(), &keys)).unwrap(), new, "{old:?} {keys:?}");
    }
}

#[test]
fn a_users_keys_come_and_go() {
    for home in [Some(Home::own()), Home::of_nobody()].into_iter().flatten() {
        assert_eq!(home.remove(&["x"]), Ok(()));
        assert!(names(home.folder.path()).is_empty(), "nothing is made to remove a key from");
        home.add(&["ssh-rsa A", "ssh-rsa B"], false).unwrap();
        home.is_in_order();
        assert_eq!(home.text(), "ssh-rsa A\nssh-rsa B");
        home.add(&["ssh-rsa B", "ssh-rsa C"], false).unwrap();
        assert_eq!(home.text(), "ssh-rsa A\nssh-rsa B\nssh-rsa C");
        home.remove(&["ssh-rsa B", "ssh-rsa X"]).unwrap();
        assert_eq!(home.text(), "ssh-rsa A\nssh-rsa C");
        home.add(&["ssh-rsa D", "ssh-rsa D"], true).unwrap();
        assert_eq!(home.text(), "ssh-rsa D");
        home.add(&[], true).unwrap();
        assert_eq!(home.text(), "");
        home.is_in_order();
    }
}

#[test]
fn a_file_that_is_as_it_should_be_is_not_written_again() {
    let home = Home::own();
    home.add(&["a"], false).unwrap();
    let inode = || fs::metadata(home.account.file()).unwrap().ino();
    let before = inode();
    home.add(&["a"], false).unwrap();
    home.remove(&["b"]).unwrap();
    assert_eq!(inode(), before);
    // The same keys, but others could write to it.
    fs::set_permissions(home.account.file(), fs::Permissions::from_mode(0o666)).unwrap();
    home.add(&["a"], false).unwrap();
    assert_ne!(inode(), before);
    home.is_in_order();
}

#[test]
fn what_is_no_file_of_moderate_size_stays_as_it_is() {
    let home = Home::own();
    home.add(&[], false).unwrap();
    let file = home.account.file();
    let failed = |what: &str| {
        format!("failed to read 'HOME/.ssh/{NAME}': Error reading file “HOME/.ssh/{NAME}”: {what}")
    };
    let both = |what: &str| {
        assert_eq!(home.add(&["a"], false), Err(failed(what)));
        assert_eq!(home.remove(&["a"]), Err(failed(what)));
        assert_eq!(names(&home.account.folder), [NAME]);
    };
    fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
    both("File too large");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    both("not a regular file");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    both("Is a directory");
    assert_eq!(home.add(&["a"], true), Err(format!("failed to write to 'HOME/.ssh/{NAME}': Is a directory")));
    assert_eq!(names(&home.account.folder), [NAME]);
    fs::remove_dir(&file).unwrap();
    home.add(&["a"], false).unwrap();
    let long = "x".repeat(1 << 20);
    let refused = Err(format!("failed to write to 'HOME/.ssh/{NAME}': File too large"));
    assert_eq!(home.add(&[&long], false), refused);
    assert_eq!(home.text(), "a");
    home.add(&[&long], true).unwrap();
    home.is_in_order();
}

#[test]
fn many_keys_take_no_longer_than_their_number() {
    let home = Home::own();
    let keys: Vec<_> = (0..100_000).map(|number| format!("k{number}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    home.add(&keys, false).unwrap();
    home.add(&keys, false).unwrap();
    assert_eq!(home.text().lines().count(), keys.len());
    home.remove(&keys).unwrap();
    assert_eq!(home.text(), "");
}

#[test]
fn a_home_that_does_not_let_the_user_is_told() {
    let home = Home::own();
    let gone = Account::made_up(home.account.identity.clone(), &home.path("gone"));
    assert_eq!(
        add(&gone, &[], false).unwrap_err().desc.replace(&home.folder.path().display().to_string(), "HOME"),
        "failed to create directory 'HOME/gone/.ssh': No such file or directory"
    );
    assert!(remove(&gone, &[]).is_ok());
    fs::write(home.path(".ssh"), "").unwrap();
    assert_eq!(home.add(&["a"], false), Err("failed to create directory 'HOME/.ssh': File exists".into()));
    assert_eq!(home.remove(&["a"]), Ok(()));
    fs::remove_file(home.path(".ssh")).unwrap();
    symlink("nowhere", home.path(".ssh")).unwrap();
    assert_eq!(home.add(&["a"], false), Err("failed to create directory 'HOME/.ssh': File exists".into()));
    // From here on root is told nothing: it may do anything.
    let Some(home) = Home::of_nobody() else { return };
    home.give(|| fs::create_dir(home.path(".ssh"))).unwrap();
    fs::set_permissions(home.path(".ssh"), fs::Permissions::from_mode(0o500)).unwrap();
    let denied = format!("failed to write to 'HOME/.ssh/{NAME}': Permission denied");
    assert_eq!(home.add(&["a"], false), Err(denied.clone()));
    fs::set_permissions(home.path(".ssh"), fs::Permissions::from_mode(0o700)).unwrap();
    // A file that the user may not read is not taken for none.
    fs::write(home.account.file(), "root's").unwrap();
    fs::set_permissions(home.account.file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.add(&["a"], false).unwrap_err().ends_with("Permission denied"));
    assert_eq!(home.text(), "root's");
    fs::remove_dir_all(home.path(".ssh")).unwrap();
    chown(home.folder.path(), Some(0), Some(0)).unwrap();
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        home.add(&["a"], false),
        Err("failed to create directory 'HOME/.ssh': Permission denied".into())
    );
}

#[test]
fn links_lead_to_nothing_that_is_not_the_users() {
    let Some(home) = Home::of_nobody() else { return };
    let others = tempfile::tempdir().unwrap();
    // Anybody may write there.
    fs::set_permissions(others.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (secret, open) = (others.path().join("secret"), others.path().join("open"));
    for (path, mode) in [(&secret, 0o600), (&open, 0o666)] {
        fs::write(path, "root's").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let nothing_changed = || {
        assert_eq!(names(others.path()), ["open", "secret"]);
        assert_eq!(
            (fs::read(&secret).unwrap(), fs::read(&open).unwrap()),
            (b"root's".into(), b"root's".into())
        );
    };
    let elsewhere = Err(format!("failed to write to 'HOME/.ssh/{NAME}': its folder belongs to another user"));
    for target in [others.path(), Path::new("/tmp"), Path::new("/proc/self/cwd"), Path::new("/proc/self")] {
        home.give(|| symlink(target, home.path(".ssh"))).unwrap();
        assert_eq!(home.add(&["a"], false), elsewhere, "{target:?}");
        assert_eq!(home.add(&["a"], true), elsewhere, "{target:?}");
        assert_eq!(home.remove(&["a"]), elsewhere, "{target:?}");
        fs::remove_file(home.path(".ssh")).unwrap();
    }
    nothing_changed();
    home.give(|| fs::create_dir(home.path(".ssh"))).unwrap();
    home.give(|| fs::set_permissions(home.path(".ssh"), fs::Permissions::from_mode(0o700))).unwrap();
    for target in
        [&secret, &open, Path::new("/etc/passwd"), Path::new("/proc/self/maps"), Path::new("/dev/null")]
    {
        home.give(|| symlink(target, home.account.file())).unwrap();
        assert!(home.add(&["a"], false).is_err(), "{target:?}");
        assert!(home.remove(&["root's"]).is_err(), "{target:?}");
        assert!(fs::symlink_metadata(home.account.file()).unwrap().is_symlink());
        home.add(&["a"], true).unwrap();
        assert_eq!(home.text(), "a", "the link is gone, and nothing was written through it");
        home.is_in_order();
        fs::remove_file(home.account.file()).unwrap();
    }
    nothing_changed();
    // The same file under another name: its other name keeps what it had.
    fs::hard_link(&open, home.account.file()).unwrap();
    home.add(&["a"], false).unwrap();
    assert_eq!(home.text(), "root's\na");
    home.is_in_order();
    nothing_changed();
}

#[test]
fn the_users_own_links_are_followed_and_a_linked_file_is_replaced() {
    for home in [Some(Home::own()), Home::of_nobody()].into_iter().flatten() {
        home.give(|| {
            fs::create_dir(home.path("dotfiles")).unwrap();
            fs::set_permissions(home.path("dotfiles"), fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(home.path("keys"), "mine").unwrap();
            symlink("dotfiles", home.path(".ssh")).unwrap();
            symlink("../keys", home.account.file()).unwrap();
        });
        home.add(&["a"], false).unwrap();
        assert_eq!(home.text(), "mine\na");
        assert!(fs::symlink_metadata(home.account.file()).unwrap().is_file());
        assert_eq!(fs::read(home.path("keys")).unwrap(), b"mine");
        assert_eq!(names(&home.path("dotfiles")), [NAME]);
        // A link that leads nowhere stands for no file.
        fs::remove_file(home.account.file()).unwrap();
        home.give(|| symlink("nowhere", home.account.file())).unwrap();
        home.remove(&["a"]).unwrap();
        home.add(&["b"], false).unwrap();
        assert_eq!(home.text(), "b");
    }
}
