//! The examples that have to do with the agent's own commands: one wraps, one overrides, one calls them.

use std::fs;
use std::sync::OnceLock;

use serde_json::{Value, json};
use waga_tests::agent::Agent;

use super::examples;
use super::hostile::in_step;
use super::laying::{GRANT, says};
use super::{agent, disabled, failure, settled, setup, told};

/// One of them, built once.
fn example(name: &str) -> Option<&'static [u8]> {
    static BUILT: [(&str, OnceLock<Option<Vec<u8>>>); 3] =
        [("net-filter", OnceLock::new()), ("host-name", OnceLock::new()), ("report", OnceLock::new())];
    let (_, built) = BUILT.iter().find(|(known, _)| *known == name).unwrap();
    built.get_or_init(|| examples::example(name)).as_deref()
}

const INTERFACES: &str = "guest-network-get-interfaces";
const HOST_NAME: &str = "guest-get-host-name";
const REPORT: &str = "guest-acme-report";

/// The table of `net-filter`, but for its module.
fn filter(config: &str) -> String {
    format!("wrap = ['{INTERFACES}']\nconfig = {config}\nlimits = {{ cpu = '10s', time = '10s' }}")
}

/// What the network of a guest may be: containers, an address that nobody reaches, and members that this agent does not know.
const NETWORK: &str = r#"[
    {"name": "lo", "hardware-address": "00:00:00:00:00:00",
     "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}]},
    {"name": "docker0", "ip-addresses": [{"ip-address": "172.17.0.1", "ip-address-type": "ipv4", "prefix": 16}]},
    {"name": "veth12", "speed": 10},
    {"name": "eth0", "hardware-address": "52:54:00:00:00:01", "speed": 18446744073709551615, "duplex": {"full": true}, "ip-addresses": [
        {"ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24, "dynamic": true},
        {"ip-address": "169.254.3.4", "ip-address-type": "ipv4", "prefix": 16},
        {"ip-address": "fe80::5054:ff:fe00:1", "ip-address-type": "ipv6", "prefix": 64},
        {"ip-address": "2001:db8::1", "ip-address-type": "ipv6", "prefix": 64}]},
    {"name": "eth1", "ip-addresses": [{"ip-address": "fe80::2", "ip-address-type": "ipv6", "prefix": 64}]}
]"#;

#[test]
fn interfaces_and_addresses_are_hidden_and_nothing_else_is_lost() {
    let Some(example) = example("net-filter") else { return };
    let config = "{ interfaces = ['docker0', 'veth*'], addresses = ['fe80::/10', '169.254.0.0/16'] }";
    let below = says(INTERFACES, &NETWORK.replace('\n', " "));
    let Some(agent) = agent(&[
        ("below", &below, &format!("override = ['{INTERFACES}']\n{GRANT}")),
        ("net-filter", example, &filter(config)),
    ]) else {
        return;
    };
    let mut expected: Value = serde_json::from_str(NETWORK).unwrap();
    let interfaces = expected.as_array_mut().unwrap();
    interfaces.retain(|it| it["name"] != "docker0" && it["name"] != "veth12");
    let eth0 = interfaces[1]["ip-addresses"].as_array_mut().unwrap();
    eth0.retain(|it| it["ip-address"] == "10.0.2.15" || it["ip-address"] == "2001:db8::1");
    // As the agent has it of one without an address.
    interfaces[2].as_object_mut().unwrap().shift_remove("ip-addresses");
    let mut client = agent.client();
    assert_eq!(client.run(INTERFACES, json!({})).unwrap(), expected);
    // It asks for nothing.
    let grants = json!(["waga:extension/config@1.0.0", "waga:extension/next@1.0.0"]);
    let told = told(&mut client, "net-filter");
    assert_eq!((&told["grants"], &told["calls"], &told["failures"]), (&grants, &json!(1), &json!(0)));
    in_step(&agent);
}

/// Of the network that this machine has: two of them, one around the other, and what they leave is as the agent tells it.
#[test]
fn filters_of_the_agents_own_command_add_up() {
    let Some(example) = example("net-filter") else { return };
    let Some(setup) = setup(&[
        ("outer", example, &filter("{ addresses = ['ipv6'] }")),
        ("inner", example, &filter("{ interfaces = ['lo'], addresses = ['ipv4'] }")),
    ]) else {
        return;
    };
    let agent = audited(setup);
    let mut client = agent.client();
    let plain = crate::waga().unwrap().client().run(INTERFACES, json!({})).unwrap();
    let mut expected = plain.as_array().unwrap().clone();
    expected.retain(|it| it["name"] != "lo");
    let shape = |interfaces: &[Value]| -> Vec<Value> {
        let pick = |it: &Value| {
            json!([
                it["name"],
                it["hardware-address"],
                it["statistics"].as_object().map(serde_json::Map::len)
            ])
        };
        interfaces.iter().map(pick).collect()
    };
    let found = client.run(INTERFACES, json!({})).unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(shape(found), shape(&expected));
    assert!(found.iter().all(|it| it.get("ip-addresses").is_none()), "{found:?}");
    assert_eq!(client.refused(INTERFACES, json!({"x": 1})).unwrap().1, "Parameter 'x' is unexpected");
    // It is the client's request, all the way.
    let lines = lines(&agent, 2);
    assert!(lines.iter().all(|it| it["callers"] == json!(["unix-listen"])), "{lines:?}");
    assert_eq!(lines[0]["command"], INTERFACES);
}

/// A filter that cannot be understood shows nothing: something was to be hidden.
#[test]
fn a_filter_that_is_no_filter_is_an_error() {
    let Some(example) = example("net-filter") else { return };
    for (config, expected) in [
        (
            "{ addresses = ['fe80::/129'] }",
            "config: addresses: 'fe80::/129' is not ipv4, ipv6, an address, or a network as fe80::/10",
        ),
        (
            "{ interface = ['lo'] }",
            "config: unknown field `interface`, expected `interfaces` or `addresses` at line 1 column 12",
        ),
    ] {
        let lines = filter(config) + "\non-failure = 'builtin-always'";
        let Some(agent) = agent(&[("net-filter", example, &lines)]) else { return };
        assert_eq!(failure(&mut agent.client(), INTERFACES, json!({})), expected);
    }
}

#[test]
fn the_host_name_is_what_the_operator_says() {
    let Some(example) = example("host-name") else { return };
    let lines =
        |config: &str| format!("override = ['{HOST_NAME}']\nconfig = {config}\nlimits = {{ time = '10s' }}");
    let Some(agent) =
        agent(&[("host-name", example, &lines("{ other = 'x', host-name = 'wéb-1.example.org' }"))])
    else {
        return;
    };
    let mut client = agent.client();
    assert_eq!(client.run(HOST_NAME, json!({})).unwrap(), json!({"host-name": "wéb-1.example.org"}));
    assert_eq!(failure(&mut client, HOST_NAME, json!({"x": 1})), "Parameter 'x' is unexpected");
    let told = told(&mut client, "host-name");
    assert_eq!(told["commands"][0]["mode"], "override");
    assert_eq!(told["grants"], json!(["waga:extension/config@1.0.0"]));
    in_step(&agent);
    for config in ["{}", "{ host-name = '' }", "{ host-name = 'a\"b' }", "{ host-name = 1 }"] {
        let Some(agent) = super::agent(&[("host-name", example, &lines(config))]) else { return };
        assert_eq!(
            failure(&mut agent.client(), HOST_NAME, json!({})),
            "config has no host-name, or one with characters that JSON escapes",
            "{config}"
        );
    }
}

/// With the line of the README, and `more`.
fn reporting(more: &str) -> Option<Agent> {
    let lines = "commands = ['guest-get-fsinfo', 'guest-get-osinfo']\nlimits = { cpu = '10s', time = '10s' }";
    let setup = setup(&[("report", example("report")?, lines)])?;
    let path = setup.dir().join("agent.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap() + more).unwrap();
    Some(audited(setup))
}

#[test]
fn a_report_is_made_of_two_commands() {
    let Some(agent) = reporting("") else { return };
    let mut client = agent.client();
    let report = client.run(REPORT, json!({})).unwrap();
    let os = client.run("guest-get-osinfo", json!({})).unwrap();
    assert_eq!((&report["system"], &report["kernel"]), (&os["pretty-name"], &os["kernel-release"]));
    let told = client.run("guest-get-fsinfo", json!({})).unwrap();
    let told: Vec<&Value> =
        told.as_array().unwrap().iter().filter(|it| it["total-bytes"].as_u64() > Some(0)).collect();
    let filesystems = report["filesystems"].as_array().unwrap();
    assert_eq!(filesystems.len(), told.len());
    for filesystem in filesystems {
        let same = told.iter().find(|it| it["mountpoint"] == filesystem["mountpoint"]).unwrap();
        assert_eq!(filesystem["type"], same["type"]);
        let percent = 100.0 * same["used-bytes"].as_f64().unwrap() / same["total-bytes"].as_f64().unwrap();
        // Somebody may have written meanwhile.
        assert!((filesystem["used-percent"].as_f64().unwrap() - percent).abs() <= 2.0, "{filesystem} {same}");
    }
    assert!(filesystems.is_sorted_by_key(|it| std::cmp::Reverse(it["used-percent"].as_u64())), "{report}");
    let none = client.run(REPORT, json!({"at-least": 101})).unwrap();
    assert_eq!(none["filesystems"], json!([]));
    assert_eq!(failure(&mut client, REPORT, json!({"at-least": 256})), "Parameter 'at-least' expects uint8");
    let grants = json!([
        "waga:guest/guest-get-fsinfo@1.0.0",
        "waga:guest/guest-get-osinfo@1.0.0",
        "call guest-get-fsinfo",
        "call guest-get-osinfo"
    ]);
    assert_eq!(super::told(&mut client, "report")["grants"], grants);
    in_step(&agent);
}

#[test]
fn the_audit_tells_who_called_for_whom() {
    let Some(agent) = reporting("") else { return };
    agent.client().run(REPORT, json!({"at-least": 7})).unwrap();
    let lines = lines(&agent, 3);
    let told: Vec<_> =
        lines.iter().map(|it| (&it["callers"], &it["command"], &it["outcome"], &it["arguments"])).collect();
    let (inner, outer, ok) = (json!(["unix-listen", "report"]), json!(["unix-listen"]), json!("ok"));
    let (os, fs, whole) = (json!("guest-get-osinfo"), json!("guest-get-fsinfo"), json!(REPORT));
    let (none, one) = (json!([]), json!(["at-least"]));
    assert_eq!(told, [(&inner, &os, &ok, &none), (&inner, &fs, &ok, &none), (&outer, &whole, &ok, &one)]);
    assert!(lines.iter().all(|it| it["channel"] == "unix-listen"), "{lines:?}");
}

/// What the client may not do, nobody does for it; the words are those of the command.
#[test]
fn an_error_of_what_it_calls_is_its_own() {
    let Some(agent) = reporting("[policy]\nblock = ['guest-get-fsinfo']\n") else { return };
    let (class, desc) = agent.client().refused(REPORT, json!({})).unwrap();
    let expected = "Command guest-get-fsinfo has been disabled: the command is not allowed";
    assert_eq!((&*class, &*desc), ("CommandNotFound", expected));
    let lines = lines(&agent, 3);
    let told: Vec<_> = lines.iter().map(|it| (&it["command"], &it["outcome"], &it["by"])).collect();
    assert_eq!(told[1], (&json!("guest-get-fsinfo"), &json!("refused"), &json!("policy")));
    assert_eq!(told[2], (&json!(REPORT), &json!("error"), &Value::Null));
}

#[test]
fn without_the_grant_the_line_to_add_is_told() {
    let Some(example) = example("report") else { return };
    for (lines, expected) in [
        (
            "",
            "imports waga:guest/guest-get-fsinfo@1.0.0, waga:guest/guest-get-osinfo@1.0.0, which are not granted; \
             add to PLACE: [extension.report]: commands = [\"guest-get-fsinfo\", \"guest-get-osinfo\"]",
        ),
        (
            "commands = [\"guest-get-osinfo\"]",
            "imports waga:guest/guest-get-fsinfo@1.0.0, which is not granted; \
             change in PLACE: [extension.report]: commands = [\"guest-get-osinfo\", \"guest-get-fsinfo\"]",
        ),
    ] {
        let Some(agent) = agent(&[("report", example, lines)]) else { return };
        let file = agent.dir().join("agent.toml");
        let text = fs::read_to_string(&file).unwrap();
        let line = 1 + text.lines().position(|line| line == "[extension.report]").unwrap();
        let expected = expected.replace("PLACE", &format!("{}:{line}:12", file.display()));
        let told = settled(&agent, "report");
        assert_eq!((&told["state"], &told["reason"]), (&json!("refused"), &json!(expected)));
        assert_eq!(disabled(&mut agent.client(), REPORT), format!("extension report: {expected}"));
        // That line is all it takes.
        let (_, line) = expected.split_once("[extension.report]: ").unwrap();
        let Some(agent) = super::agent(&[("report", example, line)]) else { return };
        assert_eq!(settled(&agent, "report")["state"], "ready");
    }
}

/// The same with an audit.
fn audited(setup: waga_tests::agent::Setup) -> Agent {
    let path = setup.dir().join("agent.toml");
    let audit = format!("[audit]\nfile = '{}'\n", setup.dir().join("audit").display());
    fs::write(&path, fs::read_to_string(&path).unwrap() + &audit).unwrap();
    setup.start()
}

/// The lines of the audit, once there are so many.
fn lines(agent: &Agent, count: usize) -> Vec<Value> {
    let read = |agent: &Agent| fs::read_to_string(agent.dir().join("audit")).unwrap_or_default();
    agent.until("the audit", |agent| read(agent).lines().count() >= count);
    read(agent).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
