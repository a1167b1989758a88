//! Commands switched off by `-b` and `-a`.

use serde_json::json;
use waga_tests::agent::Setup;

use crate::each;
use crate::table::Table;

/// The reply of a command that is switched off; 7.2 does not say why.
fn disabled<'a>(table: Table<'a>, command: &str) -> Table<'a> {
    let reply = |why: &str| {
        format!(
            r#"{{"error": {{"class": "CommandNotFound", "desc": "Command {command} has been disabled{why}"}}}}"#
        )
    };
    let newest = reply(": the command is not allowed");
    table.differs(
        "before 8.1 the reason is not told",
        format!(r#"{{"execute":"{command}"}}"#),
        newest.clone(),
        &[&newest, &reply("")],
    )
}

fn with(options: &'static [&'static str]) -> Table<'static> {
    Table::new().setup(|setup: Setup| setup.options(options.iter().copied()))
}

#[test]
fn blocked_commands_are_off_and_the_others_on() {
    let table = with(&["-b", "guest-ping,guest-get-time"]);
    let table = disabled(disabled(table, "guest-ping"), "guest-get-time");
    table
        .ask(r#"{"execute":"guest-get-fsinfo"}"#, r#"{"return": …}"#)
        .ask(r#"{"execute":"guest-sync","arguments":{"id":1}}"#, r#"{"return": 1}"#)
        .ask(r#"{"execute":"guest-ping-"}"#, r#"{"error": {"class": "CommandNotFound", "desc": "The command guest-ping- has not been found"}}"#)
        .check();
}

#[test]
fn a_list_of_allowed_commands_switches_the_others_off() {
    let table = with(&["-a", "guest-ping,guest-get-time"]).since(8);
    let table = table
        .ask(r#"{"execute":"guest-ping"}"#, r#"{"return": {}}"#)
        .ask(r#"{"execute":"guest-get-time"}"#, r#"{"return": …}"#);
    disabled(disabled(table, "guest-get-fsinfo"), "guest-info").check();
}

#[test]
fn blocking_wins_over_allowing_and_lists_add_up() {
    let table =
        with(&["-a", "guest-ping", "-a", "guest-get-time,guest-sync", "-b", "guest-get-time", "-b", "nope,"])
            .since(8);
    let table = table
        .ask(r#"{"execute":"guest-ping"}"#, r#"{"return": {}}"#)
        .ask(r#"{"execute":"guest-sync","arguments":{"id":1}}"#, r#"{"return": 1}"#);
    disabled(table, "guest-get-time").check();
}

/// An empty name is the name of no command; an empty list is no list.
#[test]
fn a_list_of_nothing_allows_nothing() {
    disabled(with(&["-a", ","]).since(8), "guest-ping").check();
    with(&["-a", ""]).since(8).ask(r#"{"execute":"guest-ping"}"#, r#"{"return": {}}"#).check();
}

#[test]
fn a_disabled_command_is_refused_before_its_arguments_are_looked_at() {
    let table = with(&["--block-rpcs=guest-file-open"]);
    let reply = |why: &str| {
        format!(
            r#"{{"id": 4, "error": {{"class": "CommandNotFound", "desc": "Command guest-file-open has been disabled{why}"}}}}"#
        )
    };
    let newest = reply(": the command is not allowed");
    let request = r#"{"execute":"guest-file-open","arguments":{"path":7},"id":4}"#;
    table
        .differs("before 8.1 the reason is not told", request, newest.clone(), &[&newest, &reply("")])
        .check();
}

#[test]
fn info_tells_what_is_off() {
    each(|program| {
        let agent = program.setup().options(["-b", "guest-exec,guest-file-open"]).start();
        let info = agent.client().run("guest-info", json!({})).unwrap();
        for entry in info["supported_commands"].as_array().unwrap() {
            let off = matches!(
                entry["name"].as_str().unwrap(),
                "guest-exec" | "guest-file-open" | "guest-get-devices" | "waga-reload"
            );
            assert_eq!(entry["enabled"], json!(!off), "{entry}");
        }
    });
}
