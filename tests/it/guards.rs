//! What must not find its way into the daemon: a second runtime, a compiler, another engine than the compiler's. (That there is a daemon
//! without extensions, too, is for `make test` and `make lint`, which build it.)

use std::fs;
use std::path::Path;
use std::process::Command;

use waga_tests::agent::Program;

use crate::program;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Name and version of every package in a lock file.
fn locked(path: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let word = |line: &str| line.split('"').nth(1).unwrap().to_owned();
    let names = text.lines().filter(|line| line.starts_with("name = ")).map(word);
    let versions = text.lines().filter(|line| line.starts_with("version = \"")).map(word);
    names.zip(versions).collect()
}

/// What `cargo` prints; nothing is fetched.
fn cargo(words: &[&str]) -> String {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = command.args(words).args(["--locked", "--offline"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An artifact of another version, to the last digit, does not load.
#[test]
fn daemon_and_compiler_have_the_same_engine() {
    let engine = |path| -> Vec<String> {
        let packages = locked(path).into_iter();
        packages.filter(|(name, _)| name == "wasmtime").map(|(_, version)| version).collect()
    };
    let ours = engine("Cargo.lock");
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours, engine("extensions/Cargo.lock"));
    assert_eq!(ours, engine("tests/fuzz/Cargo.lock"));
    // What artifacts are called by names it.
    let text = fs::read_to_string(root().join("host/src/extension/engine.rs")).unwrap();
    assert!(text.contains(&format!("\"wasmtime-{}-", ours[0])), "engine::ARTIFACTS is not of {}", ours[0]);
}

/// Features that are unified, or a dependency of a dependency, bring such things in unseen.
#[test]
fn no_second_runtime_and_no_compiler_are_linked() {
    let tree = cargo(&["tree", "-p", "waga", "-e", "normal", "--prefix", "none"]);
    let packages: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for package in ["smol", "wasmtime", "pulley-interpreter"] {
        assert!(packages.contains(&package), "{package} is not there: is this the daemon's tree?\n{tree}");
    }
    // Containers that the compiler's authors made, and the engine uses.
    let harmless = ["cranelift-bforest", "cranelift-bitset", "cranelift-entity"];
    let is_unwanted = |package: &&str| {
        let compiler = package.starts_with("cranelift") || package.starts_with("wasmtime-internal-cranelift");
        let runtime = package.starts_with("tokio") || ["async-std", "wasmtime-wasi"].contains(package);
        (compiler && !harmless.contains(package)) || runtime
    };
    let unwanted: Vec<_> = packages.iter().filter(|package| is_unwanted(package)).collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
}

/// Whether a file holds these bytes.
fn holds(path: &Path, word: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn the_program_holds_no_compiler() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    // Of its symbols and of the paths in its panics: a stripped program has the latter.
    assert!(!holds(program.path(), "cranelift_codegen") && !holds(program.path(), "cranelift-codegen"));
    assert!(holds(program.path(), "wasmtime"));
    let compiler = program.path().with_file_name("waga-ext");
    if compiler.is_file() {
        assert!(holds(&compiler, "cranelift-codegen"), "what is looked for is not how a compiler is known");
    }
}
