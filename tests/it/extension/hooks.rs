//! Freeze hooks, as far as nothing is frozen for it: who is said to have some, who is refused, and what each is told to write. What becomes
//! of them is in `tests/vm/freeze/extensions.rs`.

use serde_json::{Value, json};
use waga_tests::agent::Agent;
use waga_tests::component::component;

use super::{agent, script, settled};
use crate::program;

/// A component that is told; with one command or none.
fn telling(has_command: bool) -> Vec<u8> {
    let (wit, export, function) = match has_command {
        true => (
            "interface i { guest-test-x: func(); }",
            "export i;",
            "(func (export \"test:it/i#guest-test-x\"))",
        ),
        false => ("", "", ""),
    };
    component(
        &format!("package test:it; {wit} world w {{ {export} export waga:extension/freeze-hooks@1.0.0; }}"),
        &format!(
            "{function} (func (export \"waga:extension/freeze-hooks@1.0.0#freeze\") (result i32) (i32.const 0))
            (func (export \"waga:extension/freeze-hooks@1.0.0#thaw\") (result i32) (i32.const 0))"
        ),
    )
}

/// What `waga check` says, with the folder as `@`.
fn checked(agent: &Agent, words: &[&str]) -> String {
    let config = agent.dir().join("agent.toml");
    let ran = program().run([&["check", "-c", config.to_str().unwrap()], words].concat());
    String::from_utf8(ran.stdout).unwrap().replace(agent.dir().to_str().unwrap(), "@")
}

#[test]
fn hooks_are_called_where_the_configuration_says_so() {
    let plain = component(
        "package test:it; interface i { guest-test-y: func(); } world w { export i; }",
        "(func (export \"test:it/i#guest-test-y\"))",
    );
    let (with, alone) = (telling(true), telling(false));
    let extensions: [(&str, &[u8], &str); 4] = [
        ("idle", &with, ""),
        ("told", &alone, "freeze-hooks = true"),
        ("none", &plain, "freeze-hooks = true"),
        ("plain", &plain, ""),
    ];
    let Some(agent) = agent(&extensions) else { return };
    let hooks = |name| {
        let told = settled(&agent, name);
        let granted = told["grants"].as_array().unwrap().contains(&json!("freeze-hooks"));
        (told["state"].clone(), told.get("freeze-hooks").cloned(), granted)
    };
    assert_eq!(hooks("idle"), (json!("ready"), Some(json!(false)), false));
    assert_eq!(hooks("told"), (json!("ready"), Some(json!(true)), true));
    assert_eq!(hooks("none"), (json!("refused"), None, false));
    assert_eq!(hooks("plain"), (json!("ready"), None, false));
    let reason = "its component exports no waga:extension/freeze-hooks; take out of @/agent.toml:10:12: [extension.none]: freeze-hooks = true";
    let text = checked(&agent, &[]);
    for line in [
        "extension idle: has waga:extension/freeze-hooks@1.0.0 (freeze-hooks), which is not called; add to @/agent.toml:4:12: [extension.idle]: freeze-hooks = true",
        "extension told (@/told.wasm): is told of freezing and thawing",
        "extension told: asks for waga:extension/freeze-hooks@1.0.0 (freeze-hooks), granted by @/agent.toml:7:12: [extension.told]",
        &format!("extension none (@/none.wasm): off: {reason}"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n\n{text}");
    }
    let told: Value = serde_json::from_str(&checked(&agent, &["--json"])).unwrap();
    let ask = &told["extensions"][0]["asks"][0];
    assert_eq!((&ask["answer"], &ask["key"]), (&json!("not-called"), &json!("freeze-hooks")), "{told}");
}

#[test]
fn scripts_have_the_hooks_that_they_export() {
    let hooks = "exports.freeze = () => {};\nexports.thaw = () => {};\nexports['guest-test-x'] = () => 1;";
    let Some(agent) = script::agent(&[("a.js", hooks)], "") else { return };
    let told = settled(&agent, "x");
    assert_eq!((&told["freeze-hooks"], told.get("faults")), (&json!(false), None), "{told}");
    assert!(checked(&agent, &[]).contains("which is not called; add to "), "{}", checked(&agent, &[]));
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 1);
    let (plain, lines) = ("exports['guest-test-x'] = () => 1;", "freeze-hooks = true");
    let agent = script::agent(&[("a.js", plain), ("b.js", "exports.thaw = () => {};")], lines).unwrap();
    assert_eq!(settled(&agent, "x")["freeze-hooks"], true);
    let agent = script::setup(&[("a.js", plain)], lines).unwrap().start();
    let told = settled(&agent, "x");
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(told["state"] == "refused" && reason.contains("exports freeze or thaw; take out of "), "{told}");
}
