//! The pages of packs: what they show is what the agent answers, with the table that the page has.

use std::fs;
use std::path::Path;
use std::process::Command;

use toml::Table;
use waga_tests::agent::Agent;

use super::super::{compiler, laying::says};
use super::{PACKS, built, manifest, nvidia_smi, script, settled, setup};
use crate::docs::{Block, blocks, root};
use crate::page::{Done, Reader};
use crate::program;

fn page(name: &str) -> Vec<Block> {
    blocks(&root().join("extensions").join(name).join("README.md"))
}

/// What a page has of the pack's table.
fn shown(name: &str) -> Block {
    page(name).into_iter().find(|block| block.language == "toml").unwrap()
}

/// An agent that has a pack as its page says, over other extensions: as a module.
fn agent(name: &str, others: &[(&str, &[u8], &str)]) -> Option<Agent> {
    let toml = shown(name);
    let start = format!("[extension.{name}]\npack = \"{name}\"\nversion = {}\n", manifest(name)["version"]);
    let lines = toml.text.strip_prefix(&start).unwrap_or_else(|| panic!("{}", toml.place));
    let all: Vec<_> = others.iter().copied().chain([(name, built(name)?, lines)]).collect();
    let agent = setup(&all)?.start();
    settled(&agent, name);
    Some(agent)
}

/// Does what a page shows.
fn follow(name: &str, agent: &Agent) {
    let bin = agent.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    script(&bin.join("waga"), &format!("exec {} \"$@\"", program().path().display()));
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut reader = Reader::new(agent.dir())
        .place("/run/vm.agent", agent.socket())
        .place("/usr/bin/nvidia-smi", agent.dir().join("nvidia-smi"))
        .env("PATH", path);
    let consoles = page(name).into_iter().filter(|block| block.language == "console");
    let ran = consoles.filter(|block| matches!(reader.follow(block), Done::Ran)).count();
    assert!(ran > 0, "{name} shows nothing");
}

#[test]
fn they_show_what_is_answered() {
    for name in ["memory-usage", "fs-usage", "exec-guard"] {
        let Some(agent) = agent(name, &[]) else { return };
        follow(name, &agent);
    }
}

#[test]
fn that_of_net_filter_has_a_guest_with_containers() {
    let address = |address: &str, kind: &str, prefix: u8| {
        format!(r#"{{"ip-address": "{address}", "ip-address-type": "{kind}", "prefix": {prefix}}}"#)
    };
    let network = format!(
        r#"[{{"name": "lo", "ip-addresses": [{}]}}, {{"name": "docker0", "ip-addresses": [{}]}}, {{"name": "eth0", "ip-addresses": [{}, {}]}}]"#,
        address("127.0.0.1", "ipv4", 8),
        address("172.17.0.1", "ipv4", 16),
        address("10.0.2.15", "ipv4", 24),
        address("fe80::5054:ff:fe00:1", "ipv6", 64)
    );
    let command = "guest-network-get-interfaces";
    let below = says(command, &network);
    let lines = format!("override = ['{command}']\ncommands = ['guest-get-host-name']");
    let Some(agent) = agent("net-filter", &[("below", &below, &lines)]) else { return };
    follow("net-filter", &agent);
}

#[test]
fn that_of_nvidia_smi_has_a_card() {
    let card = root().join("extensions/nvidia-smi/recorded/h100.csv");
    let Some(agent) = nvidia_smi::agent(&format!("cat '{}'", card.display())) else { return };
    follow("nvidia-smi", &agent);
}

/// A pack's folder without what builds it, but with what was built.
fn project(name: &str, folder: &Path) -> Option<()> {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("built.wasm"), built(name)?).unwrap();
    let from = root().join("extensions").join(name);
    let text = fs::read_to_string(from.join("pack.toml")).unwrap();
    fs::write(folder.join("pack.toml"), format!("component = 'built.wasm'\n{text}")).unwrap();
    for file in [Some("README.md"), manifest(name).get("config-schema").map(|file| file.as_str().unwrap())] {
        file.map(|file| fs::copy(from.join(file), folder.join(file)).unwrap());
    }
    Some(())
}

/// What `install` writes is what a page has, but for the configuration, which is one that the pack can have.
#[test]
fn they_are_installed_as_they_say() {
    let Some(waga_ext) = compiler() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [etc, trusted] = ["etc", "etc/trust.d"].map(|name| dir.path().join(name));
    [&etc, &trusted].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let places = ["cache", "state", "packs"].map(|key| format!("{key} = '{}/{key}'\n", dir.path().display()));
    fs::write(etc.join("agent.toml"), format!("[extensions]\n{}", places.concat())).unwrap();
    let run = |words: &[&str]| {
        let done = Command::new(&waga_ext).args(words).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(&["keygen", "acme", "--no-password"]);
    fs::copy(dir.path().join("acme.pub"), trusted.join("acme.pub")).unwrap();
    for name in PACKS {
        let Some(()) = project(name, &dir.path().join(name)) else { return };
        let file = format!("{name}-{}.waga", manifest(name)["version"].as_str().unwrap());
        run(&["pack", name]);
        run(&["sign", &file, "--key", "acme.key"]);
        run(&["install", &file, "--yes", "-c", "etc"]);
        let table = etc.join("agent.d").join(format!("pack-{name}.toml"));
        let of = |text: &str| {
            let mut table = text.parse::<Table>().unwrap()["extension"][name].as_table().unwrap().clone();
            table.remove("config");
            table
        };
        assert_eq!(of(&shown(name).text), of(&fs::read_to_string(&table).unwrap()), "{}", shown(name).place);
        fs::write(&table, shown(name).text).unwrap();
    }
    run(&["doctor", "-c", "etc"]);
}
