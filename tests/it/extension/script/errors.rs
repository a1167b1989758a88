//! What becomes of what goes wrong in a script: the client reads file, line and its own words, the log has where it came from, and what is
//! wrong with one file is nothing to the others.

use std::fs;

use serde_json::json;

use super::{agent, file, setup};
use crate::extension::hostile::in_step;
use crate::extension::{disabled, failure, settled, told};

#[test]
fn an_error_tells_its_file_and_line() {
    let text = r#"function deep(n) {
  throw new RangeError(`no ${n}`);
}
exports["guest-test-deep"] = () => deep(7);
exports["guest-test-plain"] = () => { throw new Error("as written"); };
exports["guest-test-text"] = () => { throw "my own word"; };
exports["guest-test-record"] = () => { throw { class: "CommandNotFound", desc: "not here" }; };
exports["guest-test-number"] = () => { throw 7; };
exports["guest-test-name"] = () => missing;
exports["guest-test-later"] = async () => 1;
exports["guest-test-big"] = () => 1n;
exports["guest-test-stack"] = function again() { return again() + 1; };
"#;
    let Some(agent) = agent(&[("a.js", text)], "") else { return };
    let mut client = agent.client();
    for (command, expected) in [
        ("guest-test-deep", "a.js:2:30: RangeError: no 7"),
        ("guest-test-plain", "a.js:5:49: as written"),
        ("guest-test-text", "my own word"),
        ("guest-test-number", "a.js: threw 7"),
        ("guest-test-name", "a.js:9:36: ReferenceError: missing is not defined"),
    ] {
        assert_eq!(failure(&mut client, command, json!({})), expected);
    }
    let later = failure(&mut client, "guest-test-later", json!({}));
    assert!(later.contains("guest-test-later returned a promise"), "{later}");
    let big = failure(&mut client, "guest-test-big", json!({}));
    assert!(big.starts_with("a.js") && big.contains("TypeError"), "{big}");
    let refused = client.refused("guest-test-record", json!({})).unwrap();
    assert_eq!(refused, ("CommandNotFound".to_owned(), "not here".to_owned()));
    let stack = failure(&mut client, "guest-test-stack", json!({}));
    assert!(stack.contains("stack") || stack.contains("recurs"), "{stack}");
    // The whole way is in the log; what was thrown on purpose is nobody's fault.
    let log = agent.log();
    let at = log.find("a.js: RangeError: no 7").unwrap_or_else(|| panic!("{log}"));
    assert!(log[at..].contains("a.js:2:") && log[at..].contains("a.js:4:"), "{log}");
    assert!(!log.contains("my own word") && !log.contains("not here"), "{log}");
    in_step(&agent);
}

#[test]
fn limits_hold_for_scripts() {
    let text = r#"
exports["guest-test-endless"] = () => { for (;;); };
exports["guest-test-memory"] = () => { const all = []; for (;;) all.push(new Uint8Array(1 << 20)); };
exports["guest-test-fine"] = () => 1;
"#;
    let endless = "for (;;);\n";
    let Some(agent) = agent(&[("a.js", text), ("b.js", endless)], "") else { return };
    let mut client = agent.client();
    let told = told(&mut client, "x");
    let fault = told["faults"][0].as_str().unwrap();
    assert!(fault.starts_with("b.js: run to see what it exports, it used up the CPU time"), "{fault}");
    let desc = failure(&mut client, "guest-test-endless", json!({}));
    assert!(desc.contains("used up the CPU time of a call (limits.cpu = \"100ms\")"), "{desc}");
    let desc = failure(&mut client, "guest-test-memory", json!({}));
    assert!(desc.contains("memory"), "{desc}");
    assert_eq!(client.run("guest-test-fine", json!({})).unwrap(), 1);
}

#[test]
fn a_fault_in_one_file_is_nothing_to_the_others() {
    let files = [
        ("a.js", "exports[\"guest-test-a\"] = () => 1;\nexports[\"guest-test-b\"] = () => 2;"),
        ("b.js", "exports[\"guest-test-c\"] = () => {\n  return [1, ;\n};"),
        ("c.js", "exports[\"guest-test-a\"] = () => 3;"),
        ("d.js", "exports[\"guest-test-d\"] = 7;"),
        ("e.js", "\n\nthrow new Error(\"not today\");"),
        ("f.js", "exports[\"test\"] = () => 1;"),
        ("h.js", "throw \"not on this guest\";"),
        ("g.js", "\n/** @param {Date} when */\nexports[\"guest-test-g\"] = () => 1;"),
    ];
    let faults = [
        "b.js:2:14: SyntaxError: ",
        "c.js: guest-test-a is defined by a.js already",
        "d.js: exports[\"guest-test-d\"] is no function",
        "e.js:3:11: not today",
        "f.js: exports 'test', which cannot be a command's name",
        "g.js:2: @param: 'Date' is no type that is checked: ",
        "h.js: not on this guest",
    ];
    let Some(setup) = setup(&files, "") else { return };
    // Before an agent knows of them, too.
    let config = setup.dir().join("agent.toml");
    let check = || crate::program().run(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
    let ran = check();
    let checked = String::from_utf8(ran.stdout).unwrap();
    for fault in faults {
        assert!(checked.contains(&format!("extension x: does not use {fault}")), "{fault}: {checked}");
    }
    assert!(checked.contains("extension x: adds guest-test-b"), "{checked}");
    // What the engine imports is nothing that an operator could do something with.
    assert!(!checked.contains("wasi:"), "{checked}");

    let agent = setup.start();
    let told = settled(&agent, "x");
    assert_eq!(told["state"], "ready", "{told}");
    let found = told["faults"].as_array().unwrap();
    assert_eq!(found.len(), faults.len(), "{found:?}");
    let log = agent.log();
    for (found, fault) in found.iter().zip(faults) {
        assert!(found.as_str().unwrap().starts_with(fault), "{fault}: {found}");
        assert!(log.contains(fault), "{fault}: {log}");
    }
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    assert_eq!(client.run("guest-test-b", json!({})).unwrap(), 2);
    let off = disabled(&mut client, "guest-test-g");
    assert!(off.starts_with("extension x: g.js:2: @param: 'Date'"), "{off}");
}

#[test]
fn what_breaks_says_so_where_it_served() {
    let good = "exports[\"guest-get-host-name\"] = () => ({ \"host-name\": \"x\" });\nexports[\"guest-test-a\"] = () => 1;";
    let lines = "override = ['guest-get-host-name', 'guest-get-users']";
    let Some(agent) = agent(&[("a.js", good)], lines) else { return };
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    // One that is said to be overridden, and is not, fails closed.
    let off = disabled(&mut client, "guest-get-users");
    assert!(off.starts_with("extension x: no script in ") && off.ends_with("defines it"), "{off}");
    fs::write(file(agent.dir(), "a.js"), "exports[").unwrap();
    let text = fs::read_to_string(agent.dir().join("agent.toml")).unwrap();
    crate::daemon::reload(&agent, &text);
    agent.until("the broken one", |agent| agent.log().contains("a.js:1: SyntaxError: the file ends"));
    agent.until("a reload", |agent| agent.log().contains(": reloaded"));
    for command in ["guest-get-host-name", "guest-test-a"] {
        let off = disabled(&mut client, command);
        assert!(off.starts_with("extension x: a.js:1: SyntaxError: "), "{off}");
    }
    in_step(&agent);
}
