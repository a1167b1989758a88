//! What people read, word by word: the helps, `check` and `--dump-conf`, as files in `snapshots`.
//!
//! A change that is meant is written there with `WAGA_SNAPSHOTS=write cargo test -p waga-tests snapshots`; the review sees the difference.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waga_tests::agent::Program;

use crate::program;

#[test]
fn what_people_read_is_what_was_agreed() {
    if !program().is_waga() {
        return;
    }
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/it/snapshots"));
    // A copy, for waga wants to know that nobody else may write to it, which a checkout may allow.
    let copy = tempfile::tempdir().unwrap();
    let config = copy.path().join("agent.toml");
    fs::copy(folder.join("agent.toml"), &config).unwrap();
    fs::set_permissions(config, Permissions::from_mode(0o600)).unwrap();
    let mut changed = Vec::new();
    for (file, name, args) in [
        ("help.txt", "waga", &["--help"][..]),
        ("help-of-qemu-ga.txt", "qemu-ga", &["--help"]),
        ("help-of-check.txt", "waga", &["check", "--help"]),
        ("help-of-call.txt", "waga", &["call", "--help"]),
        ("check.txt", "waga", &["check", "-c", "agent.toml"]),
        ("dump-conf.toml", "waga", &["-D", "-c", "agent.toml"]),
    ] {
        let program: Program = program().called(name);
        let output = program.command().args(args).current_dir(copy.path()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let path = folder.join(file);
        if std::env::var_os("WAGA_SNAPSHOTS").is_some_and(|wish| wish == "write") {
            fs::write(path, text).unwrap();
        } else if fs::read_to_string(path).unwrap_or_default() != text {
            changed.push(format!("snapshots/{file} differs from what {name} {args:?} prints:\n{text}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}
