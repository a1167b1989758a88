//! What the agent tells of itself: `waga-get-schema`, `waga-get-stats`, and offline `waga schema` and what `waga check` says of extensions.

use std::time::Instant;

use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program};
use waga_tests::client::{Client, PATIENCE};
use waga_tests::component::component;

use crate::extension::{agent, asking_for, settled, setup};
use crate::{program, waga};

/// Its WIT, as an author writes it.
const DOUBLE: &str = "package test:it;
interface i {
    /// Doubles a number.
    ///
    /// - `number`: which one, \u{fc}berhaupt
    guest-test-double: func(number: u32, often: option<bool>) -> u32;
}
world w { export i; }";

fn double() -> Vec<u8> {
    component(
        DOUBLE,
        r#"(func (export "test:it/i#guest-test-double") (param i32 i32 i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))"#,
    )
}

/// The same with its WIT in it, as `waga-ext build` puts it there.
pub(crate) fn told() -> Vec<u8> {
    let mut component = double();
    let section = [b"\x08waga:wit", DOUBLE.as_bytes()].concat();
    component.push(0);
    let mut size = section.len();
    while size >= 0x80 {
        component.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    component.push(u8::try_from(size).unwrap());
    component.extend(section);
    component
}

/// Names its commands itself: one, whose name stands in its memory.
fn handler() -> Vec<u8> {
    component(
        "package test:it; world w { export waga:extension/handler@1.0.0; }",
        r#"(data (i32.const 64) "guest-test-json")
           (func (export "waga:extension/handler@1.0.0#commands") (result i32)
                (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 15))
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 16)) (i32.store (i32.const 8) (i32.const 1))
                (i32.const 0))
           (func (export "waga:extension/handler@1.0.0#handle") (param i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 64)) (i32.store (i32.const 8) (i32.const 0))
                (i32.const 0))"#,
    )
}

/// What is told of one command.
fn schema(client: &mut Client, command: &str) -> Value {
    let told = client.run("waga-get-schema", json!({"command": command})).unwrap();
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    told[0].clone()
}

fn names(all: &Value) -> Vec<&str> {
    all.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

#[test]
fn the_schema_of_every_command_is_told() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let all = client.run("waga-get-schema", json!({})).unwrap();
    let mut listed = client.run("guest-info", json!({})).unwrap()["supported_commands"].take();
    listed.as_array_mut().unwrap().reverse();
    assert_eq!(names(&all), names(&listed));
    let written: Value = serde_json::from_str(waga_wit::SCHEMA).unwrap();
    for told in all.as_array().unwrap() {
        let name = told["name"].as_str().unwrap();
        for part in ["docs", "arguments", "result"] {
            assert_eq!(told[part], written[name][part], "{name}: {part}");
        }
        assert!(told["extension"].is_null() && told["note"].is_null(), "{told}");
    }
    assert_eq!(
        schema(&mut client, "guest-exec"),
        all[names(&all).iter().position(|it| *it == "guest-exec").unwrap()]
    );
    let (class, desc) = client.refused("waga-get-schema", json!({"command": "guest-pign"})).unwrap();
    assert_eq!(
        (class.as_str(), desc.contains("there is no command 'guest-pign'")),
        ("GenericError", true),
        "{desc}"
    );
}

#[test]
fn under_qemu_gas_name_there_are_no_commands_of_wagas_own() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let agent = program.called("qemu-ga").agent();
    for command in ["waga-get-schema", "waga-get-stats"] {
        let (class, _) = agent.client().refused(command, json!({})).unwrap();
        assert_eq!(class, "CommandNotFound");
    }
}

#[test]
fn what_an_extension_adds_has_the_docs_of_its_wit_or_at_least_its_types() {
    let extensions = [
        ("told", &told()[..], ""),
        ("json", &handler(), ""),
        ("plain", &double(), "add = ['guest-test-double', 'guest-test-other']"),
    ];
    let Some(agent) = agent(&extensions) else { return };
    let mut client = agent.client();
    let number = json!({"type": "integer", "minimum": 0, "maximum": u32::MAX, "description": "which one, \u{fc}berhaupt"});
    assert_eq!(
        schema(&mut client, "guest-test-double"),
        json!({
            "name": "guest-test-double",
            "docs": "Doubles a number.",
            "arguments": {
                "type": "object",
                "properties": {"number": number, "often": {"type": "boolean"}},
                "required": ["number"],
                "additionalProperties": false,
            },
            "result": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "extension": "told",
        })
    );
    let json = schema(&mut client, "guest-test-json");
    assert_eq!((&json["arguments"], &json["result"]), (&json!({"type": "object"}), &json!({})));
    assert!(json["note"].as_str().unwrap().contains("JSON of its own"), "{json}");
    let other = schema(&mut client, "guest-test-other");
    assert!(other["note"].as_str().unwrap().contains("no such command"), "{other}");
    let all = client.run("waga-get-schema", json!({})).unwrap();
    assert!(
        ["guest-test-double", "guest-test-json", "guest-ping"].iter().all(|name| names(&all).contains(name))
    );
}

/// The entry of a list with this name.
fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn requests_are_counted_by_channel_and_by_command() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let agent = program.setup().options(["-b", "guest-get-time"]).start();
    let mut client = agent.client();
    let before = client.run("waga-get-stats", json!({})).unwrap();
    let of_channel = |stats: &Value| stats["channels"][0].clone();
    let channel = of_channel(&before);
    assert_eq!(before["channels"].as_array().unwrap().len(), 1);
    assert_eq!(before["commands"], json!([entry(&before["commands"], "waga-get-stats")]), "{before}");
    assert_eq!(entry(&before["commands"], "waga-get-stats")["running"], 1);

    for _ in 0..5 {
        client.run("guest-ping", json!({})).unwrap();
    }
    client.refused("guest-ping", json!({"x": 1})).unwrap();
    client.refused("guest-get-time", json!({})).unwrap();
    client.refused("guest-no-such", json!({})).unwrap();
    client.refused("guest-no-other", json!({})).unwrap();
    client.send("[]\n").unwrap();
    client.line().unwrap().unwrap();
    let handle = client.run("guest-file-open", json!({"path": "/etc/hostname"})).unwrap();
    let pid = client.run("guest-exec", json!({"path": "sleep", "arg": ["60"]})).unwrap()["pid"].clone();
    let second = agent.client();

    // The other client may not have been accepted yet.
    let begun = Instant::now();
    let (mut asked, stats) = (
        0,
        loop {
            let stats = client.run("waga-get-stats", json!({})).unwrap();
            if of_channel(&stats)["clients"] == 2 {
                break stats;
            }
            assert!(begun.elapsed() < PATIENCE, "{stats}");
        },
    );
    asked += entry(&stats["commands"], "waga-get-stats")["calls"].as_u64().unwrap();
    let ping = entry(&stats["commands"], "guest-ping");
    assert_eq!((&ping["calls"], &ping["failures"], &ping["running"]), (&json!(6), &json!(1), &json!(0)));
    assert!(ping["longest-us"].as_u64() <= ping["total-us"].as_u64(), "{ping}");
    let refused = entry(&stats["commands"], "guest-get-time");
    assert_eq!((&refused["calls"], &refused["refused"]), (&json!(0), &json!(1)));
    assert_eq!(stats["unknown-commands"], 2);
    assert_eq!(entry(&stats["commands"], "guest-no-such"), &Value::Null, "what clients make up is not kept");
    let now = of_channel(&stats);
    // Pings, the refused, the unknown, the broken one, a file, a program, and each question for the figures.
    assert_eq!(now["requests"].as_u64().unwrap(), 12 + asked, "{now}");
    let counted = |name: &str| now[name].as_u64().unwrap() - channel[name].as_u64().unwrap();
    assert_eq!((counted("errors"), counted("refused"), counted("malformed")), (3, 1, 1), "{now}");
    assert_eq!((&stats["open-files"], &stats["running-programs"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["frozen"], &stats["audit-lines-lost"]), (&json!(false), &json!(0)));
    let resident = stats["process"]["resident"].as_u64().unwrap();
    assert!((1 << 20..1 << 30).contains(&resident), "{stats}");
    assert_eq!(stats["extensions"]["declared"], 0);

    drop(second);
    agent.until("the other client left", |agent| {
        of_channel(&agent.client().run("waga-get-stats", json!({})).unwrap())["clients"] == 2
    });
    client.run("guest-file-close", json!({"handle": handle})).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
    crate::exec::ended(&mut client, &pid);
    let stats = client.run("waga-get-stats", json!({})).unwrap();
    assert_eq!((&stats["open-files"], &stats["running-programs"]), (&json!(0), &json!(0)));
}

/// The registry is built anew when something is known of an extension, and when a reload swaps the policy.
#[test]
fn what_was_counted_stays_and_extensions_are_counted_together() {
    let Some(setup) = setup(&[("told", &told(), ""), ("gone", b"no module", "")]) else { return };
    let agent = setup.start();
    let mut client = agent.client();
    client.run("guest-ping", json!({})).unwrap();
    for name in ["told", "gone"] {
        settled(&agent, name);
    }
    for _ in 0..3 {
        assert_eq!(client.run("guest-test-double", json!({"number": 2})).unwrap(), 4);
    }
    let stats = client.run("waga-get-stats", json!({})).unwrap();
    assert_eq!(entry(&stats["commands"], "guest-ping")["calls"], 1, "{stats}");
    assert_eq!(entry(&stats["commands"], "guest-test-double")["calls"], 3);
    let together = &stats["extensions"];
    assert_eq!(
        (&together["declared"], &together["ready"], &together["calls"]),
        (&json!(2), &json!(1), &json!(3)),
        "{together}"
    );
    assert!(together["cpu-us"].as_u64() > Some(0));
}

/// What `waga schema` prints, and what it says besides.
fn offline(words: &[&str]) -> (String, String, bool) {
    let ran = program().run([&["schema"], words].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(ran.stdout), text(ran.stderr), ran.status.success())
}

#[test]
fn without_an_agent_the_same_is_printed() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let empty = setup.dir().join("empty.toml");
    std::fs::write(&empty, "").unwrap();
    let config = ["-c", empty.to_str().unwrap()];
    let (all, said, _) = offline(&config);
    let all: Value = serde_json::from_str(&all).unwrap();
    let written: Value = serde_json::from_str(waga_wit::SCHEMA).unwrap();
    assert_eq!((&all, said.as_str()), (&written, ""));
    let (one, _, _) = offline(&[&config[..], &["guest-ping"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), json!({"guest-ping": written["guest-ping"]}));
    let (nothing, said, well) = offline(&[&config[..], &["guest-pign"]].concat());
    assert_eq!((nothing.as_str(), well), ("", false));
    assert!(said.contains("no command is called 'guest-pign'; did you mean 'guest-ping'?"), "{said}");
    let (qapi, _, _) = offline(&[&config[..], &["--format=qapi"]].concat());
    assert_eq!(qapi.matches("{ 'command': '").count(), written.as_object().unwrap().len());
    let (_, shutdown) = qapi.split_once("{ 'command': 'guest-shutdown',").unwrap();
    assert!(
        shutdown.split_once('}').unwrap().1.starts_with(",\n  'success-response': false }"),
        "{shutdown}"
    );
}

#[test]
fn without_an_agent_what_it_compiled_is_known() {
    let Some(setup) = setup(&[("told", &told(), "")]) else { return };
    let config = setup.dir().join("agent.toml");
    let config = config.to_str().unwrap();
    let (_, said, _) = offline(&["-c", config]);
    assert!(said.contains("nothing is known yet of the extension told"), "{said}");
    let (_, said, well) = offline(&["-c", config, "guest-test-double"]);
    assert!(!well && said.contains("extension told"), "{said}");
    let agent = setup.start();
    settled(&agent, "told");
    let (one, said, _) = offline(&["-c", config, "guest-test-double"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!((&one["guest-test-double"]["docs"], said.as_str()), (&json!("Doubles a number."), ""));
    let (qapi, _, _) = offline(&["-c", config, "guest-test-double", "--format", "qapi"]);
    let command = "{ 'command': 'guest-test-double',\n  'data': { 'number': 'uint32',\n            '*often': 'bool' },\n  'returns': 'uint32' }";
    assert!(qapi.contains(command) && qapi.contains("# Added by the extension told."), "{qapi}");
}

/// What `waga check` says of a configuration, with its folder as `@`.
fn checked(agent: &Agent, words: &[&str]) -> String {
    let config = agent.dir().join("agent.toml");
    let ran = program().run([&["check", "-c", config.to_str().unwrap()], words].concat());
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().replace(agent.dir().to_str().unwrap(), "@")
}

#[test]
fn check_explains_what_each_extension_asks_for_and_what_is_refused() {
    let imports = |names: &[&str]| names.iter().map(|name| format!("waga:{name}@1.0.0")).collect::<Vec<_>>();
    let little = asking_for(&imports(&["guest/guest-get-users", "extension/call", "extension/log"]));
    let much = asking_for(&imports(&["guest/guest-get-load", "guest/guest-exec", "extension/log"]));
    let extensions = [
        ("little", &little[..], "commands = ['guest-get-users', 'guest-get-time', 'guest-acme-x']"),
        (
            "much",
            &much[..],
            "override = ['guest-test-x']\n[policy]\nallow = ['guest-ping']\nblock = ['guest-get-users']",
        ),
    ];
    // The policy has left no command by which an agent can be waited for: it is, without it.
    let Some(setup) = setup(&extensions) else { return };
    let config = setup.dir().join("agent.toml");
    let whole = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, whole.split("[policy]").next().unwrap()).unwrap();
    let agent = setup.start();
    for (name, ..) in extensions {
        settled(&agent, name);
    }
    std::fs::write(&config, whole).unwrap();
    let text = checked(&agent, &[]);
    let expected = "\
extension little (@/little.wasm): can be called
extension little: adds guest-test-x
extension little: asks for waga:guest/guest-get-users@1.0.0 (commands), granted by @/agent.toml:6:13: [extension.little] commands
extension little: asks for waga:extension/call@1.0.0 (commands), granted by @/agent.toml:6:13: [extension.little] commands, @/agent.toml:6:32: [extension.little] commands, @/agent.toml:6:50: [extension.little] commands
extension little: uses waga:extension/log@1.0.0, which any extension may
extension much (@/much.wasm): off: it is not granted what it asks for
extension much: would override guest-test-x
extension much: asks for waga:guest/guest-get-load@1.0.0 (commands), which is not granted; add to @/agent.toml:7:12: [extension.much]: commands = [\"guest-get-load\"]
extension much: asks for waga:guest/guest-exec@1.0.0, and no extension may call guest-exec
extension much: uses waga:extension/log@1.0.0, which any extension may
warning   @/agent.toml:6:13: [extension.little] commands: guest-get-users is granted and blocked, in @/agent.toml:12:10: [policy] block: the extension's calls of it fail
warning   @/agent.toml:6:50: [extension.little] commands: no command is called 'guest-acme-x'
";
    // The imports of such a component stand in no order.
    let sorted = |text: &str| {
        let told = |line: &&str| line.starts_with("extension ") || line.starts_with("warning   @");
        let mut lines: Vec<_> = text.lines().filter(told).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&text), sorted(expected), "{text}");
    assert_eq!(
        text.matches("granted and blocked").count(),
        1,
        "what is not in an allow list can be called: {text}"
    );

    let json: Value = serde_json::from_str(&checked(&agent, &["--json"])).unwrap();
    let ask = |name: &str, import: &str| {
        let asks = entry(&json["extensions"], name)["asks"].as_array().unwrap();
        asks.iter().find(|ask| ask["import"] == format!("waga:{import}@1.0.0")).cloned().unwrap()
    };
    assert_eq!(
        ask("little", "guest/guest-get-users"),
        json!({
            "import": "waga:guest/guest-get-users@1.0.0", "key": "commands", "answer": "granted",
            "granted-by": [{"file": "@/agent.toml", "line": 6, "column": 13, "key": "[extension.little] commands"}],
            "reason": null,
        })
    );
    assert_eq!(ask("little", "extension/call")["answer"], "granted");
    assert_eq!(ask("little", "extension/log")["answer"], "free");
    assert_eq!(ask("much", "guest/guest-exec")["reason"], "and no extension may call guest-exec");
    let load = ask("much", "guest/guest-get-load");
    assert_eq!(load["answer"], "refused");
    assert!(load["reason"].as_str().unwrap().ends_with("commands = [\"guest-get-load\"]"), "{load}");
    assert_eq!(entry(&json["extensions"], "little")["commands"][0]["mode"], "add");

    // The agent tells its log, too.
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    agent.until("a word about it", |agent| agent.log().contains("guest-get-users is granted and blocked"));
}
