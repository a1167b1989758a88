//! What components ask for: every interface that was not granted, or that nobody has, is refused by name before anything is loaded.

use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::hostile::in_step;
use super::{agent, disabled, settled};

/// Interfaces of WASI that no agent of ours has, cut to what makes an import.
const FOREIGN: [&str; 2] = [
    "package wasi:http@0.2.0; interface outgoing-handler { handle: func(request: u32) -> result<u32>; }",
    // Of a version that is not ours.
    "package wasi:random@0.3.0; interface random { get-random-u64: func() -> u64; }",
];

/// A component with one command that imports everything of these interfaces.
pub(crate) fn asking(interfaces: &[String]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for files in [waga_wit::EXTENSION, waga_wit::GUEST] {
        waga_wit::schema::parse(&mut resolve, files).unwrap();
    }
    for text in FOREIGN {
        resolve.push_str("foreign.wit", text).unwrap();
    }
    let imports: String = interfaces.iter().map(|interface| format!("import {interface}; ")).collect();
    let text =
        format!("package test:it; interface i {{ guest-test-x: func(); }} world w {{ {imports} export i; }}");
    let package = resolve.push_str("test.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// Every interface of ours that has functions, as it is imported.
fn ours() -> Vec<String> {
    let mut resolve = Resolve::default();
    let mut names = Vec::new();
    for files in [waga_wit::EXTENSION, waga_wit::GUEST] {
        let package = waga_wit::schema::parse(&mut resolve, files).unwrap();
        for interface in resolve.packages[package].interfaces.values() {
            if !resolve.interfaces[*interface].functions.is_empty() {
                names.push(resolve.id_of(*interface).unwrap());
            }
        }
    }
    assert!(names.len() > 50, "{names:?}");
    names
}

/// Commands that tell and change nothing may be granted.
fn is_getter(command: &str) -> bool {
    command.starts_with("guest-") && command.contains("-get-")
}

/// One component that asks for all: its refusal names each that is not free, with the line to add, or that there is no such thing.
#[test]
fn every_interface_is_refused_by_name_with_the_line_to_add() {
    let foreign = ["wasi:http/outgoing-handler@0.2.0", "wasi:random/random@0.3.0"];
    let all: Vec<String> = ours().into_iter().chain(foreign.map(str::to_owned)).collect();
    let Some(agent) = agent(&[("bad", &asking(&all), "add = ['guest-test-x']")]) else { return };
    let told = settled(&agent, "bad");
    assert_eq!(told["state"], "refused", "{told}");
    let table = format!("{}:4:12: [extension.bad]", agent.dir().join("agent.toml").display());
    let reason = |interface: &String| {
        let (path, _) = interface.split_once('@').unwrap();
        let line = match path {
            "waga:extension/log"
            | "waga:extension/config"
            | "waga:extension/next"
            | "waga:extension/state" => return None,
            "waga:extension/exec" => {
                "exec = [{ program = \"/…\" }], with each program that it may run".to_owned()
            }
            "waga:extension/call" => {
                "commands = [\"guest-…\"], with each command that it may call".to_owned()
            }
            _ => match path.strip_prefix("waga:guest/") {
                Some(command) if is_getter(command) => return None,
                Some(command) => {
                    return Some(format!("imports {interface}, and no extension may call {command}"));
                }
                None => return Some(format!("imports {interface}, which this agent does not have")),
            },
        };
        Some(format!("imports {interface}, which is not granted; add to {table}: {line}"))
    };
    // Commands stand in one key, and so in one line.
    let getters: Vec<(&str, &str)> = all
        .iter()
        .filter_map(|interface| {
            Some((&**interface, interface.strip_prefix("waga:guest/")?.split_once('@')?.0))
        })
        .filter(|(_, command)| is_getter(command))
        .collect();
    let imports = getters.iter().map(|(interface, _)| *interface).collect::<Vec<_>>().join(", ");
    let commands = getters.iter().map(|(_, command)| format!("\"{command}\"")).collect::<Vec<_>>().join(", ");
    let commands =
        format!("imports {imports}, which are not granted; add to {table}: commands = [{commands}]");
    let mut expected: Vec<String> = all.iter().filter_map(reason).chain([commands]).collect();
    let mut reasons: Vec<String> =
        told["reason"].as_str().unwrap().split("; imports ").map(str::to_owned).collect();
    for reason in &mut reasons[1..] {
        reason.insert_str(0, "imports ");
    }
    expected.sort();
    reasons.sort();
    assert_eq!(reasons, expected);
    // The caller is told as much of it as an error reply holds, and nothing was granted.
    let desc = disabled(&mut agent.client(), "guest-test-x");
    let whole = format!("extension bad: {}", told["reason"].as_str().unwrap());
    assert!(whole.starts_with(&desc) && desc.len() > 1000, "{desc}");
    assert_eq!((&told["grants"], &told["calls"]), (&json!([]), &json!(0)));
    in_step(&agent);
}

/// An import of types alone asks for nothing.
#[test]
fn types_are_no_request() {
    let only = |interface: &str| asking(&[interface.to_owned()]);
    let Some(agent) = agent(&[("types", &only("waga:guest/types@1.0.0"), "")]) else { return };
    let told = settled(&agent, "types");
    assert_eq!((&told["state"], &told["grants"]), (&json!("ready"), &json!([])), "{told}");
}
