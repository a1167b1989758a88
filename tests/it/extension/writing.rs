//! `docs/write-an-extension.md`, followed from its first line to its last: its files are written, its commands run, and what they build is
//! called in an agent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::{agent, compiler};
use crate::docs::{blocks, root};
use crate::page::{Done, Reader};

/// Crates in the versions that the examples have, so that nothing has to be looked up.
fn lock(folder: &Path, manifest: &str) {
    let like = if manifest.contains("serde_json") { "net-filter" } else { "report" };
    let lock = fs::read_to_string(root().join("examples").join(like).join("Cargo.lock")).unwrap();
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
    let lock = lock.replace(&format!("name = \"{like}\""), &format!("name = {name}"));
    fs::write(folder.join("Cargo.lock"), lock).unwrap();
}

#[test]
fn the_page_for_authors_leads_to_commands_that_are_called() {
    let Some(compiler) = compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::join_paths(
        [compiler.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    // Where other tests build, too: the standard library takes a minute, once.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples");
    fs::create_dir_all(cache.join("cache")).unwrap();
    let _ = symlink("cache", cache.join("waga-ext"));
    let mut reader =
        Reader::new(folder.path()).env("PATH", &path).env("WAGA", root()).env("XDG_CACHE_HOME", &cache);
    let (mut ran, mut compared) = (0, 0);
    // What is shown of a terminal takes an agent: below.
    let blocks = blocks(&root().join("docs/write-an-extension.md"));
    for block in blocks.iter().filter(|block| block.language != "console") {
        match reader.follow(block) {
            Done::Wrote(file) if file.ends_with("Cargo.toml") => lock(file.parent().unwrap(), &block.text),
            Done::Ran => ran += 1,
            Done::Compared => compared += 1,
            Done::Wrote(_) | Done::Nothing => {}
        }
    }
    assert!(ran >= 4 && compared >= 2, "{ran} {compared}");

    let module = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let time = "limits = { cpu = '10s', time = '10s' }";
    let wrap = format!("wrap = ['guest-get-osinfo']\n{time}");
    let agent =
        agent(&[("visits", &module("visits.wasm"), time), ("discreet", &module("discreet.wasm"), &wrap)]);
    let agent = agent.unwrap();
    let mut client = agent.client();
    for number in 1..=3 {
        let visit = client.run("guest-acme-visit", json!({"name": "Ada"})).unwrap();
        assert_eq!(visit, json!({"text": "Welcome, Ada", "number": number}));
    }
    let system = client.run("guest-get-osinfo", json!({})).unwrap();
    assert!(system["kernel-release"].is_string() && system["kernel-version"].is_null(), "{system}");
}
