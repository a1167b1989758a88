//! Components whose languages bring their engines: JavaScript and Python, with all that their toolchains import of WASI.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waga_tests::agent::Agent;
use waga_tests::client::Client;
use waga_tests::vm::await_until;

use super::examples::build;
use super::hostile::in_step;
use super::{cache, failure, settled, setup, told};

/// Compiling one takes the compiler that is built for tests most of a minute, and a busy machine some more.
const COMPILES: Duration = Duration::from_secs(600);

/// A language that brings its engine into the component, which then imports what that needs of WASI.
#[derive(Debug, Clone, Copy)]
enum Language {
    JavaScript,
    Python,
}

/// One of them, built and compiled once; `None` where there is nothing to do it with.
fn component(language: Language) -> Option<&'static [u8]> {
    static BUILT: [OnceLock<Option<Vec<u8>>>; 2] = [OnceLock::new(), OnceLock::new()];
    let component = BUILT[language as usize].get_or_init(|| {
        let component = build(match language {
            Language::JavaScript => "tests/components/javascript",
            Language::Python => "tests/components/python",
        })?;
        fill("script", &component, "").then_some(component)
    });
    component.as_deref()
}

/// Has one compiled, for all agents that [`start`] starts with it; `false` where there is nothing to do it with.
pub(super) fn fill(name: &str, component: &[u8], lines: &str) -> bool {
    let Some(fills) = start(name, component, lines) else { return false };
    let client = &mut fills.client();
    let is_known = || Ok((told(client, name)["state"] != "starting").then_some(()));
    await_until("what is compiled", COMPILES, is_known).unwrap();
    true
}

/// Starts an agent that keeps what it compiles for others: these are large.
pub(super) fn start(name: &str, component: &[u8], lines: &str) -> Option<Agent> {
    let setup = setup(&[(name, component, lines)])?;
    let path = setup.dir().join("agent.toml");
    let own = format!("cache = '{}'", cache(setup.dir()).display());
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("components");
    fs::create_dir_all(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    let shared = format!(
        "cache = '{}'\ncompile = {{ time = '{}s' }}",
        shared.join("cache").display(),
        COMPILES.as_secs()
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&own), "{text}");
    fs::write(&path, text.replace(&own, &shared)).unwrap();
    Some(setup.start())
}

/// An agent with it.
fn with(language: Language, lines: &str) -> Option<Agent> {
    let agent = start("script", component(language)?, lines)?;
    let told = settled(&agent, "script");
    assert_eq!(told["state"], "ready", "{told}");
    Some(agent)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// What it imports, by names without a version.
fn imports(agent: &Agent) -> Vec<String> {
    let told = told(&mut agent.client(), "script");
    let grants: Vec<String> = serde_json::from_value(told["grants"].clone()).unwrap();
    grants.iter().filter_map(|grant| Some(grant.split_once('@')?.0.to_owned())).collect()
}

#[test]
fn a_script_in_javascript_answers_and_has_a_clock_and_randomness() {
    let Some(agent) = with(Language::JavaScript, "") else { return };
    let imports = imports(&agent);
    for interface in ["wasi:clocks/wall-clock", "wasi:random/insecure-seed", "wasi:filesystem/types"] {
        assert!(imports.iter().any(|import| import == interface), "no {interface} in {imports:?}");
    }
    let mut client = agent.client();
    let words = json!({"words": ["one", "zwö", "drei"]});
    let before = now();
    let (one, other) = (
        client.run("guest-test-script", words.clone()).unwrap(),
        client.run("guest-test-script", words).unwrap(),
    );
    assert_eq!(one["reversed"], json!(["drei", "zwö", "one"]));
    for told in [&one, &other] {
        let told_now = told["now"].as_f64().unwrap() / 1000.0;
        assert!((before - 0.001..=now()).contains(&told_now), "{told_now} after {before}");
        assert!(told["year"].as_u64() >= Some(2026), "{told}");
    }
    // The engine's generator was seeded when the component was built: another call has the same numbers.
    let numbers: Vec<f64> =
        one["random"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
    assert!(numbers[0] != numbers[1], "{numbers:?}");

    assert_eq!(failure(&mut client, "guest-test-script", json!({"words": []})), "no words");
    let desc = failure(&mut client, "guest-test-endless", json!({}));
    assert_eq!(
        desc,
        "extension script: guest-test-endless used up the CPU time of a call (limits.cpu = \"100ms\")"
    );
    in_step(&agent);
}

#[test]
fn a_component_in_python_has_a_clock_randomness_and_a_place_for_what_it_prints() {
    let Some(agent) = with(Language::Python, MINUTE) else { return };
    let imports = imports(&agent);
    assert!(imports.iter().filter(|import| import.starts_with("wasi:")).count() >= 25, "{imports:?}");
    let mut client = agent.client();
    let before = now();
    let (one, other) = (library(&mut client), library(&mut client));
    assert!(before <= one.0 && one.0 <= other.0 && other.0 <= now(), "{before} {one:?} {other:?}");
    assert!(one.2.len() == 16 && other.2.len() == 16 && one.2 != other.2, "{one:?} {other:?}");
    assert!((0.0..1.0).contains(&one.1) && one.1 != other.1, "{one:?} {other:?}");

    client.run("guest-test-print", json!({"text": "a word of Python's"})).unwrap();
    agent.until("what it printed", |agent| agent.log().matches("a word of Python's").count() == 2);
    let log = agent.log();
    for line in log.lines().filter(|line| line.contains("a word of Python's")) {
        assert!(line.contains("script"), "the extension is named: {line}");
    }
    in_step(&agent);
}

#[test]
fn python_opens_what_is_granted_and_connects_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (granted, other) = (folder.path().join("granted"), folder.path().join("other"));
    fs::write(&granted, "what is in it: ü\n").unwrap();
    fs::write(&other, "secret").unwrap();
    let lines = format!("read = ['{}']\n{MINUTE}", granted.display());
    let Some(agent) = with(Language::Python, &lines) else { return };
    let mut client = agent.client();
    let read = |path| json!({"path": path});
    assert_eq!(client.run("guest-test-open", read(&granted)).unwrap(), "what is in it: ü\n");
    let desc = failure(&mut client, "guest-test-open", read(&other));
    assert_eq!(desc, format!("[Errno 44] No such file or directory: '{}'", other.display()));
    let desc = failure(&mut client, "guest-test-open", read(&"/etc/passwd".into()));
    assert_eq!(desc, "[Errno 44] No such file or directory: '/etc/passwd'");
    for host in ["127.0.0.1", "localhost"] {
        let desc = failure(&mut client, "guest-test-connect", json!({"host": host, "port": 22}));
        assert_eq!(desc, "[Errno 2] Permission denied", "{host}");
    }
    assert_eq!(told(&mut client, "script")["failures"], 0);
    in_step(&agent);
}

#[test]
fn an_exception_that_nobody_catches_is_in_the_log() {
    for (language, command, lines) in [
        (
            Language::Python,
            "guest-test-raise",
            &["Traceback (most", ", in guest_test_raise", "RuntimeError: out of cheese"][..],
        ),
        (Language::JavaScript, "guest-test-throw", &["out of cheese", "at guestTestThrow (/javascript.js:"]),
    ] {
        let Some(agent) = with(language, MINUTE) else { continue };
        let mut client = agent.client();
        let desc = failure(&mut client, command, json!({"text": "out of cheese"}));
        assert!(desc.starts_with(&format!("extension script: {command} failed: ")), "{desc}");
        for text in lines {
            agent.until("its text", |agent| agent.log().contains(text));
            let log = agent.log();
            let line = log.lines().find(|line| line.contains(text)).unwrap();
            assert!(line.contains("script"), "the extension is named: {line}");
        }
        // The next call has nothing of it.
        match language {
            Language::Python => drop(library(&mut client)),
            Language::JavaScript => drop(client.run("guest-test-script", json!({"words": ["one"]})).unwrap()),
        }
        in_step(&agent);
    }
}

/// Of a busy machine. What is let by default would do.
const MINUTE: &str = "limits = { cpu = '60s', time = '60s' }";

/// Python's clock, a number and random bytes.
fn library(client: &mut Client) -> (f64, f64, Vec<u8>) {
    let told = client.run("guest-test-library", json!({})).unwrap();
    let number = |key: &str| told[key].as_f64().unwrap();
    (number("now"), number("random"), STANDARD.decode(told["bytes"].as_str().unwrap()).unwrap())
}
