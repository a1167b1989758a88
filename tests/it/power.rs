//! Clock, shutdown, sleep: what is refused before anything happens. What is not is for `tests/vm` alone, never for this machine.

use crate::table::Table;

fn request(command: &str, arguments: &str) -> String {
    format!(r#"{{"execute":"{command}","arguments":{arguments}}}"#)
}

fn error(desc: &str) -> String {
    format!(r#"{{"error": {{"class": "GenericError", "desc": "{desc}"}}}}"#)
}

#[test]
fn arguments_are_checked_before_anything_is_done() {
    let mut table = Table::new();
    for (command, arguments, desc) in [
        (
            "guest-set-time",
            r#"{"time":"1700000000000000000"}"#,
            "Invalid parameter type for 'time', expected: integer",
        ),
        ("guest-set-time", r#"{"time":1.5}"#, "Invalid parameter type for 'time', expected: integer"),
        ("guest-set-time", r#"{"time":null}"#, "Invalid parameter type for 'time', expected: integer"),
        ("guest-set-time", r#"{"time":1e18}"#, "Invalid parameter type for 'time', expected: integer"),
        (
            "guest-set-time",
            r#"{"time":9223372036854775808}"#,
            "Invalid parameter type for 'time', expected: integer",
        ),
        ("guest-set-time", r#"{"seconds":1700000000}"#, "Parameter 'seconds' is unexpected"),
        ("guest-shutdown", r#"{"mode":1}"#, "Invalid parameter type for 'mode', expected: string"),
        ("guest-shutdown", r#"{"mode":null}"#, "Invalid parameter type for 'mode', expected: string"),
        ("guest-shutdown", r#"{"mode":["halt"]}"#, "Invalid parameter type for 'mode', expected: string"),
        ("guest-shutdown", r#"{"force":true}"#, "Parameter 'force' is unexpected"),
        ("guest-suspend-disk", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
        ("guest-suspend-ram", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
        ("guest-suspend-hybrid", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
    ] {
        table = table.ask(request(command, arguments), error(desc));
    }
    table.check();
}

#[test]
fn modes_of_shutdown_that_there_are_not() {
    let mut table = Table::new();
    for mode in ["", "poweroff", "Halt", "halt ", "powerdown|halt", "x"] {
        let expected = error("mode is invalid (valid values are: halt|powerdown|reboot");
        table = table.ask(request("guest-shutdown", &format!(r#"{{"mode":"{mode}"}}"#)), expected);
    }
    table.check();
}

/// Times so far away that no version of the original takes them.
#[test]
fn times_beyond_the_calendar_are_refused() {
    let mut table = Table::new();
    for time in [i64::MIN, -5_000_000_000_000_000_000, 5_000_000_000_000_000_000, i64::MAX] {
        table = table.differs(
            "the original tells whatever error came before, or none",
            request("guest-set-time", &format!(r#"{{"time":{time}}}"#)),
            error("Invalid time: it must be in the years from 1970 to 2069"),
            &[&error("Invalid time…")],
        );
    }
    table.check();
}
