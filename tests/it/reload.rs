//! `waga-reload`: what SIGHUP does, for whoever is allowed to ask for it over a channel.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::{Agent, Program, Setup};
use waga_tests::client::Client;

use crate::daemon::{configured, is_on};
use crate::{program, waga};

const ENABLED: &str = "[policy]\nenable = ['waga-reload']\n";

/// Writes another `agent.toml`, and asks for nothing.
fn write(agent: &Agent, text: &str) {
    let (path, staged) = (agent.dir().join("agent.toml"), agent.dir().join("staged"));
    fs::write(&staged, text).unwrap();
    fs::rename(staged, path).unwrap();
}

#[test]
fn it_is_off_unless_a_list_has_it() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    assert!(!is_on(&mut client, "waga-reload"));
    let (class, desc) = client.refused("waga-reload", json!({})).unwrap();
    assert_eq!(class, "CommandNotFound");
    assert_eq!(desc, "Command waga-reload has been disabled: the command is not allowed");
    drop(agent);
    let Some(agent) = configured("[policy]\nallow = ['guest-info', 'waga-reload']\n", |setup| setup) else {
        return;
    };
    let mut client = agent.client();
    assert!(is_on(&mut client, "waga-reload"));
    client.run("waga-reload", json!({})).unwrap();
}

#[test]
fn the_reply_comes_when_the_new_policy_is_in_force() {
    let Some(agent) = configured(ENABLED, |setup| setup) else { return };
    let mut client = agent.client();
    for _ in 0..20 {
        write(&agent, &format!("{ENABLED}block = ['guest-get-time']\n"));
        assert_eq!(
            client.run("waga-reload", json!({})).unwrap(),
            json!({"needs-restart": [], "warnings": []})
        );
        assert!(!is_on(&mut client, "guest-get-time"));
        write(&agent, ENABLED);
        client.run("waga-reload", json!({})).unwrap();
        client.run("guest-get-time", json!({})).unwrap();
    }
    // It can take itself away.
    write(&agent, "");
    client.run("waga-reload", json!({})).unwrap();
    assert_eq!(client.refused("waga-reload", json!({})).unwrap().0, "CommandNotFound");
    // SIGHUP is there as ever.
    write(&agent, ENABLED);
    agent.signal(Signal::SIGHUP);
    agent.until("it is on again", |agent| is_on(&mut agent.client(), "waga-reload"));
}

#[test]
fn a_fault_is_told_with_its_place_and_changes_nothing() {
    let Some(agent) = configured(&format!("{ENABLED}block = ['guest-get-time']\n"), |setup| setup) else {
        return;
    };
    let mut client = agent.client();
    write(&agent, "[policy]\nblok = []\n");
    let (class, desc) = client.refused("waga-reload", json!({})).unwrap();
    assert_eq!(class, "GenericError");
    assert!(
        desc.starts_with("not reloaded: ") && desc.contains("agent.toml:2:1: unknown field `blok`"),
        "{desc}"
    );
    assert!(desc.ends_with("the configuration stays as it was"), "{desc}");
    agent.until("the log has it too", |agent| agent.log().contains("not reloaded: "));
    assert!(!is_on(&mut client, "guest-get-time") && is_on(&mut client, "waga-reload"));
}

#[test]
fn what_needs_a_restart_and_what_is_in_doubt_is_told() {
    let Some(agent) = configured(ENABLED, |setup| setup) else { return };
    write(
        &agent,
        "[policy]\nenable = ['waga-reload', 'guest-ping']\nblock = ['guest-pign']\n[freeze]\ndeadline = '1h'\n",
    );
    let told = agent.client().run("waga-reload", json!({})).unwrap();
    assert_eq!(told["needs-restart"], json!(["[freeze]"]));
    let warnings: Vec<&str> =
        told["warnings"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2, "{told}");
    assert!(
        warnings[0].ends_with("'guest-ping' is on by default; 'allow' and 'block' say what is off"),
        "{told}"
    );
    assert!(warnings[1].ends_with("no command is called 'guest-pign'; did you mean 'guest-ping'?"), "{told}");
}

/// One channel may, the other not; and what the one does holds for the other.
#[test]
fn a_channel_can_have_it_alone() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup().configured_channels();
    let [host, ops, file] = ["sock", "ops", "agent.toml"].map(|name| setup.dir().join(name));
    let text = format!(
        "[policy.channel.ops]\nenable = ['waga-reload']\n\
         [[channel]]\nmethod = 'unix-listen'\npath = {host:?}\nname = 'host'\n\
         [[channel]]\nmethod = 'unix-listen'\npath = {ops:?}\nname = 'ops'\n"
    );
    fs::write(&file, &text).unwrap();
    let agent = setup.options(["-c".into(), file]).start();
    agent.until("the second socket", |_| Client::connect(&ops).is_ok());
    let (mut host, mut ops) = (agent.client(), Client::connect(ops).unwrap());
    assert!(!is_on(&mut host, "waga-reload") && is_on(&mut ops, "waga-reload"));
    write(&agent, &format!("{text}[policy]\nblock = ['guest-get-time']\n"));
    host.refused("waga-reload", json!({})).unwrap();
    assert!(is_on(&mut host, "guest-get-time"));
    ops.run("waga-reload", json!({})).unwrap();
    assert!(!is_on(&mut host, "guest-get-time"));
}

/// Many at once, some of whom leave before they are answered, while signals come as well: each that stays is answered.
#[test]
fn whoever_asks_at_the_same_time_is_answered() {
    let Some(agent) = configured(ENABLED, Setup::quiet) else { return };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let agent = &agent;
            scope.spawn(move || {
                for _ in 0..30 {
                    let mut client = agent.client();
                    if number % 4 == 3 {
                        client.send("{\"execute\": \"waga-reload\"}\n").unwrap();
                        agent.signal(Signal::SIGHUP);
                    } else {
                        client.run("waga-reload", json!({})).unwrap();
                    }
                }
            });
        }
    });
    agent.client().sync(1).unwrap();
}
