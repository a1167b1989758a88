//! Types that components have wrong, or that callers do: what is refused, where it is told, and what serves all the same.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, disabled, failure, settled, told};

#[test]
fn arguments_of_another_type_are_refused_in_the_agents_words() {
    let typed = component(
        "package test:it; interface i {
            record disk { name: string, size: option<u64> }
            enum mode { fast, slow }
            guest-test-x: func(number: s8, disks: list<disk>, mode: option<mode>) -> u32;
        } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-x") (param i32 i32 i32 i32 i32) (result i32) (local.get 2))"#,
    );
    let Some(agent) = agent(&[("bad", &typed, "")]) else { return };
    settled(&agent, "bad");
    let mut client = agent.client();
    let fine = json!({"number": -128, "disks": [{"name": "a"}, {"name": "b", "size": 1}], "mode": "slow"});
    assert_eq!(client.run("guest-test-x", fine.clone()).unwrap(), 2);
    let with = |key: &str, value: Value| {
        let mut arguments = fine.clone();
        arguments[key] = value;
        arguments
    };
    for (arguments, expected) in [
        (json!({}), "Parameter 'number' is missing"),
        (with("number", json!(128)), "Parameter 'number' expects int8"),
        (with("number", json!("1")), "Invalid parameter type for 'number', expected: integer"),
        (with("number", json!(null)), "Invalid parameter type for 'number', expected: integer"),
        (with("disks", json!({})), "Invalid parameter type for 'disks', expected: array"),
        (with("disks", json!([{"name": "a"}, {}])), "Parameter 'disks[1].name' is missing"),
        (
            with("disks", json!([{"name": ["a"]}])),
            "Invalid parameter type for 'disks[0].name', expected: string",
        ),
        (with("disks", json!([{"name": "a", "x": 1}])), "Parameter 'disks[0].x' is unexpected"),
        (with("mode", json!("medium")), "Parameter 'mode' does not accept value 'medium'"),
        (with("x", json!(1)), "Parameter 'x' is unexpected"),
    ] {
        assert_eq!(failure(&mut client, "guest-test-x", arguments), expected);
    }
    // The caller's fault is none of the extension's: it is not let rest.
    assert_eq!(told(&mut client, "bad")["failures"], 0);
    assert_eq!(client.run("guest-test-x", fine).unwrap(), 2);
}

#[test]
fn a_huge_list_of_arguments_costs_what_a_message_may() {
    let takes = component(
        "package test:it; interface i { guest-test-x: func(items: list<u32>) -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-x") (param i32 i32) (result i32) (local.get 1))"#,
    );
    let Some(agent) = agent(&[("bad", &takes, "limits = { cpu = '5s', time = '5s', message = '1MiB' }")])
    else {
        return;
    };
    settled(&agent, "bad");
    let mut client = agent.client();
    let of = |number: u32, count| json!({"items": vec![number; count]});
    assert_eq!(client.run("guest-test-x", of(1, 1000)).unwrap(), 1000);
    agent.forget_peak();
    let begun = Instant::now();
    // Less text than a message may have (limits.message), and more than ten times as much in values.
    let desc = failure(&mut client, "guest-test-x", of(1, 300_000));
    assert_eq!(desc, "the arguments come to more values than the limit on messages lets pass");
    let desc = failure(&mut client, "guest-test-x", of(111, 300_000));
    let expected =
        "extension bad: guest-test-x does not take arguments of 1200011 bytes (limits.message = \"1MiB\")";
    assert_eq!(desc, expected);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(agent.memory("VmHWM") < 64 << 20, "{}", agent.memory("VmHWM"));
    in_step(&agent);
}

/// A wrong word on the types of a component, in the cache: it is not believed.
#[test]
fn a_description_that_lies_is_found_out() {
    let double = component(
        "package test:it; interface i { guest-test-x: func(number: u32) -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-x") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))"#,
    );
    let Some(mut agent) = agent(&[("bad", &double, "limits = { time = '60s' }")]) else { return };
    assert_eq!(agent.client().run("guest-test-x", json!({"number": 21})).unwrap(), 42);
    for (word, other) in [("\"u32\"", "\"string\""), ("guest-test-x", "guest-test-y")] {
        let mut lies = 0;
        for entry in fs::read_dir(agent.dir().join("cache")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read(&path).unwrap();
            if let Ok(text) = String::from_utf8(text)
                && text.contains("artifact")
            {
                fs::write(&path, text.replace(word, other)).unwrap();
                lies += 1;
            }
        }
        assert_eq!(lies, 1);
        agent = agent.restart(Signal::SIGTERM);
        let mut client = agent.client();
        // Whatever is called first: afterwards it is known for what it is.
        let _ = client.ask(&json!({"execute": "guest-test-y"})).unwrap();
        let _ = client.ask(&json!({"execute": "guest-test-x", "arguments": {"number": 1}})).unwrap();
        assert_eq!(client.run("guest-test-x", json!({"number": 21})).unwrap(), 42, "{word}");
        in_step(&agent);
    }
}

#[test]
fn what_is_no_command_is_ignored() {
    let odd = component(
        "package test:it; interface i { guest-test-x: func(); start: func(); guest: func(); } interface j { guest-test-x: func(); }
        world w { export guest-test-root: func(); export init: func(); export i; export j; }",
        r#"(func (export "guest-test-root")) (func (export "init") unreachable)
        (func (export "test:it/i#guest-test-x")) (func (export "test:it/i#start") unreachable) (func (export "test:it/i#guest") unreachable)
        (func (export "test:it/j#guest-test-x") unreachable)"#,
    );
    let Some(agent) = agent(&[("odd", &odd, "")]) else { return };
    let told = settled(&agent, "odd");
    let mut client = agent.client();
    assert_eq!(
        told["commands"],
        json!([{"name": "guest-test-x", "mode": "add", "enabled": true}]),
        "of one name the first counts"
    );
    client.run("guest-test-x", json!({})).unwrap();
    for name in ["guest-test-root", "init", "start", "guest"] {
        let (class, desc) = client.refused(name, json!({})).unwrap();
        assert_eq!((&*class, desc), ("CommandNotFound", format!("The command {name} has not been found")));
    }
}

/// A function that may only be called the new way: the engine has none of that, so it is the whole component that is refused.
#[test]
fn async_functions_are_refused() {
    let text = r#"(component
        (core module $m (func (export "x")))
        (core instance $i (instantiate $m))
        (type $async (func async))
        (func $a (type $async) (canon lift (core func $i "x")))
        (instance $e (export "guest-test-a" (func $a)))
        (export "test:it/i" (instance $e)))"#;
    let bytes = wat::parse_str(text).unwrap();
    let Some(agent) = agent(&[("odd", &bytes, "add = ['guest-test-a']")]) else { return };
    assert_eq!(settled(&agent, "odd")["state"], "refused");
    let desc = disabled(&mut agent.client(), "guest-test-a");
    // Where in the file it stands is the compiler's to tell.
    let expected = "extension odd: it cannot be compiled: async component functions require the component model async feature";
    assert!(desc.starts_with(expected), "{desc}");
    in_step(&agent);
}

/// JSON that no type bounds: what goes to a handler is no deeper than what it may answer.
#[test]
fn a_handler_gets_no_deep_arguments() {
    let handler = component(
        "package test:it; world w { export waga:extension/handler@1.0.0; }",
        r#"(data (i32.const 64) "guest-test-json") (data (i32.const 128) "true")
           (func (export "waga:extension/handler@1.0.0#commands") (result i32)
                (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 15))
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 16)) (i32.store (i32.const 8) (i32.const 1))
                (i32.const 0))
           (func (export "waga:extension/handler@1.0.0#handle") (param i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 128)) (i32.store (i32.const 8) (i32.const 4))
                (i32.const 0))"#,
    );
    let Some(agent) = agent(&[("json", &handler, "")]) else { return };
    let mut client = agent.client();
    // The object of the arguments is a level, too.
    let nested = |levels| (1..levels).fold(json!("[[[{{{"), |inner, _| json!([inner]));
    assert_eq!(client.run("guest-test-json", json!({"x": nested(32)})).unwrap(), true);
    let desc = failure(&mut client, "guest-test-json", json!({"x": nested(33)}));
    assert_eq!(desc, "the arguments are nested more than 32 levels deep");
    assert_eq!(told(&mut client, "json")["failures"], 0);
}
