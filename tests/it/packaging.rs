//! `packaging/install`, into a folder: what it leaves and takes away, and what it does not touch. Its effect in a guest: `tests/vm/systemd.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const UNIT: &str = "lib/systemd/system/qemu-guest-agent.service";

/// Runs the installer of this checkout, with some program for waga.
fn install(root: &Path, prefix: &str, words: &[&str]) -> Output {
    install_of(Path::new("/bin/true"), root, prefix, words)
}

fn install_of(waga: &Path, root: &Path, prefix: &str, words: &[&str]) -> Output {
    let installer = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging").join("install");
    let mut command = Command::new(installer);
    command.env("DESTDIR", root).env("PREFIX", prefix).env("WAGA", waga).args(words);
    command.output().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => files.extend(self::files(&path).iter().map(|file| format!("{name}/{file}"))),
            false => files.push(name),
        }
    }
    files.sort();
    files
}

#[test]
fn three_files_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        assert!(install(root.path(), "/opt/x", &[]).status.success());
        let expected =
            ["lib/systemd/system/qemu-guest-agent.service", "lib/udev/rules.d/60-qemu-guest-agent.rules"];
        assert_eq!(files(&root.path().join("opt/x")), [&expected[..], &["sbin/waga"]].concat());
        let unit = fs::read_to_string(root.path().join("opt/x").join(UNIT)).unwrap();
        assert!(unit.contains("exec /opt/x/sbin/waga ") && !unit.contains("/usr/sbin/waga"), "{unit}");
    }
    for _ in 0..2 {
        assert!(install(root.path(), "/opt/x", &["--remove"]).status.success());
        assert!(files(root.path()).is_empty());
    }
}

#[test]
fn what_extensions_need_goes_with_it() {
    let [built, root] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for name in ["waga", "waga-ext", "script.wasm"] {
        fs::copy("/bin/true", built.path().join(name)).unwrap();
    }
    let waga = built.path().join("waga");
    assert!(install_of(&waga, root.path(), "/opt/x", &[]).status.success());
    let installed = files(&root.path().join("opt/x"));
    for name in ["sbin/waga", "sbin/waga-ext", "lib/waga/script.wasm"] {
        assert!(installed.iter().any(|file| file == name), "{name}: {installed:?}");
    }
    assert!(install_of(&waga, root.path(), "/opt/x", &["--remove"]).status.success());
    assert!(files(root.path()).is_empty() && !root.path().join("opt/x/lib/waga").exists());
}

/// Below `/usr` the package of qemu-ga has files of the same names.
#[test]
fn the_unit_of_somebody_else_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let unit = root.path().join("usr").join(UNIT);
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nExecStart=-/usr/sbin/qemu-ga\n").unwrap();
    for words in [&[][..], &["--remove"]] {
        let told = install(root.path(), "/usr", words);
        assert_eq!(told.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&told.stderr).contains("is not waga's"), "{told:?}");
        assert_eq!(files(root.path()), [format!("usr/{UNIT}")]);
        assert!(fs::read_to_string(&unit).unwrap().contains("qemu-ga"));
    }
}
