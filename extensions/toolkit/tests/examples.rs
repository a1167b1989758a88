//! Examples and packs, built by `waga-ext` with the compilers of this machine, and what it then says of them.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn waga_ext(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waga-ext")).args(words).output().unwrap()
}

/// What it printed; it must have gone well.
fn printed(words: &[&str]) -> String {
    let output = waga_ext(words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pack or an example as a component, in a folder of its own.
fn build(name: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("built.wasm").to_str().unwrap().to_owned();
    // One for all tests, in `target`: the standard library takes a minute.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples").join("cache");
    let pack = root().join("extensions").join(name);
    let project = if pack.is_dir() { pack } else { root().join("examples").join(name) };
    let words = ["build", project.to_str().unwrap(), "-o", &file, "--cache", cache.to_str().unwrap()];
    assert!(printed(&words).starts_with(&file));
    (folder, file)
}

fn inspect(file: &str) -> Value {
    serde_json::from_str(&printed(&["inspect", file, "--json"])).unwrap()
}

/// Names, functions and the first lines of docs of all commands.
fn commands(report: &Value) -> Vec<(&str, &str)> {
    let commands = report["commands"].as_array().unwrap().iter();
    commands
        .map(|it| {
            (
                it["wit"].as_str().unwrap(),
                it["docs"].as_str().unwrap_or_default().lines().next().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn a_crate_becomes_a_component_that_asks_for_nothing() {
    let (_folder, file) = build("checksum");
    let report = inspect(&file);
    let expected = [
        (
            "guest-acme-checksum: func(data: list<u8>, algorithm: option<algorithm>) -> result<digest, string>",
            "Makes a checksum of data.",
        ),
        (
            "guest-acme-verify-checksum: func(data: list<u8>, expected: digest) -> result<_, string>",
            "Fails unless data has a checksum.",
        ),
    ];
    assert_eq!(commands(&report), expected);
    assert_eq!(report["imports"], json!([]));
    assert_eq!(report["commands"][0]["interface"], "acme:checksum/checksums@0.1.0");
    assert!(report["sizes"]["file"].as_u64().unwrap() < 100_000, "{report}");

    let text = printed(&["inspect", &file]);
    assert!(text.contains("It imports nothing"), "{text}");
    let bytes = std::fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for path in [env!("CARGO_MANIFEST_DIR"), "/usr/lib/rustlib", "/.cargo/registry"] {
        assert!(!text.contains(path), "{path} is in the component");
    }
}

#[test]
fn a_c_project_becomes_a_component_without_wasi() {
    let (_folder, file) = build("greeting");
    let report = inspect(&file);
    let expected = "guest-acme-greet: func(name: string, manner: option<manner>) -> result<string, string>";
    assert_eq!(commands(&report)[0].0, expected);
    assert_eq!(commands(&report).len(), 1);
    let imports = json!([
        { "name": "waga:extension/config@1.0.0", "permission": "given" },
        { "name": "waga:extension/log@1.0.0", "permission": "given" },
    ]);
    assert_eq!(report["imports"], imports);
}

/// A crate whose manifest says so has WASI for its standard library, and gets the files that are granted.
#[test]
fn a_crate_for_wasi_reads_a_granted_file() {
    let (_folder, file) = build("memory-usage");
    let report = inspect(&file);
    assert_eq!(commands(&report)[0].0, "guest-get-memory-usage: func() -> result<memory, string>");
    let imports: Vec<&str> =
        report["imports"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(imports.iter().any(|name| name.starts_with("wasi:filesystem/preopens@0.2.")), "{imports:?}");
    assert!(imports.iter().all(|name| name.starts_with("wasi:")), "{imports:?}");
    assert!(printed(&["inspect", &file]).contains("always given; what is in it, by read = ["));
    let granted = printed(&["call", &file, "guest-get-memory-usage", "--read", "/proc/meminfo"]);
    let usage: Value = serde_json::from_str(&granted).unwrap();
    assert!(usage["total"].as_u64() > usage["available"].as_u64(), "{usage}");
    for (words, expected) in [
        (&[][..], "cannot read /proc/meminfo: No such file or directory"),
        (&["--read", "meminfo"], "--read meminfo: write the path from '/' on"),
        (&["--write", "/proc/../etc"], "--write /proc/../etc: write the path from '/' on, without '..'"),
        (&["--read", "/proc"], "read \"/proc\" is proc, the kernel's"),
    ] {
        let output = waga_ext(&[&["call", &file, "guest-get-memory-usage"], words].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
        assert!(errors.contains(expected), "{words:?}: {errors}");
    }
}

/// What is imported with its types takes a line of agent.toml; the line that has them all is there to be copied.
#[test]
fn imported_commands_are_asked_for_by_the_key_commands() {
    let (_folder, file) = build("report");
    let imports = json!([
        { "name": "waga:guest/guest-get-fsinfo@1.0.0", "permission": "grant", "line": "commands = [\"guest-get-fsinfo\"]" },
        { "name": "waga:guest/guest-get-osinfo@1.0.0", "permission": "grant", "line": "commands = [\"guest-get-osinfo\"]" },
    ]);
    let report = inspect(&file);
    assert_eq!(report["imports"], imports);
    let expected = "guest-acme-report: func(at-least: option<u8>) -> result<report, error>";
    assert_eq!(
        commands(&report),
        [(expected, "Tells what the guest runs and which of its filesystems fill up.")]
    );
    let text = printed(&["inspect", &file]);
    let line = "  In one line: commands = [\"guest-get-fsinfo\", \"guest-get-osinfo\"]";
    assert!(text.lines().any(|it| it == line), "{text}");
}

/// What is laid over a command of the agent's asks for nothing.
#[test]
fn overrides_and_wraps_ask_for_nothing() {
    let given = |names: &[&str]| {
        let imports = names
            .iter()
            .map(|name| json!({ "name": format!("waga:extension/{name}@1.0.0"), "permission": "given" }));
        Value::Array(imports.collect())
    };
    let (_folder, file) = build("host-name");
    let report = inspect(&file);
    assert_eq!(commands(&report)[0].0, "guest-get-host-name: func() -> result<host-name, error>");
    assert_eq!(report["imports"], given(&["config"]));
    let (_folder, file) = build("net-filter");
    let report = inspect(&file);
    assert_eq!((&report["commands"], &report["handler"]), (&json!([]), &json!(true)));
    assert_eq!(report["imports"], given(&["config", "next"]));
}

/// C that prints asks for WASI, by the name that components know.
#[test]
fn what_libc_asks_for_is_said_in_wasi_0_2() {
    let project = tempfile::tempdir().unwrap();
    let at = |name: &str| project.path().join(name);
    std::fs::create_dir(at("wit")).unwrap();
    let wit = "package a:a; interface i { guest-a-say: func(); } world loud { export i; }";
    std::fs::write(at("wit/a.wit"), wit).unwrap();
    let code = "#include <stdio.h>\n#include \"loud.h\"\nvoid exports_a_a_i_guest_a_say(void) { puts(\"hello\"); }\n";
    std::fs::write(at("a.c"), code).unwrap();
    let file = at("loud.wasm").to_str().unwrap().to_owned();
    let cache = at("cache");
    let words = ["build", project.path().to_str().unwrap(), "-o", &file, "--cache", cache.to_str().unwrap()];
    printed(&words);
    let report = inspect(&file);
    let imports: Vec<&str> =
        report["imports"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(imports.iter().any(|name| name.starts_with("wasi:cli/stdout@0.2.")), "{imports:?}");
    assert!(imports.iter().all(|name| name.starts_with("wasi:")), "{imports:?}");
    assert_eq!(commands(&report), [("guest-a-say: func()", "")]);
}

#[test]
fn what_is_wrong_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cache = at("cache");
    let core = at("core.wasm");
    std::fs::write(&core, wat::parse_str("(module)").unwrap()).unwrap();
    std::fs::write(at("text"), "no module").unwrap();
    std::fs::create_dir_all(at("broken/wit")).unwrap();
    std::fs::write(at("broken/a.c"), "").unwrap();
    std::fs::write(at("broken/wit/a.wit"), "package a:a; world { }").unwrap();
    for (words, expected) in [
        (&["build", "/nonexistent", "--cache", &cache][..], "cannot find /nonexistent"),
        (&["build", &at("."), "--cache", &cache], "neither a Cargo.toml nor a folder wit/"),
        (&["build", &at("broken"), "--cache", &cache], "a.wit:1:20"),
        (&["inspect", &core], "is a core module: `waga-ext build` makes a component"),
        (&["inspect", &at("text")], "is no WebAssembly component"),
    ] {
        let output = waga_ext(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
        assert!(errors.contains(expected), "{words:?}: {errors}");
    }
}

/// A machine without compilers is told what to install, and nothing is fetched.
#[test]
fn a_missing_compiler_is_named_with_the_command_that_installs_it() {
    let nowhere = tempfile::tempdir().unwrap();
    let cache = nowhere.path().join("cache");
    let output = Command::new(env!("CARGO_BIN_EXE_waga-ext"))
        .args(["build", root().join("examples/greeting").to_str().unwrap()])
        .args(["--cache", cache.to_str().unwrap()])
        .env("PATH", nowhere.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("apt install") && errors.contains("clang-19"), "{errors}");
}

/// A program of this text. Written by another process: whoever starts one at this moment would keep our file open, and it could not be run.
fn script(file: &Path, text: &str) {
    let words =
        ["-c", r#"mkdir -p "$(dirname "$1")" && printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod +x "$1""#, "sh"];
    assert!(Command::new("sh").args(words).arg(file).arg(text).status().unwrap().success());
}

/// Debian's compilers have the library for WebAssembly, and no linker: LLVM's does, whose name may have a version.
#[test]
fn a_compiler_without_a_linker_is_given_one() {
    let toolchain = tempfile::tempdir().unwrap();
    let at = |name: &str| toolchain.path().join(name);
    let root = toolchain.path().display();
    script(
        &at("bin/rustc"),
        &format!(r#"case "$*" in *target-libdir*) echo {root}/lib ;; *sysroot*) echo {root} ;; esac"#),
    );
    let cargo = r#"case $1 in metadata) echo '{"packages": []}' ;; *) /usr/bin/env >&2; exit 7 ;; esac"#;
    script(&at("bin/cargo"), cargo);
    std::fs::create_dir_all(at("lib/rustlib/any-host/bin")).unwrap();
    std::fs::write(at("lib/libstd-0.rlib"), "").unwrap();
    let build = || {
        let output = Command::new(env!("CARGO_BIN_EXE_waga-ext"))
            .args(["build", crate::root().join("examples/checksum").to_str().unwrap()])
            .args(["--cache", at("cache").to_str().unwrap()])
            .env("PATH", at("bin"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = format!("{root}/bin/rustc has no linker for WebAssembly: run `apt install lld`");
    assert!(build().contains(&missing), "{}", build());
    script(&at("bin/wasm-ld-19"), "");
    let given = format!("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER={root}/bin/wasm-ld-19\n");
    assert!(build().contains(&given), "{}", build());
    // A rustup's compiler has its own.
    script(&at("lib/rustlib/any-host/bin/rust-lld"), "");
    let errors = build();
    assert!(errors.contains("cargo failed (exit status: 7)") && !errors.contains("_LINKER="), "{errors}");
}

/// What `wit/deps` of a pack or an example has is a copy, and the original may have gone on.
#[test]
fn copies_of_the_contract_are_what_it_is_now() {
    let files = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let mut compared = 0;
    for example in files(root().join("examples")).into_iter().chain(files(root().join("extensions"))) {
        for (package, originals) in [("waga-extension", "wit/extension"), ("waga-guest", "wit/guest")] {
            for copy in files(example.join("wit/deps").join(package)) {
                let original = root().join(originals).join(copy.file_name().unwrap());
                assert_eq!(read(&copy), read(&original), "copy {} again", original.display());
                compared += 1;
            }
        }
    }
    assert!(compared >= 24, "{compared}");
}

/// The packs that are shipped: each can be packed, says what it has, and asks for nothing that its component does not import.
#[test]
fn every_pack_of_ours_can_be_packed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples").join("cache");
    for name in ["exec-guard", "fs-usage", "memory-usage", "net-filter", "nvidia-smi", "pg-quiesce"] {
        let source = root().join("extensions").join(name);
        let output =
            waga_ext(&["pack", source.to_str().unwrap(), "-o", out, "--cache", cache.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("does not name"), "{name}: {said}");
        let told = inspect(&format!("{out}/{name}-1.0.0.waga"));
        assert_eq!((&told["pack"]["name"], &told["signed-by"]), (&json!(name), &Value::Null));
        let has = |file: &str| told["files"].get(file).is_some();
        assert!(has("README.md") && has(&format!("wit/{name}.wit")), "{name}: {told}");
    }
}
