//! What makes a JSON value a request: its members, the command's name, its arguments. The texts are those of reference §1.6.

use crate::table::Table;

fn error(class: &str, desc: &str) -> String {
    format!(r#"{{"error": {{"class": "{class}", "desc": "{desc}"}}}}"#)
}

fn generic(desc: &str) -> String {
    error("GenericError", desc)
}

#[test]
fn a_request_has_its_members_and_no_others() {
    let mut table = Table::new();
    for (request, desc) in [
        ("1 ", "QMP input must be a JSON object"),
        ("-1.5e3 ", "QMP input must be a JSON object"),
        (r#""x""#, "QMP input must be a JSON object"),
        ("null ", "QMP input must be a JSON object"),
        ("true ", "QMP input must be a JSON object"),
        ("[1,2]", "QMP input must be a JSON object"),
        ("[]", "QMP input must be a JSON object"),
        ("{}", "QMP input lacks member 'execute'"),
        (r#"{"arguments":{}}"#, "QMP input lacks member 'execute'"),
        (r#"{"execute":5}"#, "QMP input member 'execute' must be a string"),
        (r#"{"execute":null}"#, "QMP input member 'execute' must be a string"),
        (r#"{"execute":["guest-ping"]}"#, "QMP input member 'execute' must be a string"),
        (r#"{"execute":"guest-ping","arguments":null}"#, "QMP input member 'arguments' must be an object"),
        (r#"{"execute":"guest-ping","arguments":[]}"#, "QMP input member 'arguments' must be an object"),
        (r#"{"execute":"guest-ping","arguments":"x"}"#, "QMP input member 'arguments' must be an object"),
        (r#"{"foo":1}"#, "QMP input member 'foo' is unexpected"),
        (r#"{"execute":"guest-ping","foo":{}}"#, "QMP input member 'foo' is unexpected"),
        (r#"{"exec-oob":"guest-ping"}"#, "QMP input member 'exec-oob' is unexpected"),
        (r#"{"Execute":"guest-ping"}"#, "QMP input member 'Execute' is unexpected"),
        (r#"{"":1}"#, "QMP input member '' is unexpected"),
    ] {
        table = table.ask(request, generic(desc));
    }
    table
        .ask(r#"{"execute":"guest-ping","arguments":{}}"#, r#"{"return": {}}"#)
        .ask(r#"{"arguments":{},"id":1,"execute":"guest-ping"}"#, r#"{"return": {}, "id": 1}"#)
        .ask(
            r#"{"id":3}"#,
            r#"{"id": 3, "error": {"class": "GenericError", "desc": "QMP input lacks member 'execute'"}}"#,
        )
        .check();
}

#[test]
fn an_unknown_command_is_named() {
    let mut table = Table::new();
    for (request, name) in [
        (r#"{"execute":"nope"}"#, "nope"),
        (r#"{"execute":""}"#, ""),
        (r#"{"execute":"Guest-Ping"}"#, "Guest-Ping"),
        (r#"{"execute":"guest-ping "}"#, "guest-ping "),
        (r#"{"execute":"guest_ping"}"#, "guest_ping"),
        (r#"{"execute":"nope","arguments":{"x":1}}"#, "nope"),
        (r#"{"execute":"n\u00f6pe\n"}"#, r"n\u00F6pe\n"),
    ] {
        table =
            table.ask(request, error("CommandNotFound", &format!("The command {name} has not been found")));
    }
    table
        .differs(
            "a command of Windows alone is not known on Linux; 7.2 lists it as disabled",
            r#"{"execute":"guest-get-devices"}"#,
            error("CommandNotFound", "The command guest-get-devices has not been found"),
            &[
                &error("CommandNotFound", "The command guest-get-devices has not been found"),
                &error("CommandNotFound", "Command guest-get-devices has been disabled"),
            ],
        )
        .check();
}

#[test]
fn arguments_are_checked_by_name_and_type() {
    let mut table = Table::new();
    for (command, arguments, desc) in [
        ("guest-ping", r#"{"foo":42}"#, "Parameter 'foo' is unexpected"),
        ("guest-sync", "{}", "Parameter 'id' is missing"),
        ("guest-sync", r#"{"id":1,"bogus":2}"#, "Parameter 'bogus' is unexpected"),
        ("guest-sync", r#"{"bogus":2}"#, "Parameter 'id' is missing"),
        ("guest-sync", r#"{"bogus":2,"id":"x"}"#, "Invalid parameter type for 'id', expected: integer"),
        ("guest-file-open", "{}", "Parameter 'path' is missing"),
        ("guest-file-open", r#"{"path":1}"#, "Invalid parameter type for 'path', expected: string"),
        (
            "guest-file-open",
            r#"{"path":"x","mode":null}"#,
            "Invalid parameter type for 'mode', expected: string",
        ),
        (
            "guest-file-open",
            r#"{"path":"x","mode":[]}"#,
            "Invalid parameter type for 'mode', expected: string",
        ),
        ("guest-file-read", r#"{"count":1}"#, "Parameter 'handle' is missing"),
        (
            "guest-file-read",
            r#"{"handle":1,"count":null}"#,
            "Invalid parameter type for 'count', expected: integer",
        ),
        (
            "guest-file-read",
            r#"{"handle":1,"count":1.5}"#,
            "Invalid parameter type for 'count', expected: integer",
        ),
        ("guest-file-write", r#"{"handle":1}"#, "Parameter 'buf-b64' is missing"),
        (
            "guest-file-write",
            r#"{"handle":1,"buf-b64":1}"#,
            "Invalid parameter type for 'buf-b64', expected: string",
        ),
        ("guest-file-seek", r#"{"handle":1,"offset":0}"#, "Parameter 'whence' is missing"),
        (
            "guest-file-seek",
            r#"{"handle":1,"offset":0,"whence":true}"#,
            "Invalid parameter type for 'whence', expected: GuestFileWhence",
        ),
        (
            "guest-file-seek",
            r#"{"handle":1,"offset":0,"whence":null}"#,
            "Invalid parameter type for 'whence', expected: GuestFileWhence",
        ),
        (
            "guest-file-seek",
            r#"{"handle":1,"offset":0,"whence":"beginning"}"#,
            "Parameter 'whence' does not accept value 'beginning'",
        ),
        ("guest-exec", "{}", "Parameter 'path' is missing"),
        ("guest-exec", r#"{"path":"true","arg":"x"}"#, "Invalid parameter type for 'arg', expected: array"),
        (
            "guest-exec",
            r#"{"path":"true","arg":["a",1]}"#,
            "Invalid parameter type for 'arg[1]', expected: string",
        ),
        ("guest-exec", r#"{"path":"true","env":{}}"#, "Invalid parameter type for 'env', expected: array"),
        (
            "guest-exec",
            r#"{"path":"true","env":[null]}"#,
            "Invalid parameter type for 'env[0]', expected: string",
        ),
        ("guest-exec-status", r#"{"pid":"1"}"#, "Invalid parameter type for 'pid', expected: integer"),
        ("guest-ssh-get-authorized-keys", "{}", "Parameter 'username' is missing"),
    ] {
        table = table.ask(format!(r#"{{"execute":"{command}","arguments":{arguments}}}"#), generic(desc));
    }
    table.check();
}

#[test]
fn the_first_fault_in_the_order_of_the_text_is_told() {
    const ORDER: &str =
        "of several faults the first in the text is told; the original takes the order of its hash table";
    let first = generic("QMP input member 'a' is unexpected");
    let other = generic("QMP input member '…' is unexpected");
    Table::new()
        .differs(ORDER, r#"{"a":1,"b":2,"c":3}"#, first.clone(), &[&other])
        .differs(
            ORDER,
            r#"{"a":1,"execute":5}"#,
            first,
            &[&other, &generic("QMP input member 'execute' must be a string")],
        )
        .differs(
            ORDER,
            r#"{"execute":"guest-ping","arguments":{"x":1,"y":2}}"#,
            generic("Parameter 'x' is unexpected"),
            &[&generic("Parameter '…' is unexpected")],
        )
        .check();
}
