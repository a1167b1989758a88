//! The examples through the real daemon: built by `waga-ext`, called as a host calls them, with what the log and the audit say of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, left_out};
use waga_tests::example;

use super::{compiler, failure, settled, setup, told};
use crate::program;

/// Both, as components; built once. `None` where there is nothing to build them with.
fn built() -> Option<&'static [Vec<u8>; 2]> {
    static BUILT: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    compiler()?;
    Some(BUILT.get_or_init(|| ["checksum", "greeting"].map(|name| example(name).unwrap())))
}

/// Another one, or a pack, as a component.
pub(super) fn example(name: &str) -> Option<Vec<u8>> {
    build(&example::project(name))
}

/// The project in this folder of the checkout, as a component; `None` where a tool is missing, which is said.
pub(super) fn build(project: &str) -> Option<Vec<u8>> {
    let compiler = compiler()?;
    if let Some(missing) = example::missing(project) {
        left_out(&missing);
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let built = example::build(&compiler, project, folder.path()).unwrap();
    Some(fs::read(built).unwrap())
}

/// An agent that has both, and an audit.
fn with_both() -> Option<Agent> {
    let [checksum, greeting] = built()?;
    let setup = setup(&[
        ("checksum", checksum, "limits = { cpu = '10s', time = '10s' }"),
        ("greeting", greeting, "config = { greeting = 'Good morning' }\nlimits = { time = '10s' }"),
    ])?;
    let path = setup.dir().join("agent.toml");
    let audit = setup.dir().join("audit");
    let text = fs::read_to_string(&path).unwrap() + &format!("[audit]\nfile = '{}'\n", audit.display());
    fs::write(&path, text).unwrap();
    Some(setup.start())
}

#[test]
fn checksums_are_made_and_verified() {
    let Some(agent) = with_both() else { return };
    let mut client = agent.client();
    let digest = |algorithm: &str, length: u64, hex: &str| json!({"algorithm": algorithm, "length": length, "hex": hex});
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let made = client.run("guest-acme-checksum", json!({"data": "aGVsbG8="})).unwrap();
    assert_eq!(made, digest("sha256", 5, hello));
    let made = client.run("guest-acme-checksum", json!({"data": "aGVsbG8=", "algorithm": "crc32"})).unwrap();
    assert_eq!(made, digest("crc32", 5, "3610a686"));
    let made = client.run("guest-acme-checksum", json!({"data": "", "algorithm": "crc32"})).unwrap();
    assert_eq!(made, digest("crc32", 0, "00000000"));
    let verified = client.run(
        "guest-acme-verify-checksum",
        json!({"data": "aGVsbG8=", "expected": digest("sha256", 5, hello)}),
    );
    assert_eq!(verified.unwrap(), json!({}));

    // Its own words, and the agent's about what it never saw.
    let verify = |expected: Value| json!({"data": "aGVsbG8=", "expected": expected});
    let half = STANDARD.encode(vec![0; (1 << 20) + 1]);
    for (command, arguments, expected) in [
        (
            "guest-acme-verify-checksum",
            verify(digest("crc32", 5, "00000000")),
            "the checksum is 3610a686, not 00000000",
        ),
        ("guest-acme-verify-checksum", verify(digest("crc32", 4, "")), "there are 5 bytes of data, not 4"),
        (
            "guest-acme-verify-checksum",
            verify(json!({"algorithm": "crc32", "length": 5})),
            "Parameter 'expected.hex' is missing",
        ),
        (
            "guest-acme-verify-checksum",
            verify(digest("md5", 5, "")),
            "Parameter 'expected.algorithm' does not accept value 'md5'",
        ),
        ("guest-acme-checksum", json!({}), "Parameter 'data' is missing"),
        ("guest-acme-checksum", json!({"data": "a*"}), "Parameter 'data' expects base64"),
        ("guest-acme-checksum", json!({"data": 1}), "Invalid parameter type for 'data', expected: string"),
        ("guest-acme-checksum", json!({"data": "", "x": 1}), "Parameter 'x' is unexpected"),
        (
            "guest-acme-checksum",
            json!({"data": half}),
            "the arguments come to more values than the limit on messages lets pass",
        ),
    ] {
        assert_eq!(failure(&mut client, command, arguments), expected, "{command}");
    }
    let told = told(&mut client, "checksum");
    assert_eq!(
        (&told["state"], &told["failures"], &told["grants"]),
        (&json!("ready"), &json!(0), &json!([]))
    );
}

#[test]
fn people_are_greeted_as_the_operator_wants() {
    let Some(agent) = with_both() else { return };
    let mut client = agent.client();
    assert_eq!(client.run("guest-acme-greet", json!({"name": "Ada"})).unwrap(), "Good morning, Ada!");
    let formal = client.run("guest-acme-greet", json!({"name": "Zoë", "manner": "formal"})).unwrap();
    assert_eq!(formal, "Good morning, Zoë.");
    assert_eq!(failure(&mut client, "guest-acme-greet", json!({"name": ""})), "a name has 1 to 100 bytes");
    agent.until("its words in the log", |agent| agent.log().contains("somebody was greeted"));
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("somebody was greeted")).unwrap();
    assert!(line.contains("greeting"), "{line}");
    let grants = json!(["waga:extension/config@1.0.0", "waga:extension/log@1.0.0"]);
    assert_eq!(told(&mut client, "greeting")["grants"], grants);
}

#[test]
fn the_client_verb_reaches_them() {
    let Some(agent) = with_both() else { return };
    settled(&agent, "checksum");
    let call = |words: &[&str]| {
        let mut command = program().command();
        command.args(["call", "--socket"]).arg(agent.socket()).args(words);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, output, errors) = call(&["guest-acme-checksum", "data=aGVsbG8=", "algorithm=crc32", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let value: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(value, json!({"algorithm": "crc32", "length": 5, "hex": "3610a686"}));
    let (code, output, errors) = call(&["guest-acme-greet", "name=Ada"]);
    assert_eq!((code, output.trim_end()), (Some(0), "\"Good morning, Ada!\""), "{errors}");
    let (code, _, errors) = call(&["guest-acme-greet", "nam=Ada"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("Parameter 'name' is missing"), "{errors}");
}

/// A stand-in for `systemctl`, granted for some units.
#[test]
fn a_service_is_asked_for_through_a_granted_program() {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    if compiler().is_none() {
        return;
    }
    let component = BUILT.get_or_init(|| example("service-status").unwrap());
    let lines = "limits = { time = '10s' }
        config = { systemctl = '@/systemctl' }
        exec = [{ program = '@/systemctl', args = ['is-active', 'acme-*'] }]";
    let Some(setup) = setup(&[("service-status", component, lines)]) else { return };
    let (path, program) = (setup.dir().join("agent.toml"), setup.dir().join("systemctl"));
    let text = fs::read_to_string(&path).unwrap().replace('@', &setup.dir().display().to_string());
    fs::write(&path, text).unwrap();
    let script = "#!/bin/sh
        case \"$# $1 $2\" in
            '2 is-active acme-web.service') echo active ;;
            '2 is-active acme-db.service') echo failed; exit 3 ;;
            *) echo \"no unit $2\" >&2; exit 4 ;;
        esac\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let agent = setup.start();
    let mut client = agent.client();
    let unit = |name: &str| json!({"unit": name});
    for (name, state) in [("acme-web.service", "active"), ("acme-db.service", "failed")] {
        assert_eq!(
            client.run("guest-acme-service-status", unit(name)).unwrap(),
            json!({"unit": name, "state": state, "active": state == "active"})
        );
    }
    assert_eq!(
        failure(&mut client, "guest-acme-service-status", unit("acme-x")),
        "systemctl does not tell the state of acme-x: no unit acme-x"
    );
    // Nobody opened this one.
    assert_eq!(
        failure(&mut client, "guest-acme-service-status", unit("ssh.service")),
        format!("the key exec does not grant '{}' with these arguments", program.display())
    );
    let exec = format!("exec {} is-active acme-*", program.display());
    let grants = json!(["waga:extension/config@1.0.0", "waga:extension/exec@1.0.0", exec]);
    assert_eq!(told(&mut client, "service-status")["grants"], grants);
}

/// Names of arguments, but no value of one: what a value may be known for is not decided by who extends the agent.
#[test]
fn the_audit_tells_names_and_no_values() {
    let Some(agent) = with_both() else { return };
    let mut client = agent.client();
    client.run("guest-acme-greet", json!({"name": "secret-tulip", "manner": "formal"})).unwrap();
    failure(&mut client, "guest-acme-greet", json!({"name": "secret-tulip", "secret-key": "secret-tulip"}));
    client.run("guest-acme-checksum", json!({"data": "c2VjcmV0LXR1bGlw"})).unwrap();
    let read = |agent: &Agent| fs::read_to_string(agent.dir().join("audit")).unwrap();
    agent.until("the audit", |agent| read(agent).lines().count() == 3);
    let text = read(&agent);
    assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (&line["command"], &line["arguments"], &line["outcome"])).collect();
    assert_eq!(told[0], (&json!("guest-acme-greet"), &json!(["name", "manner"]), &json!("ok")));
    // A name that the command does not have is somebody's words, too.
    assert_eq!((told[1].1, told[1].2), (&json!(["name"]), &json!("error")));
    assert_eq!(told[2], (&json!("guest-acme-checksum"), &json!(["data"]), &json!("ok")));
    assert!(lines.iter().all(|line| line["values"] == json!({})), "{text}");
    // Nor does the log, which is verbose here.
    assert!(!agent.log().contains("tulip") && !agent.log().contains("c2VjcmV0"), "{}", agent.log());
}

#[test]
fn what_they_cost_stays_small() {
    let Some(agent) = with_both() else { return };
    let mut client = agent.client();
    let data = STANDARD.encode(vec![7; 50_000]);
    let both = |client: &mut waga_tests::client::Client| {
        client.run("guest-acme-checksum", json!({"data": data})).unwrap();
        client.run("guest-acme-greet", json!({"name": "Ada"})).unwrap();
    };
    (0..50).for_each(|_| both(&mut client));
    let (before, descriptors) = (agent.memory("VmRSS"), agent.descriptors());
    (0..500).for_each(|_| both(&mut client));
    let grown = agent.memory("VmRSS").saturating_sub(before);
    assert!(grown < 4 << 20, "{grown}");
    assert_eq!(agent.descriptors(), descriptors);
    assert_eq!(told(&mut client, "checksum")["calls"], 550);
    let (class, _) = client.refused("guest-acme-nothing", json!({})).unwrap();
    assert_eq!(class, "CommandNotFound");
}
