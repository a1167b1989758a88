//! What a script sees by name, and what each does.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::agent;
use crate::extension::{failure, told};

#[test]
fn a_command_is_a_function_of_its_arguments() {
    let text = r#"
exports["guest-test-greet"] = ({ name = "you" }) => ({ greeting: `Hello, ${name}!`, config });
exports["guest-test-nothing"] = () => {};
exports["guest-test-now"] = () => [Date.now(), Math.random(), Math.random(), typeof require];
exports["guest-test-same"] = (args) => args;
exports["guest-test-bytes"] = () => ({ bytes: Uint8Array.of(0, 255, 7) });
"#;
    let Some(agent) = agent(&[("a.js", text)], "config = { tone = 'kind' }") else { return };
    let mut client = agent.client();
    let greeted = client.run("guest-test-greet", json!({"name": "é€😀"})).unwrap();
    assert_eq!(greeted, json!({"greeting": "Hello, é€😀!", "config": {"tone": "kind"}}));
    assert_eq!(client.run("guest-test-greet", json!({})).unwrap()["greeting"], "Hello, you!");
    assert_eq!(client.run("guest-test-nothing", json!({})).unwrap(), json!({}));
    assert_eq!(client.run("guest-test-bytes", json!({})).unwrap(), json!({"bytes": "AP8H"}));
    let deep = json!({"a": [1, -2.5, null, true, {"b": "\u{0}\n\"\u{2028}"}]});
    assert_eq!(client.run("guest-test-same", deep.clone()).unwrap(), deep);

    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0;
    let before = now();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let answer = client.run("guest-test-now", json!({})).unwrap();
        let time = answer[0].as_f64().unwrap();
        assert!((before - 1.0..=now() + 1.0).contains(&time), "{time} is not now");
        numbers.extend([answer[1].as_f64().unwrap(), answer[2].as_f64().unwrap()]);
        assert_eq!(answer[3], "undefined");
    }
    assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
    // A generator that was seeded when the engine was built would begin alike in each call.
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    assert_eq!(numbers.len(), 6);
    assert_eq!(told(&mut client, "x")["failures"], 0);
}

#[test]
fn what_is_kept_and_what_is_said_outlives_a_call() {
    let text = r#"
exports["guest-test-count"] = () => {
  const count = (state.get("count") ?? 0) + 1;
  state.set("count", count);
  state.set("list", { é: [count] });
  log("counted", { count });
  log.error("an error");
  console.warn("a warning");
  return { count, list: state.get("list"), keys: state.keys() };
};
exports["guest-test-fail"] = () => { state.set("count", 99); throw "kept nothing"; };
exports["guest-test-forget"] = () => { state.delete("count"); };
"#;
    let Some(agent) = agent(&[("a.js", text)], "") else { return };
    let mut client = agent.client();
    client.run("guest-test-count", json!({})).unwrap();
    let second = client.run("guest-test-count", json!({})).unwrap();
    assert_eq!(second, json!({"count": 2, "list": {"é": [2]}, "keys": ["count", "list"]}));
    assert_eq!(failure(&mut client, "guest-test-fail", json!({})), "kept nothing");
    assert_eq!(client.run("guest-test-count", json!({})).unwrap()["count"], 3);
    client.run("guest-test-forget", json!({})).unwrap();
    assert_eq!(client.run("guest-test-count", json!({})).unwrap()["count"], 1);
    let log = agent.log();
    for line in ["info: counted {\"count\":2}", "error: an error", "warning: a warning"] {
        assert!(log.contains(&format!("{line} extension=\"x\"")), "{line}: {log}");
    }
}

#[test]
fn other_commands_are_called_as_far_as_they_are_granted() {
    let text = r#"
exports["guest-test-load"] = () => call("guest-get-load");
exports["guest-test-name"] = () => call("guest-get-host-name", {})["host-name"];
exports["guest-test-wrong"] = () => {
  try { call("guest-get-load", { x: 1 }); } catch (error) {
    return [error instanceof CommandError, error.class, error.desc];
  }
};
exports["guest-test-pass"] = () => call("guest-get-load", { x: 1 });
exports["guest-test-list"] = () => call("guest-get-load", [1]);
"#;
    let Some(agent) = agent(&[("a.js", text)], "commands = ['guest-get-load']") else { return };
    let mut client = agent.client();
    assert!(client.run("guest-test-load", json!({})).unwrap()["load1m"].is_number());
    let refused = failure(&mut client, "guest-test-name", json!({}));
    assert!(refused.starts_with("guest-get-host-name is not granted: it does not stand in "), "{refused}");
    let wrong = client.run("guest-test-wrong", json!({})).unwrap();
    let expected = "Parameter 'x' is unexpected";
    assert_eq!(wrong, json!([true, "GenericError", expected]));
    assert_eq!(failure(&mut client, "guest-test-pass", json!({})), expected);
    let list = failure(&mut client, "guest-test-list", json!({}));
    assert_eq!(list, "a.js:10:36: TypeError: the arguments of guest-get-load are an object");
}

#[test]
fn programs_are_run_as_far_as_they_are_granted() {
    let text = r#"
exports["guest-test-echo"] = ({ words }) => exec("/bin/echo", words);
exports["guest-test-cat"] = ({ text }) => exec("/bin/cat", [], { input: text });
exports["guest-test-bytes"] = () => Array.from(exec("/bin/cat", [], { input: Uint8Array.of(0, 255), bytes: true }).stdout);
exports["guest-test-other"] = () => exec("/bin/ls");
"#;
    let lines = "exec = [{ program = '/bin/echo', args = ['**'] }, { program = '/bin/cat' }]";
    let Some(agent) = agent(&[("a.js", text)], lines) else { return };
    let mut client = agent.client();
    let output = |text: &str| json!({"exitCode": 0, "signal": null, "stdout": text, "stderr": ""});
    let echoed = client.run("guest-test-echo", json!({"words": ["a", 7]})).unwrap();
    assert_eq!(echoed, output("a 7\n"));
    assert_eq!(client.run("guest-test-cat", json!({"text": "é\u{0}"})).unwrap(), output("é\u{0}"));
    assert_eq!(client.run("guest-test-bytes", json!({})).unwrap(), json!([0, 255]));
    let refused = failure(&mut client, "guest-test-other", json!({}));
    assert_eq!(refused, "the key exec does not grant '/bin/ls'");
}

#[test]
fn scripts_run_around_commands_and_in_their_place() {
    let text = r#"
exports["guest-get-host-name"] = () => ({ "host-name": `${next()["host-name"]}.example` });
exports["guest-get-timezone"] = () => ({ zone: "Mars", offset: 7 });
exports["guest-get-osinfo"] = (args) => { throw new CommandError("nobody is told", "CommandNotFound"); };
exports["guest-get-users"] = () => next({ unknown: 1 });
"#;
    let lines = "wrap = ['guest-get-host-name', 'guest-get-osinfo', 'guest-get-users']\noverride = ['guest-get-timezone']";
    let Some(agent) = agent(&[("a.js", text)], lines) else { return };
    let mut client = agent.client();
    let name = client.run("guest-get-host-name", json!({})).unwrap();
    let own = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!(name["host-name"], format!("{own}.example"));
    assert_eq!(client.run("guest-get-timezone", json!({})).unwrap(), json!({"zone": "Mars", "offset": 7}));
    let refused = client.refused("guest-get-osinfo", json!({})).unwrap();
    assert_eq!(refused, ("CommandNotFound".to_owned(), "nobody is told".to_owned()));
    let passed = failure(&mut client, "guest-get-users", json!({}));
    assert_eq!(passed, "Parameter 'unknown' is unexpected");
    let modes = told(&mut client, "x");
    let modes: Vec<&Value> = modes["commands"].as_array().unwrap().iter().map(|it| &it["mode"]).collect();
    assert_eq!(modes, ["override", "wrap", "wrap", "wrap"]);
}

#[test]
fn files_are_read_and_written_as_far_as_they_are_granted() {
    let text = r#"
exports["guest-test-read"] = ({ path }) => readFile(path);
exports["guest-test-bytes"] = ({ path }) => Array.from(readFile(path, { bytes: true }));
exports["guest-test-write"] = ({ path, text }) => writeFile(path, text);
"#;
    let Some(setup) = super::setup(&[("a.js", text)], "") else { return };
    let config = setup.dir().join("agent.toml");
    let [note, folder] = ["note", "folder"].map(|name| setup.dir().join(name));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&note, "é\n").unwrap();
    let long = "0123456789abcdef".repeat(10_000);
    let grants = format!("read = ['{}', '/proc/uptime']\nwrite = ['{}']\n", note.display(), folder.display());
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &grants).unwrap();
    let agent = setup.start();
    let mut client = agent.client();
    let path = |path: &std::path::Path| json!({"path": path});
    assert_eq!(client.run("guest-test-read", path(&note)).unwrap(), "é\n");
    assert_eq!(client.run("guest-test-bytes", path(&note)).unwrap(), json!([0xc3, 0xa9, b'\n']));
    assert!(
        client
            .run("guest-test-read", json!({"path": "/proc/uptime"}))
            .unwrap()
            .as_str()
            .unwrap()
            .contains('.')
    );
    let inside = folder.join("new");
    for text in [&*long, "short"] {
        client.run("guest-test-write", json!({"path": inside, "text": text})).unwrap();
        assert_eq!(std::fs::read_to_string(&inside).unwrap(), text);
        assert_eq!(client.run("guest-test-read", path(&inside)).unwrap(), text);
    }
    for (command, place) in [("guest-test-read", "/etc/shadow"), ("guest-test-write", note.to_str().unwrap())]
    {
        let refused = failure(&mut client, command, json!({"path": place, "text": "x"}));
        assert!(refused.starts_with(&format!("{place}: ")), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "é\n");
}
