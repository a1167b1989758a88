//! What people read, to the letter: help, `--dump-conf`, `schema`, `check`. `UPDATE_EXPECT=1 cargo test -p waga-tests --test it snapshots` writes down
//! what there is now; read the difference before it is committed.

mod dump;
mod explained;
mod help;
mod schema;

use std::fs;

use expect_test::Expect;
use waga_tests::agent::Program;

use crate::program;

/// What it prints for these words, in a folder with these files.
fn check(called: &str, files: &[(&str, &str)], words: &[&str], expected: &Expect) {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let program = program.called(called);
    let mut command = program.command();
    let output =
        command.args(words).current_dir(dir.path()).env("QGA_CONF", "no-such.conf").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    expected.assert_eq(&String::from_utf8(output.stdout).unwrap());
}
