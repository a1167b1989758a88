//! Packs, from an extension's folder to an agent's configuration, and whatever may go wrong on the way.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

mod killed;
mod operator;
mod vendor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A guest, as far as packs are concerned, and a vendor beside it.
struct Guest(TempDir);

impl Guest {
    /// With this in the configuration's table of extensions.
    fn new(more: &str) -> Self {
        let guest = Self(tempfile::tempdir().unwrap());
        let path = |name: &str| guest.path(name).display().to_string();
        let text = format!(
            "[extensions]\npacks = '{}'\ncache = '{}'\nstate = '{}'\n{more}\n",
            path("packs"),
            path("cache"),
            path("state")
        );
        guest.write("etc/agent.toml", &text);
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `waga-ext` in its folder.
    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_waga-ext")).args(words).current_dir(self.0.path()).output().unwrap()
    }

    /// What it printed; it must have gone well.
    fn does(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Why it did not go well.
    fn fails(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{words:?}: {said}\n{}", self.read("src/pack.toml"));
        String::from_utf8(output.stderr).unwrap()
    }

    /// A verb of the operator's.
    fn operates(&self, words: &[&str]) -> String {
        self.does(&[words, &["-c", "etc"]].concat())
    }

    fn cannot(&self, words: &[&str]) -> String {
        self.fails(&[words, &["-c", "etc"]].concat())
    }

    /// What is installed.
    fn list(&self) -> Value {
        serde_json::from_str(&self.operates(&["list", "--json"])).unwrap()
    }

    /// Makes a pair of keys without a password.
    fn key(&self, name: &str) {
        self.does(&["keygen", name, "--no-password"]);
    }

    fn trust(&self, name: &str) {
        self.write(&format!("etc/trust.d/{name}.pub"), self.read(&format!("{name}.pub")));
    }

    /// A pack of the extension `a`, with this in its manifest, signed by a key; the name of its file.
    fn pack(&self, version: &str, more: &str, key: Option<&str>) -> String {
        self.write("src/pack.toml", manifest(version, more));
        self.write("src/README.md", "# a\n");
        self.write("src/a.wasm", component(version));
        self.does(&["pack", "src"]);
        let file = format!("a-{version}.waga");
        if let Some(key) = key {
            self.does(&["sign", &file, "--key", &format!("{key}.key")]);
        }
        file
    }
}

fn manifest(version: &str, more: &str) -> String {
    format!(
        "name = 'a'\nversion = '{version}'\npublisher = 'Acme'\nlicence = 'MIT'\ndescription = 'Does something'\ncomponent = 'a.wasm'\n{more}"
    )
}

/// The key of a manifest for the one command that the component has.
const COMMAND: &str = "[[command]]\nname = 'guest-acme-a'\nmode = 'add'\ndescription = 'Says one'\n";

/// A component that is another one for each text.
fn component(text: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 1) (memory 1) (data (i32.const 0) "{text}"))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $commands (export "guest-acme-a" (func $f)))
            (export "acme:a/commands@1.0.0" (instance $commands)))"#
    );
    wat::parse_str(text).unwrap()
}

/// All files below a folder with what they hold.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().display().to_string();
                    files.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}
