//! Extensions through the real daemon and its compiler: what is added, and what each that misbehaves comes to.

mod adding;
mod asking;
mod bounds;
mod calling;
mod compiling;
mod ending;
mod engines;
mod examples;
mod examples_of_engines;
mod examples_of_scripts;
mod examples_of_standard;
mod exec;
mod files;
mod hooks;
mod hostile;
mod keeping;
mod laying;
mod pack_pages;
mod packs;
mod reloading;
mod script;
mod script_pages;
mod state;
mod types;
mod wasi;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program, Setup, left_out};
use waga_tests::client::{Client, PATIENCE};

use crate::program;
pub(crate) use asking::asking as asking_for;

/// The compiler that the daemon starts; it has to be beside it. `None` where that is not to be had, or not to be used.
fn compiler() -> Option<PathBuf> {
    let program = Some(program()).filter(Program::is_waga)?;
    let compiler = program.path().with_file_name("waga-ext");
    if !compiler.is_file() {
        left_out("waga-ext (cargo build --manifest-path extensions/Cargo.toml --target-dir target)");
        return None;
    }
    Some(compiler)
}

/// An agent that is to have these extensions: a name, its component, and further lines of its table.
pub(crate) fn setup(extensions: &[(&str, &[u8], &str)]) -> Option<Setup> {
    compiler()?;
    let setup = program().setup();
    let state = setup.dir().join("state");
    let mut text =
        format!("[extensions]\ncache = '{}'\nstate = '{}'\n", cache(setup.dir()).display(), state.display());
    for (name, component, lines) in extensions {
        let module = setup.dir().join(format!("{name}.wasm"));
        fs::write(&module, component).unwrap();
        text += &format!("[extension.{name}]\nmodule = '{}'\n{lines}\n", module.display());
    }
    let path = setup.dir().join("agent.toml");
    fs::write(&path, text).unwrap();
    Some(setup.options(["-c".into(), path]))
}

/// As [`setup`], running, with all of them known.
pub(crate) fn agent(extensions: &[(&str, &[u8], &str)]) -> Option<Agent> {
    let agent = setup(extensions)?.start();
    for (name, ..) in extensions {
        settled(&agent, name);
    }
    Some(agent)
}

fn cache(dir: &Path) -> PathBuf {
    dir.join("cache")
}

/// What `waga-get-extensions` tells of one.
fn told(client: &mut Client, name: &str) -> Value {
    let all = client.run("waga-get-extensions", json!({})).unwrap();
    all.as_array().unwrap().iter().find(|it| it["name"] == name).cloned().unwrap()
}

/// Waits until an extension is known, whatever came of it; what is told of it then. It asks seldom: what compiles needs the processor.
pub(crate) fn settled(agent: &Agent, name: &str) -> Value {
    let mut client = agent.client();
    let begun = Instant::now();
    loop {
        let told = told(&mut client, name);
        if told["state"] != "starting" {
            return told;
        }
        assert!(begun.elapsed() < 4 * PATIENCE, "never known: {told}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The text of an error that is not about the command being there.
fn failure(client: &mut Client, command: &str, arguments: Value) -> String {
    let (class, desc) = client.refused(command, arguments).unwrap();
    assert_eq!(class, "GenericError", "{desc}");
    desc
}

/// The reason for which an extension's command cannot be called.
fn disabled(client: &mut Client, command: &str) -> String {
    let (class, desc) = client.refused(command, json!({})).unwrap();
    assert_eq!(class, "CommandNotFound", "{desc}");
    let start = format!("Command {command} has been disabled: ");
    desc.strip_prefix(&start).unwrap_or_else(|| panic!("{desc}")).to_owned()
}
