//! Packs that come, change and go while an agent runs: what it sees at a reload, and what it tells of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waga_tests::agent::Agent;
use waga_tests::component::component;

use super::super::hostile::in_step;
use super::super::{compiler, disabled, told};
use crate::program;

const ONE: &str = "guest-test-one";

/// A vendor and an operator, both in the agent's own folder.
struct House {
    waga_ext: PathBuf,
    dir: PathBuf,
}

impl House {
    fn run(&self, words: &[&str]) -> String {
        let output = Command::new(&self.waga_ext).args(words).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn operate(&self, words: &[&str]) {
        self.run(&[words, &["-c", "etc"]].concat());
    }

    /// A signed pack whose command answers a number.
    fn pack(&self, version: &str, number: u32) -> String {
        let source = self.dir.join("src");
        fs::create_dir_all(&source).unwrap();
        let manifest = format!(
            "name = 'one'\nversion = '{version}'\npublisher = 'Acme GmbH'\nlicence = 'MIT'\ndescription = 'One'\ncomponent = 'one.wasm'\n\
             [[command]]\nname = '{ONE}'\nmode = 'add'\n"
        );
        fs::write(source.join("pack.toml"), manifest).unwrap();
        fs::write(source.join("README.md"), "# one\n").unwrap();
        let module = component(
            &format!("package test:it; interface i {{ {ONE}: func() -> u32; }} world w {{ export i; }}"),
            &format!(r#"(func (export "test:it/i#{ONE}") (result i32) (i32.const {number}))"#),
        );
        fs::write(source.join("one.wasm"), module).unwrap();
        self.run(&["pack", "src"]);
        let file = format!("one-{version}.waga");
        self.run(&["sign", &file, "--key", "acme.key"]);
        file
    }
}

fn house(dir: &Path) -> Option<House> {
    let house = House { waga_ext: compiler()?, dir: dir.to_owned() };
    house.run(&["keygen", "acme", "--no-password"]);
    fs::create_dir_all(dir.join("etc/trust.d")).unwrap();
    fs::copy(dir.join("acme.pub"), dir.join("etc/trust.d/acme.pub")).unwrap();
    let place = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "[extensions]\npacks = '{}'\ncache = '{}'\nstate = '{}'\n",
        place("packs"),
        place("cache"),
        place("kept")
    );
    fs::write(dir.join("etc/agent.toml"), text).unwrap();
    Some(house)
}

/// What `systemctl reload` does.
fn reload(agent: &Agent, times: &mut usize) {
    *times += 1;
    agent.signal(Signal::SIGHUP);
    agent.until("a reload", |agent| agent.log().matches(": reloaded").count() >= *times);
}

#[test]
fn a_running_agent_takes_up_what_is_installed() {
    let setup = program().setup();
    let Some(house) = house(setup.dir()) else { return };
    let etc = setup.dir().join("etc");
    let agent = setup.options(["-c".into(), etc.clone()]).start();
    let (mut client, mut times) = (agent.client(), 0);
    assert_eq!(client.run("waga-get-extensions", json!({})).unwrap(), json!([]));

    house.operate(&["install", &house.pack("1.0.0", 1), "--yes"]);
    // Until then it is as it was.
    assert_eq!(client.refused(ONE, json!({})).unwrap().0, "CommandNotFound");
    reload(&agent, &mut times);
    // It was compiled when it was installed.
    assert_eq!(client.run(ONE, json!({})).unwrap(), 1);
    assert!(!agent.log().contains("compiling"), "{}", agent.log());
    let key = fs::read_to_string(etc.join("trust.d/acme.pub")).unwrap().lines().nth(1).unwrap().to_owned();
    let list: Value = serde_json::from_str(&house.run(&["list", "--json", "-c", "etc"])).unwrap();
    assert_eq!(
        told(&mut client, "one")["pack"],
        json!({"name": "one", "version": "1.0.0", "publisher": "Acme GmbH", "digest": list[0]["digest"], "signer": "acme", "key": key})
    );

    house.operate(&["upgrade", &house.pack("1.1.0", 11), "--yes"]);
    assert_eq!(client.run(ONE, json!({})).unwrap(), 1);
    reload(&agent, &mut times);
    assert_eq!(client.run(ONE, json!({})).unwrap(), 11);
    house.operate(&["rollback", "one"]);
    reload(&agent, &mut times);
    assert_eq!(
        (client.run(ONE, json!({})).unwrap(), &told(&mut client, "one")["pack"]["version"]),
        (json!(1), &json!("1.0.0"))
    );

    house.operate(&["disable", "one"]);
    reload(&agent, &mut times);
    assert_eq!(disabled(&mut client, ONE), "extension one: switched off (enabled = false)");
    assert_eq!(told(&mut client, "one")["state"], "disabled");
    house.operate(&["enable", "one"]);
    reload(&agent, &mut times);
    assert_eq!(client.run(ONE, json!({})).unwrap(), 1);

    // A key that turns out to be stolen ends what it signed at the next reload.
    let id = house.run(&["verify", "one-1.0.0.waga", "-p", "acme.pub"]);
    let id = id.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    fs::write(etc.join("trust.d/revoked"), format!("{id} stolen\n")).unwrap();
    reload(&agent, &mut times);
    let reason = disabled(&mut client, ONE);
    assert_eq!(
        reason,
        format!("extension one: pack one 1.0.0: the key that signed it, {id}, is revoked: stolen")
    );
    assert_eq!(told(&mut client, "one")["state"], "refused");
    fs::remove_file(etc.join("trust.d/revoked")).unwrap();
    reload(&agent, &mut times);
    assert_eq!(client.run(ONE, json!({})).unwrap(), 1);

    // Something else in its place is not run.
    let module = agent.dir().join("packs/one/1.0.0/one.wasm");
    let bytes = fs::read(agent.dir().join("src/one.wasm")).unwrap();
    fs::write(&module, bytes).unwrap();
    reload(&agent, &mut times);
    let reason = disabled(&mut client, ONE);
    assert!(
        reason.contains("its component is not the one of pack one 1.0.0 as it was installed"),
        "{reason}"
    );

    house.operate(&["remove", "one"]);
    reload(&agent, &mut times);
    assert_eq!(client.refused(ONE, json!({})).unwrap().1, format!("The command {ONE} has not been found"));
    in_step(&agent);
}

/// An override that is switched off leaves what is below it; one that is refused does not, for it may have been there to restrict.
#[test]
fn what_is_switched_off_lies_over_nothing() {
    let setup = program().setup();
    let Some(_) = house(setup.dir()) else { return };
    let etc = setup.dir().join("etc");
    let table = "[extension.over]\nmodule = '/nonexistent'\noverride = ['guest-get-host-name']\n";
    fs::create_dir_all(etc.join("agent.d")).unwrap();
    fs::write(etc.join("agent.d/over.toml"), table).unwrap();
    let agent = setup.options(["-c".into(), etc.clone()]).start();
    let (mut client, mut times) = (agent.client(), 0);
    assert!(disabled(&mut client, "guest-get-host-name").starts_with("extension over: "));
    fs::write(etc.join("agent.d/over.toml"), format!("{table}enabled = false\n")).unwrap();
    reload(&agent, &mut times);
    client.run("guest-get-host-name", json!({})).unwrap();
    assert_eq!(told(&mut client, "over")["state"], "disabled");
}
