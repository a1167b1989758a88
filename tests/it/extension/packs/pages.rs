//! The pages of packs: what they show is what the agent answers, with the table that the page has.

use std::fs;

use waga_tests::agent::Agent;

use super::super::laying::says;
use super::{built, nvidia_smi, script, settled, setup};
use crate::docs::{Block, blocks, root};
use crate::page::{Done, Reader};
use crate::program;

fn page(name: &str) -> Vec<Block> {
    blocks(&root().join("extensions").join(name).join("README.md"))
}

/// An agent that has a pack as its page says, over other extensions.
fn agent(name: &str, others: &[(&str, &[u8], &str)]) -> Option<Agent> {
    let toml = page(name).into_iter().find(|block| block.language == "toml").unwrap();
    let start = format!("[extension.{name}]\nmodule = \"/usr/lib/waga/{name}.wasm\"\n");
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
