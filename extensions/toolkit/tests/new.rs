//! `waga-ext new`: each template as it is written, built and called by its own test; and what it says when something goes wrong.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// PATH with `waga-ext` before it and the languages' tools behind it.
fn path() -> OsString {
    let own = Path::new(env!("CARGO_BIN_EXE_waga-ext")).parent().unwrap().to_owned();
    let before = std::env::var_os("PATH").unwrap();
    let tools = ["target/tools/javascript/node_modules/.bin", "target/tools/python/bin"];
    let folders =
        [own].into_iter().chain(std::env::split_paths(&before)).chain(tools.map(|it| root().join(it)));
    std::env::join_paths(folders).unwrap()
}

/// Whether this tool is there; that it is not is said.
fn has(tool: &str) -> bool {
    let found = std::env::split_paths(&path()).any(|folder| folder.join(tool).is_file());
    if !found {
        assert!(std::env::var_os("WAGA_TESTS").is_none_or(|value| value != "all"), "missing: {tool}");
        // Past libtest's capture.
        let _ = writeln!(std::io::stderr(), "left out: {tool} (tests/install-packages)");
    }
    found
}

/// Runs a program in a folder, with the cache that all tests have.
fn run(folder: &Path, program: &str, words: &[&str]) -> Output {
    let cache = folder.ancestors().find(|folder| folder.join("waga-ext").exists());
    let mut command = Command::new(program);
    command.args(words).current_dir(folder).env("PATH", path());
    command.env("XDG_CACHE_HOME", cache.expect("made by `place`")).output().unwrap()
}

/// Where projects are made, with the cache beside them: the standard library of Rust takes a minute, once.
fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples").join("cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, folder.path().join("waga-ext")).unwrap();
    folder
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes a project, runs its test, and has it fail once the command says something else.
fn is_built_called_and_tested(language: &str, source: &str) -> (TempDir, PathBuf) {
    let place = place();
    let made = run(place.path(), "waga-ext", &["new", "--lang", language, "acme-disks"]);
    assert!(made.status.success(), "{}", errors(&made));
    let project = place.path().join("acme-disks");
    let tested = run(&project, "./test", &[]);
    let told = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{told}{}", errors(&tested));
    assert!(told.ends_with("guest-acme-disks says \"Hello, Ada!\", as it should\n"), "{told}");
    assert!(errors(&tested).contains("log: info: somebody was greeted"), "{}", errors(&tested));
    for file in ["README.md", "wit/acme-disks.wit", source] {
        let text = fs::read_to_string(project.join(file)).unwrap();
        assert!(text.contains("guest-acme-disks") || text.contains("guest_acme_disks"), "{file}: {text}");
        for placeholder in ["@name@", "@name_@", "@Name@", "@language@"] {
            assert!(!text.contains(placeholder), "{file}: {text}");
        }
    }
    let packed = run(&project, "waga-ext", &["pack"]);
    assert!(
        packed.status.success() && project.join("acme-disks-0.1.0.waga").is_file(),
        "{}",
        errors(&packed)
    );
    for (file, text) in waga_wit::EXTENSION {
        assert_eq!(&fs::read_to_string(project.join("wit/deps/waga-extension").join(file)).unwrap(), text);
    }
    (place, project)
}

#[test]
fn c_is_built_called_and_tested() {
    let (_place, project) = is_built_called_and_tested("c", "acme_disks.c");
    // Its test can fail, and it has an error of its own.
    let source = project.join("acme_disks.c");
    fs::write(&source, fs::read_to_string(&source).unwrap().replace("Hello", "Hallo")).unwrap();
    let tested = run(&project, "./test", &[]);
    assert_eq!(tested.status.code(), Some(1));
    let expected = "guest-acme-disks: expected \"Hello, Ada!\", and it was \"Hallo, Ada!\"";
    assert!(errors(&tested).contains(expected), "{}", errors(&tested));
    let called = run(&project, "waga-ext", &["call", "acme-disks.wasm", "guest-acme-disks", "name="]);
    assert!(errors(&called).contains("guest-acme-disks: there is nobody to greet"), "{}", errors(&called));
}

/// What C prints of a failed assertion is where the log would be.
#[test]
fn a_failed_assertion_of_c_is_in_the_log() {
    let place = place();
    assert!(run(place.path(), "waga-ext", &["new", "-l", "c", "fails"]).status.success());
    let project = place.path().join("fails");
    let source = project.join("fails.c");
    let text = fs::read_to_string(&source).unwrap();
    let asserting = text
        .replace("#include <string.h>", "#include <assert.h>\n#include <string.h>")
        .replace("    if (name->len == 0)", "    assert(name->len != 1);\n    if (name->len == 0)");
    fs::write(&source, asserting).unwrap();
    assert!(run(&project, "waga-ext", &["build"]).status.success());
    let called = run(&project, "waga-ext", &["call", "fails.wasm", "guest-fails", "name=A"]);
    assert_eq!(called.status.code(), Some(1));
    let told = errors(&called);
    assert!(told.contains("log: warning: Assertion failed: name->len != 1 (fails.c: "), "{told}");
}

/// A panic would be lost: the target has no standard error.
#[test]
fn rust_is_built_called_and_tested_and_its_panics_are_in_the_log() {
    let (_place, project) = is_built_called_and_tested("rust", "src/lib.rs");
    let source = project.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(
        &source,
        text.replace(
            "        if name.is_empty()",
            "        assert!(name != \"A\", \"out of cheese\");\n        if name.is_empty()",
        ),
    )
    .unwrap();
    let built = run(&project, "waga-ext", &["build"]);
    assert!(built.status.success(), "{}", errors(&built));
    let called = run(&project, "waga-ext", &["call", "acme-disks.wasm", "guest-acme-disks", "name=A"]);
    assert_eq!(called.status.code(), Some(1));
    let told = errors(&called);
    assert!(
        told.contains("log: error: panicked at src/lib.rs:") && told.contains("log: error: out of cheese"),
        "{told}"
    );
}

#[test]
fn javascript_is_built_called_and_tested() {
    if has("componentize-qjs") {
        is_built_called_and_tested("js", "acme-disks.js");
    }
}

#[test]
fn python_is_built_called_and_tested() {
    if has("componentize-py") {
        is_built_called_and_tested("py", "acme_disks.py");
    }
}

/// Nothing is built of it; the engine is beside `waga-ext`, as beside an agent.
#[test]
fn a_script_is_called_and_tested() {
    let engine = Path::new(env!("CARGO_BIN_EXE_waga-ext")).with_file_name("script.wasm");
    if !engine.is_file() {
        assert!(std::env::var_os("WAGA_TESTS").is_none_or(|value| value != "all"), "missing: script.wasm");
        return writeln!(std::io::stderr(), "left out: script.wasm (make toolkit)").unwrap();
    }
    let place = place();
    assert!(run(place.path(), "waga-ext", &["new", "-l", "script", "acme-disks"]).status.success());
    let project = place.path().join("acme-disks");
    let tested = run(&project, "./test", &[]);
    assert!(tested.status.success(), "{}", errors(&tested));
    assert!(errors(&tested).contains("log: info: somebody was greeted"), "{}", errors(&tested));
    let call = |words: &[&str]| {
        let called =
            run(&project, "waga-ext", &[&["call", "acme-disks.js", "guest-acme-disks"], words].concat());
        assert_eq!(called.status.code(), Some(1), "{words:?}");
        errors(&called)
    };
    for (words, expected) in [
        (&["name="][..], "guest-acme-disks: there is nobody to greet"),
        (&["nam=Ada"], "guest-acme-disks has no argument 'nam'; did you mean 'name'?"),
        (&["name=7"], "Invalid parameter type for 'name', expected: string"),
        (&[], "Parameter 'name' is missing"),
    ] {
        assert!(call(words).contains(expected), "{words:?}: {}", call(words));
    }
    // Its test can fail, by the line that does.
    let source = project.join("acme-disks.js");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("  log(", "  lag(")).unwrap();
    let tested = run(&project, "./test", &[]);
    assert!(!tested.status.success());
    let expected = "acme-disks.js:11:3: ReferenceError: lag is not defined";
    assert!(errors(&tested).contains(expected), "{}", errors(&tested));
    fs::write(&source, "exports[").unwrap();
    assert!(call(&[]).contains("acme-disks.js:1: SyntaxError: "), "{}", call(&[]));
}

#[test]
fn what_is_there_stays_and_what_is_no_name_is_told() {
    let place = place();
    fs::create_dir(place.path().join("empty")).unwrap();
    assert!(run(place.path(), "waga-ext", &["new", "-l", "c", "empty"]).status.success());
    for (words, expected) in [
        (["-l", "py", "empty"], "empty is there already, and not empty: say another name"),
        (["-l", "c", "Acme"], "guest-Acme cannot be a command: a name is words of small letters and digits"),
        (["-l", "c", "../acme"], "cannot be a command"),
        (["-l", "c", "get-load"], "guest-get-load is a command of the agent's own: say another name"),
        (["-l", "go", "acme"], "invalid value 'go'"),
    ] {
        let refused = run(place.path(), "waga-ext", &[&["new"], &words[..]].concat());
        assert!(!refused.status.success());
        assert!(errors(&refused).contains(expected), "{words:?}: {}", errors(&refused));
    }
    assert!(!place.path().join("acme").exists() && !place.path().join("empty/empty.py").exists());
}
