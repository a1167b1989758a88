//! `docs/write-an-extension.md` and the pages of the languages, followed from their first line to their last: their files are written,
//! their commands run. What the former builds is called in an agent, too.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use tempfile::TempDir;
use waga_tests::agent::left_out;
use waga_tests::example;

use super::{agent, compiler};
use crate::docs::{blocks, root};
use crate::page::{Done, Reader};

/// Crates in the versions that the examples have, so that nothing has to be looked up.
fn lock(folder: &Path, manifest: &str) {
    let like = if manifest.contains("serde_json") { "net-filter" } else { "report" };
    let lock = fs::read_to_string(root().join(example::project(like)).join("Cargo.lock")).unwrap();
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
    let lock = lock.replace(&format!("name = \"{like}\""), &format!("name = {name}"));
    fs::write(folder.join("Cargo.lock"), lock).unwrap();
}

/// A folder in which somebody did what a page says: its files are written, its commands run, and what they printed last is what the page
/// says then. With how many commands ran and how many outputs were compared.
fn followed(page: &str, compiler: &Path) -> (TempDir, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let own = compiler.parent().unwrap().to_owned();
    let path =
        std::env::join_paths([own].into_iter().chain(std::env::split_paths(&example::path()))).unwrap();
    // Where other tests build, too: the standard library takes a minute, once.
    let cache = folder.path().join("cache");
    fs::create_dir_all(example::cache()).unwrap();
    fs::create_dir(&cache).unwrap();
    symlink(example::cache().canonicalize().unwrap(), cache.join("waga-ext")).unwrap();
    let mut reader =
        Reader::new(folder.path()).env("PATH", &path).env("WAGA", root()).env("XDG_CACHE_HOME", &cache);
    let (mut ran, mut compared) = (0, 0);
    // What is shown of a terminal is of another machine, or takes an agent.
    let blocks = blocks(&root().join("docs").join(page));
    for block in blocks.iter().filter(|block| block.language != "console") {
        match reader.follow(block) {
            Done::Wrote(file) if file.ends_with("Cargo.toml") => lock(file.parent().unwrap(), &block.text),
            Done::Ran => ran += 1,
            Done::Compared => compared += 1,
            Done::Wrote(_) => {}
            // Configurations are looked at by another test, and quotations.
            Done::Nothing => assert!(
                ["toml", "rust", "wit", ""].contains(&&*block.language),
                "{}: nobody runs it",
                block.place
            ),
        }
    }
    (folder, ran, compared)
}

/// The page of a language, if what builds it is here.
fn page_of_a_language(page: &str, like: &str) {
    let Some(compiler) = compiler() else { return };
    if let Some(missing) = example::missing(like) {
        return left_out(&missing);
    }
    let (_folder, ran, compared) = followed(page, &compiler);
    assert_eq!((ran, compared), (2, 1), "{page}");
}

#[test]
fn the_page_for_javascript_leads_to_a_command_that_answers() {
    page_of_a_language("extensions-in-javascript.md", "examples/uptime");
}

#[test]
fn the_page_for_python_leads_to_a_command_that_answers() {
    page_of_a_language("extensions-in-python.md", "examples/disk-report");
}

#[test]
fn the_page_for_c_leads_to_a_command_that_answers() {
    page_of_a_language("extensions-in-c.md", "examples/greeting");
}

#[test]
fn the_page_for_rust_leads_to_a_command_that_answers() {
    page_of_a_language("extensions-in-rust.md", "examples/report");
}

#[test]
fn the_page_for_authors_leads_to_commands_that_are_called() {
    let Some(compiler) = compiler() else { return };
    let (folder, ran, compared) = followed("write-an-extension.md", &compiler);
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
