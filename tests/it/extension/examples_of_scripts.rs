//! The examples in JavaScript through the real daemon. The command that one of them lies over ends this machine: beneath it there is always
//! another one here, which only says so.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use waga_tests::agent::Agent;
use waga_tests::client::Client;

use super::hostile::in_step;
use super::script::{Folder, folders};
use super::{disabled, failure, settled, told};
use crate::docs::root;

/// The files of an example.
fn files(name: &str) -> Vec<(String, String)> {
    let folder = root().join("examples").join(name).join(name);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (file(&path), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn five_lines_are_a_command() {
    let files = files("hello-script");
    assert_eq!(files.iter().map(|(_, text)| text.lines().count()).sum::<usize>(), 5);
    let Some(setup) = folders(&[Folder { name: "hello", files: &files, lines: "" }]) else { return };
    let agent = setup.start();
    settled(&agent, "hello");
    let mut client = agent.client();
    assert_eq!(client.run("guest-acme-hello", json!({})).unwrap(), "Hello, world!");
    assert_eq!(client.run("guest-acme-hello", json!({"name": "Zoë"})).unwrap(), "Hello, Zoë!");
    let wrong = failure(&mut client, "guest-acme-hello", json!({"name": 7}));
    assert_eq!(wrong, "Invalid parameter type for 'name', expected: string");
    assert_eq!(told(&mut client, "hello")["faults"], Value::Null);
}

const SHUTDOWN: &str = "guest-shutdown";

/// What is below the wrap. If it could not be used, the command would be refused, for that is said to be overridden.
const BELOW: &str =
    r#"exports["guest-shutdown"] = (args) => { log(`below: ${JSON.stringify(args)}`); return {}; };"#;

/// An agent with the wrap, over what does nothing.
fn guarded(config: &str) -> Option<Agent> {
    let below = [("below.js".to_owned(), BELOW.to_owned())];
    let lines = format!("wrap = ['{SHUTDOWN}']\nconfig = {config}");
    let setup = folders(&[
        Folder { name: "below", files: &below, lines: &format!("override = ['{SHUTDOWN}']") },
        Folder { name: "maintenance-window", files: &files("maintenance-window"), lines: &lines },
    ])?;
    let path = setup.dir().join("agent.toml");
    let audit = format!("[audit]\nfile = '{}'\n", setup.dir().join("audit").display());
    fs::write(&path, fs::read_to_string(&path).unwrap() + &audit).unwrap();
    let agent = setup.start();
    let below = settled(&agent, "below");
    assert_eq!((&below["state"], &below["faults"]), (&json!("ready"), &Value::Null), "{below}");
    settled(&agent, "maintenance-window");
    Some(agent)
}

/// Asks for a shutdown. One that succeeds is not answered, so another reply is waited for.
fn shut_down(client: &mut Client, arguments: &Value) -> Result<(), String> {
    client.send(format!("{}\n", json!({"execute": SHUTDOWN, "arguments": arguments, "id": 1}))).unwrap();
    let ping = client.ask(&json!({"execute": "guest-ping", "id": 2})).unwrap();
    if ping["id"] == 2 {
        return Ok(());
    }
    client.line().unwrap();
    Err(ping["error"]["desc"].as_str().unwrap().to_owned())
}

/// Minutes since 1970, and the names of days as `config` has them; the first one was a Thursday.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60
}

fn day(minutes: u64) -> &'static str {
    ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][usize::try_from(minutes / 1440 % 7).unwrap()]
}

fn time(minutes: u64) -> String {
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// A window from one minute to another, of less than a day.
fn window(from: u64, to: u64) -> String {
    format!("{{ days = ['{}'], from = '{}', to = '{}' }}", day(from), time(from), time(to))
}

/// Both around the time that it is: whatever that is, it is hours from either end.
#[test]
fn a_shutdown_is_let_through_in_a_window() {
    let now = now();
    let config = format!("{{ windows = [{}] }}", window(now - 300, now + 300));
    let Some(agent) = guarded(&config) else { return };
    let mut client = agent.client();
    assert_eq!(client.run("guest-acme-maintenance", json!({})).unwrap()["open"], true);
    for arguments in [json!({}), json!({"mode": "reboot"}), json!({"mode": "halt"})] {
        shut_down(&mut client, &arguments).unwrap();
        let line = format!("below: {arguments} extension=\"below\"");
        agent.until(&line, |agent| agent.log().contains(&line));
    }
    let log = agent.log();
    assert!(log.contains("guest-shutdown (reboot) let through: open until "), "{log}");
    // Who it was.
    let read = || fs::read_to_string(agent.dir().join("audit")).unwrap_or_default();
    let lines =
        || read().lines().filter(|line| line.contains(SHUTDOWN)).map(str::to_owned).collect::<Vec<_>>();
    agent.until("the audit", |_| lines().len() == 3);
    let line: Value = serde_json::from_str(&lines()[1]).unwrap();
    assert_eq!((&line["channel"], &line["outcome"]), (&json!("unix-listen"), &json!("ok")), "{line}");
    assert_eq!(line["through"], json!(["maintenance-window", "below"]), "{line}");
    in_step(&agent);
}

#[test]
fn a_shutdown_is_refused_outside_of_the_windows() {
    let now = now();
    let (from, to) = (now + 300, now + 600);
    // Of two, the next one is told, whichever is the first in the list; this one was over hours ago.
    let config = format!(
        "{{ windows = [{}, {}], always = ['halt'] }}",
        window(now - 600, now - 300),
        window(from, to)
    );
    let Some(agent) = guarded(&config) else { return };
    let mut client = agent.client();
    for arguments in [json!({}), json!({"mode": "powerdown"}), json!({"mode": "reboot"})] {
        let refused = shut_down(&mut client, &arguments).unwrap_err();
        let start = format!(
            "guest-shutdown is refused outside of the maintenance windows: the next window is {} ",
            day(from)
        );
        assert!(refused.starts_with(&start), "{refused}");
        assert!(refused.contains(&format!(" {} to {} ", time(from), day(to))), "{refused}");
        assert!(refused.ends_with(&format!(" {} UTC", time(to))), "{refused}");
    }
    assert!(
        agent.log().contains("warning: guest-shutdown (reboot) refused: the next window is "),
        "{}",
        agent.log()
    );
    assert!(!agent.log().contains("below: "), "{}", agent.log());
    // One mode may be let through always.
    shut_down(&mut client, &json!({"mode": "halt"})).unwrap();
    agent.until("the mode", |agent| agent.log().contains("below: {\"mode\":\"halt\"}"));
    assert_eq!(told(&mut client, "maintenance-window")["failures"], 0);
}

#[test]
fn windows_are_what_the_operator_wrote() {
    let config = "{ windows = [
        { days = ['sat', 'sun'], from = '22:00', to = '04:00' },
        { days = ['wed'], from = '12:00', to = '13:30' },
        { days = ['fri'], from = '00:00', to = '24:00' },
    ], open-until = '2026-12-01T06:00Z' }";
    let Some(agent) = guarded(&config.replace('\n', " ")) else { return };
    let mut client = agent.client();
    let saturday = "the next window is sat 2026-12-05 22:00 to sun 2026-12-06 04:00 UTC";
    let wednesday = "the next window is wed 2026-12-09 12:00 to wed 2026-12-09 13:30 UTC";
    for (at, is_open, text) in [
        ("2026-12-05T21:59:59Z", false, saturday),
        ("2026-12-05T22:00Z", true, "open until sun 2026-12-06 04:00 UTC"),
        // Over midnight, into a day that has a window of its own.
        ("2026-12-06T03:59:59Z", true, "open until sun 2026-12-06 04:00 UTC"),
        ("2026-12-06T04:00Z", false, "the next window is sun 2026-12-06 22:00 to mon 2026-12-07 04:00 UTC"),
        ("2026-12-07T03:00Z", true, "open until mon 2026-12-07 04:00 UTC"),
        // None begins on that day.
        ("2026-12-07T23:00Z", false, wednesday),
        ("2026-12-09T12:30Z", true, "open until wed 2026-12-09 13:30 UTC"),
        ("2026-12-09T13:30Z", false, "the next window is fri 2026-12-11 00:00 to sat 2026-12-12 00:00 UTC"),
        ("2026-12-11T23:59Z", true, "open until sat 2026-12-12 00:00 UTC"),
        // What was opened by hand closes by itself.
        ("2026-12-01T05:59Z", true, "open until tue 2026-12-01 06:00 UTC"),
        ("2026-12-01T06:00Z", false, "the next window is wed 2026-12-02 12:00 to wed 2026-12-02 13:30 UTC"),
        // In the night in which clocks of the EU change there is nothing of it.
        ("2027-03-28T03:59Z", true, "open until sun 2027-03-28 04:00 UTC"),
    ] {
        let told = client.run("guest-acme-maintenance", json!({"at": at})).unwrap();
        assert_eq!(told, json!({"open": is_open, "text": text}), "{at}");
    }
    let wrong = failure(&mut client, "guest-acme-maintenance", json!({"at": "2026-12-05"}));
    assert_eq!(wrong, "at is no moment in UTC, as \"2026-12-05T23:30Z\"");
}

#[test]
fn always_and_never_are_windows_too() {
    let Some(agent) = guarded("{ windows = [{ from = '00:00', to = '24:00' }] }") else { return };
    shut_down(&mut agent.client(), &json!({})).unwrap();
    agent.until("the shutdown", |agent| agent.log().contains("below: {}"));
    let never = guarded("{ windows = [] }").unwrap();
    let refused = shut_down(&mut never.client(), &json!({})).unwrap_err();
    assert_eq!(refused, "guest-shutdown is refused outside of the maintenance windows: there is none");
    // By hand, for an hour.
    let until = humantime(SystemTime::now() + Duration::from_secs(3600));
    let opened = guarded(&format!("{{ windows = [], open-until = '{until}' }}")).unwrap();
    shut_down(&mut opened.client(), &json!({"mode": "powerdown"})).unwrap();
    opened.until("the shutdown", |agent| agent.log().contains("below: {\"mode\":\"powerdown\"}"));
    assert!(!never.log().contains("below: "), "{}", never.log());
}

/// As `date` writes it.
fn humantime(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let date = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%MZ", "-d", &format!("@{seconds}")])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

/// A fault in the configuration shuts every window, and says which it is.
#[test]
fn what_cannot_be_understood_lets_nobody_through() {
    let mut faults = [
        ("{}", "config: windows is missing; [] is none at all"),
        ("{ window = [] }", "config: 'window' is none of windows, open-until, always"),
        (
            "{ windows = [{ day = ['sat'], from = '00:00', to = '24:00' }] }",
            "config: windows[0].'day' is none of days, from, to",
        ),
        (
            "{ windows = [{ days = ['saturday'], from = '00:00', to = '24:00' }] }",
            "config: windows[0].days is no list of sun, mon",
        ),
        (
            "{ windows = [{ from = '22:00', to = '24:01' }] }",
            "config: windows[0].to is no time from \"00:00\" to \"24:00\"",
        ),
        ("{ windows = [{ from = '22:00' }] }", "config: windows[0].to is no time from"),
        ("{ windows = [{ from = '22:00', to = '22:00' }] }", "config: windows[0].from and to leave no time"),
        ("{ windows = [], open-until = 'soon' }", "config: open-until is no moment in UTC"),
        ("{ windows = [], always = 'reboot' }", "config: always is no list of modes"),
    ]
    .into_iter();
    let (first, expected) = faults.next().unwrap();
    let Some(agent) = guarded(first) else { return };
    let mut client = agent.client();
    let mut holds = |expected: &str| {
        let off = disabled(&mut client, SHUTDOWN);
        assert!(off.starts_with("extension maintenance-window: "), "{off}");
        assert!(off.contains(expected), "{expected}: {off}");
    };
    holds(expected);
    // The same by a reload, one after the other; mended, it serves.
    let path = agent.dir().join("agent.toml");
    let reload = |before: &str, after: &str, times: usize| {
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace(&format!("config = {before}"), &format!("config = {after}"));
        crate::daemon::reload(&agent, &text);
        agent.until("a reload", |agent| agent.log().matches(": reloaded").count() >= times);
    };
    let (mut before, mut times) = (first, 0);
    for (config, expected) in faults {
        times += 1;
        reload(before, config, times);
        holds(expected);
        before = config;
    }
    reload(before, "{ windows = [] }", times + 1);
    let refused = shut_down(&mut agent.client(), &json!({})).unwrap_err();
    assert!(refused.ends_with("windows: there is none"), "{refused}");
    assert!(!agent.log().contains("below: "), "{}", agent.log());
}
