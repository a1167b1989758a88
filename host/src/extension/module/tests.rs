//! Modules that may be used, those that may not, and those that change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

fn open(path: &Path) -> Result<Module, String> {
    Module::open(path, 1 << 20).map_err(|error| error.to_string())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// All of its bytes, or what its reader is told.
fn bytes(module: Module, expected: Digest) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = Arc::new(module).bytes(expected);
    reader.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
}

#[test]
fn a_module_is_read_twice_and_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.wasm");
    for size in [0, 1, PIECE, PIECE + 1, 300_000] {
        let text = vec![7; size];
        fs::write(&path, &text).unwrap();
        let module = open(&path).unwrap();
        assert_eq!((module.size(), module.path()), (size as u64, path.as_path()));
        let digest = module.digest().unwrap();
        assert_eq!(module.digest().unwrap(), digest);
        assert_eq!(bytes(module, digest).unwrap(), text);
    }
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(open(&link).is_ok());
}

#[test]
fn what_changes_between_the_two_readings_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.wasm");
    let expected = format!("{}: changed while it was read; try again", path.display());
    for (later, while_hashed) in
        [(vec![8; 1000], false), (vec![7; 999], true), (vec![7; 1001], true), (vec![], true)]
    {
        fs::write(&path, [7; 1000]).unwrap();
        let module = open(&path).unwrap();
        let digest = module.digest().unwrap();
        fs::write(&path, &later).unwrap();
        assert_eq!(module.digest().is_err(), while_hashed);
        assert_eq!(bytes(module, digest).unwrap_err(), expected);
    }
    // Another file in its place is another matter.
    fs::write(&path, [7; 10]).unwrap();
    let module = open(&path).unwrap();
    let digest = module.digest().unwrap();
    fs::rename(dir.path().join("m.wasm"), dir.path().join("old")).unwrap();
    fs::write(&path, [8; 10]).unwrap();
    assert_eq!(bytes(module, digest).unwrap(), [7; 10]);
}

#[test]
fn what_must_not_be_used_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.wasm");
    let at = |reason: &str| format!("{}: {reason}", path.display());
    assert_eq!(open(&path).unwrap_err(), at("there is no such file"));
    fs::write(&path, "x").unwrap();
    mode(&path, 0o622);
    assert!(open(&path).unwrap_err().starts_with(&at("others than its owner may write to it (mode 0622)")));
    mode(&path, 0o644);
    mode(dir.path(), 0o777);
    assert!(open(&path).unwrap_err().starts_with(&format!("{}: others than", dir.path().display())));
    mode(dir.path(), 0o700);
    if nix::unistd::geteuid().is_root() {
        chown(&path, Some(65534), None).unwrap();
        assert_eq!(open(&path).unwrap_err(), at("belongs to user 65534; it has to belong to root (chown)"));
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; (1 << 20) + 1]).unwrap();
    assert_eq!(open(&path).unwrap_err(), at("has 1048577 bytes, and [extensions] module-size is \"1MiB\""));
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(open(&path).unwrap_err(), at("is not a regular file"));
    assert!(open(dir.path()).unwrap_err().ends_with("is not a regular file"));
}
