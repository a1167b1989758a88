//! The pages about scripts, followed from their first lines to their last by an agent of their own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waga_tests::agent::Agent;

use super::script::folders;
use crate::docs::{blocks, root};
use crate::page::{Done, Reader};
use crate::program;

/// What a guest has of these names, for the agent under test and its configuration: PATH, at whose beginning is a folder `bin`. A reload ends,
/// as that of systemd does, when the new configuration serves.
pub(super) fn tools(agent: &Agent, config: &Path) -> OsString {
    let (dir, bin) = (agent.dir().display(), agent.dir().join("bin"));
    fs::create_dir(&bin).unwrap();
    let waga = format!(
        "[ \"$1\" != check ] || {{ shift; set -- check -c {} \"$@\"; }}\nexec {} \"$@\"",
        config.display(),
        program().path().display()
    );
    let systemctl = format!(
        "[ \"$*\" = 'reload qemu-guest-agent' ] || exit 9
        count() {{ cat {dir}/log {dir}/stderr 2>/dev/null | grep -c ': reloaded'; }}
        before=$(count); kill -HUP {}; tries=0
        until [ $(count) -gt $before ]; do sleep 0.02; tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 1; done",
        agent.pid()
    );
    let journalctl = format!("cat {dir}/log {dir}/stderr 2>/dev/null; true");
    for (name, text) in [("waga", waga), ("systemctl", systemctl), ("journalctl", journalctl)] {
        tool(&bin.join(name), &text);
    }
    let path = std::env::var_os("PATH").unwrap();
    std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap()
}

/// A program that does this.
pub(super) fn tool(file: &Path, text: &str) {
    fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Follows a page, all of it; how many of its blocks were commands.
fn follow(page: &Path) -> Option<usize> {
    let agent = folders(&[])?.start();
    let config = agent.dir().join("agent.toml");
    let begun = fs::read_to_string(&config).unwrap();
    let mut reader = Reader::new(agent.dir())
        .place("/etc/waga/agent.toml", &config)
        .place("/etc/waga/scripts", agent.dir().join("scripts"))
        .place("/run/vm.agent", agent.socket())
        .begun(&config, begun)
        .env("PATH", tools(&agent, &config));
    let mut ran = 0;
    for block in blocks(page) {
        match reader.follow(&block) {
            Done::Ran => ran += 1,
            Done::Wrote(_) | Done::Compared => {}
            Done::Nothing => panic!("{}: nobody follows this", block.place),
        }
    }
    Some(ran)
}

#[test]
fn the_first_page_leads_to_commands_that_are_called() {
    let Some(ran) = follow(&root().join("docs/your-first-command.md")) else { return };
    assert!(ran >= 8, "{ran}");
}

#[test]
fn the_page_about_scripts_shows_what_they_do() {
    let Some(ran) = follow(&root().join("docs/extensions-in-scripts.md")) else { return };
    assert!(ran >= 6, "{ran}");
}
