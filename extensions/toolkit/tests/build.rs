//! `waga-ext build` of JavaScript, Python and C: which file it begins with, what is kept, and what is said when something is missing.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The two tools, where `tests/install-packages` puts them, with what their projects end in.
const TOOLS: [(&str, &str); 2] = [
    ("target/tools/javascript/node_modules/.bin", "componentize-qjs"),
    ("target/tools/python/bin", "componentize-py"),
];

/// What every project here is: one function.
const WIT: &str = "package a:a;\n/// Words.\ninterface words { /// Says a word.\n guest-a-say: func(word: string) -> result<string, string>; }\nworld say-it { export words; }\n";
const JAVASCRIPT: &str = "export const words = { guestASay(word) { if (!word) throw new Error('no word'); return word + '!'; } };\n";
const PYTHON: &str = "from componentize_py_types import Err\nfrom wit_world import exports\n\nclass Words(exports.Words):\n    def guest_a_say(self, word):\n        if not word:\n            raise Err('no word')\n        return word + '!'\n";
const C: &str = "#include \"say_it.h\"\nbool exports_a_a_words_guest_a_say(say_it_string_t *word, say_it_string_t *told, say_it_string_t *error) { (void)error; *told = *word; return true; }\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// PATH with the tools behind it; `None` where this one is missing, which is said.
fn path(tool: &str) -> Option<OsString> {
    let before = std::env::var_os("PATH").unwrap();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&before).chain(TOOLS.map(|(folder, _)| root().join(folder))).collect();
    if !folders.iter().any(|folder| folder.join(tool).is_file()) {
        assert!(std::env::var_os("WAGA_TESTS").is_none_or(|value| value != "all"), "missing: {tool}");
        // Past libtest's capture.
        let _ = writeln!(std::io::stderr(), "left out: {tool} (tests/install-packages)");
        return None;
    }
    Some(std::env::join_paths(folders).unwrap())
}

/// A project of these files and [`WIT`].
fn project(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("wit/a.wit", WIT)].iter().chain(files) {
        let file = folder.path().join("project").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

/// Builds a project, keeping in a cache of its own; what came of it.
fn build(folder: &TempDir, path: &std::ffi::OsStr, words: &[&str]) -> Output {
    let at = |name: &str| folder.path().join(name);
    Command::new(env!("CARGO_BIN_EXE_waga-ext"))
        .arg("build")
        .arg(at("project"))
        .arg("-o")
        .arg(at("built.wasm"))
        .arg("--cache")
        .arg(at("cache"))
        .args(words)
        .env("PATH", path)
        .output()
        .unwrap()
}

/// What was said by a build that went well.
fn built(folder: &TempDir, path: &std::ffi::OsStr) -> String {
    let output = build(folder, path, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// What was said by one that failed.
fn refused(folder: &TempDir, path: &std::ffi::OsStr, words: &[&str]) -> String {
    let output = build(folder, path, words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn waga_ext(words: &[&str], file: &Path) -> Output {
    let (verb, words) = words.split_first().unwrap();
    Command::new(env!("CARGO_BIN_EXE_waga-ext")).arg(verb).arg(file).args(words).output().unwrap()
}

/// Whether a text is in what was built: an engine has its script in it. Compiling one to call it takes most of a minute, which the tests
/// of the agent do.
fn holds(folder: &TempDir, text: &str) -> bool {
    let bytes = fs::read(folder.path().join("built.wasm")).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What the built command says.
fn says(folder: &TempDir, word: &str) -> String {
    let output = waga_ext(&["call", "guest-a-say", word], &folder.path().join("built.wasm"));
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8(all).unwrap().trim().to_owned()
}

/// Its docs are those of its WIT.
fn is_described(folder: &TempDir) {
    let output = waga_ext(&["inspect", "--json"], &folder.path().join("built.wasm"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["commands"][0]["docs"], "Says a word.", "{report}");
    let import = |name: &str| {
        report["imports"].as_array().unwrap().iter().any(|it| it["name"].as_str().unwrap().starts_with(name))
    };
    assert!(import("wasi:cli/stderr@0.2"), "its engine can say what nobody caught: {report}");
}

/// What is in a folder, without what is below.
fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// How many results are kept for a language.
fn kept(folder: &TempDir, language: &str) -> usize {
    let projects = fs::read_dir(folder.path().join("cache").join(language)).unwrap();
    let files = projects.flat_map(|project| names(&project.unwrap().path()));
    files.filter(|name| name.ends_with(".built")).count()
}

const UNCHANGED: &str = "unchanged, taken from the cache";

#[test]
fn javascript_becomes_a_component_and_the_same_is_not_built_again() {
    let Some(path) = path("componentize-qjs") else { return };
    let helper = "export const loud = word => word.toUpperCase() + 'first mark';\n";
    let main = format!(
        "import {{ loud }} from './lib/loud.js';\n{}",
        JAVASCRIPT.replace("word + '!'", "loud(word)")
    );
    let folder = project(&[("say.js", &main), ("lib/loud.js", helper)]);
    assert!(!built(&folder, &path).contains(UNCHANGED));
    assert!(holds(&folder, "first mark"));
    is_described(&folder);
    assert_eq!(names(&folder.path().join("project")), ["lib", "say.js", "wit"], "nothing is left there");

    assert!(built(&folder, &path).contains(&format!("JavaScript: {UNCHANGED}")));
    assert!(holds(&folder, "first mark"));
    // Whatever goes in counts: a file that is imported, docs, an option.
    fs::write(folder.path().join("project/lib/loud.js"), helper.replace("first", "second")).unwrap();
    assert!(!built(&folder, &path).contains(UNCHANGED));
    assert!(holds(&folder, "second mark") && !holds(&folder, "first mark"));
    fs::write(folder.path().join("project/wit/a.wit"), WIT.replace("/// Words.", "/// All words.")).unwrap();
    assert!(!built(&folder, &path).contains(UNCHANGED));
    assert_eq!(kept(&folder, "componentize-qjs"), 1, "the latest");
    assert!(built(&folder, &path).contains(UNCHANGED));
}

#[test]
fn python_becomes_a_component_and_the_same_is_not_built_again() {
    let Some(path) = path("componentize-py") else { return };
    // The one that is named as the world, and what it imports.
    let main = format!("import helper\n{}", PYTHON.replace("word + '!'", "helper.loud(word)"));
    let helper = "def loud(word):\n    return word.upper() + 'first mark'\n";
    let folder = project(&[("say_it.py", &main), ("helper.py", helper)]);
    assert!(!built(&folder, &path).contains(UNCHANGED));
    assert!(holds(&folder, "first mark"));
    is_described(&folder);
    assert_eq!(
        names(&folder.path().join("project")),
        ["helper.py", "say_it.py", "wit"],
        "nothing is left there"
    );
    assert!(built(&folder, &path).contains(&format!("Python: {UNCHANGED}")));
    assert!(holds(&folder, "first mark"));
    fs::write(folder.path().join("project/helper.py"), "def loud(word:\n").unwrap();
    let said = refused(&folder, &path, &[]);
    assert!(said.contains("SyntaxError: '(' was never closed (helper.py, line 1)"), "{said}");
    assert!(said.contains("componentize-py failed") && !said.contains("Stack backtrace"), "{said}");
}

#[test]
fn c_is_not_compiled_again_unless_something_changed() {
    let path = std::env::var_os("PATH").unwrap();
    let folder = project(&[("say.c", C), ("b.h", "")]);
    assert!(!built(&folder, &path).contains(UNCHANGED));
    assert!(built(&folder, &path).contains(&format!("C: {UNCHANGED}")));
    assert_eq!(says(&folder, "word=yes"), r#""yes""#);
    fs::write(folder.path().join("project/b.h"), "#define B 1\n").unwrap();
    assert!(!built(&folder, &path).contains(UNCHANGED), "a header may be included");
    // What lies outside is not looked at.
    fs::write(folder.path().join("outside.h"), "").unwrap();
    fs::write(folder.path().join("project/say.c"), format!("#include \"../outside.h\"\n{C}")).unwrap();
    for _ in 0..2 {
        assert!(!built(&folder, &path).contains(UNCHANGED));
    }
    assert_eq!(kept(&folder, "c"), 1);
}

/// A project that is gone needs no place.
#[test]
fn what_was_built_of_projects_that_are_gone_is_removed() {
    let path = std::env::var_os("PATH").unwrap();
    let folder = project(&[("say.c", C)]);
    built(&folder, &path);
    let (project, other) = (folder.path().join("project"), folder.path().join("other"));
    fs::rename(&project, &other).unwrap();
    std::os::unix::fs::symlink(&other, &project).unwrap();
    built(&folder, &path);
    let places = names(&folder.path().join("cache/c"));
    assert!(places.len() == 2, "a link to it keeps it: {places:?}");
    fs::remove_file(&project).unwrap();
    fs::rename(&other, folder.path().join("third")).unwrap();
    std::os::unix::fs::symlink("third", &project).unwrap();
    built(&folder, &path);
    fs::remove_file(&project).unwrap();
    let places = names(&folder.path().join("cache/c"));
    assert!(!places.iter().any(|place| place.starts_with("other-")), "{places:?}");
}

#[test]
fn what_a_folder_is_no_project_for_is_told() {
    let nowhere = tempfile::tempdir().unwrap();
    let (js, py) = (("a.js", JAVASCRIPT), ("a.py", PYTHON));
    let two = "package a:a; world one {} world two {}";
    for (files, words, expected) in [
        (&[js, py][..], &[][..], "has files of JavaScript (a.js) and of Python (a.py)"),
        (&[js, ("b.c", "")], &[], "has files of C (b.c) and of JavaScript (a.js)"),
        (
            &[js, ("b.js", "")],
            &[],
            "has a.js, b.js: name the one that exports the commands as the world, say-it.js",
        ),
        (
            &[py, ("b.py", "")],
            &[],
            "has a.py, b.py: name the one that exports the commands as the world, say_it.py",
        ),
        (&[("say-it.py", PYTHON)], &[], "is no name that Python can import: rename it to say_it.py"),
        (&[js, ("b.js", ""), ("wit/a.wit", two)], &[], "which world of "),
        (&[js, ("b.js", ""), ("wit/a.wit", two)], &["--world", "two"], "as the world, two.js"),
        (
            &[js],
            &["--wit", "/nonexistent"],
            "has a.js, and no /nonexistent: describe there what its commands take",
        ),
    ] {
        let said = refused(&project(files), nowhere.path().as_os_str(), words);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let (nowhere, somewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = nowhere.path().as_os_str();
    let folder = project(&[("a.js", JAVASCRIPT)]);
    let at = folder.path().join("project").canonicalize().unwrap().display().to_string();
    let expected =
        format!("run `apt install nodejs npm && npm install --no-save --prefix {at} componentize-qjs@0.4.5`");
    let said = refused(&folder, path, &[]);
    assert!(said.contains(&expected), "{said}");
    // With npm there is nothing to say of it.
    let npm = somewhere.path().join("npm");
    fs::write(&npm, "").unwrap();
    fs::set_permissions(&npm, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = refused(&folder, somewhere.path().as_os_str(), &[]);
    assert!(
        said.contains("run `npm install") && said.contains("neither in node_modules/.bin nor in PATH"),
        "{said}"
    );
    // A folder around it may have it.
    fs::create_dir_all(folder.path().join("node_modules/.bin")).unwrap();
    fs::copy(&npm, folder.path().join("node_modules/.bin/componentize-qjs")).unwrap();
    let said = refused(&folder, path, &[]);
    assert!(said.contains("is run by node, which is not in PATH: run `apt install nodejs`"), "{said}");

    let folder = project(&[("a.py", PYTHON)]);
    let at = folder.path().join("project").canonicalize().unwrap().display().to_string();
    let expected = format!(
        "run `apt install python3-venv && python3 -m venv {at}/.venv && {at}/.venv/bin/pip install componentize-py==0.25.1`"
    );
    let said = refused(&folder, path, &[]);
    assert!(said.contains(&expected), "{said}");
}
