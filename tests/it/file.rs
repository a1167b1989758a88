//! guest-file-*: opening, reading, writing, seeking, closing; as reference §2.3 has it.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::each;
use crate::table::Table;

fn call(command: &str, arguments: &str) -> String {
    format!(r#"{{"execute":"guest-file-{command}","arguments":{arguments}}}"#)
}

fn returns(value: &str) -> String {
    format!(r#"{{"return": {value}}}"#)
}

fn fails(desc: &str) -> String {
    format!(r#"{{"error": {{"class": "GenericError", "desc": "{desc}"}}}}"#)
}

/// Calls and their results, the commands without `guest-file-`; an error's text starts with `!`.
fn talk<'a>(table: Table<'a>, cases: &[(&str, &str, &str)]) -> Table<'a> {
    cases.iter().fold(table, |table, (command, arguments, result)| {
        table.ask(call(command, arguments), result.strip_prefix('!').map_or_else(|| returns(result), fails))
    })
}

const EMPTY: &str = r#"{"buf-b64": "", "count": 0, "eof": true}"#;

#[test]
fn upstreams_file_ops() {
    let table = talk(
        Table::new(),
        &[
            ("open", r#"{"path":"foo","mode":"w+"}"#, "1000"),
            (
                "write",
                r#"{"handle":1000,"buf-b64":"aGVsbG8gd29ybGQhMTI="}"#,
                r#"{"count": 14, "eof": false}"#,
            ),
            ("flush", r#"{"handle":1000}"#, "{}"),
            ("close", r#"{"handle":1000}"#, "{}"),
            ("open", r#"{"path":"foo","mode":"r"}"#, "1001"),
            (
                "read",
                r#"{"handle":1001}"#,
                r#"{"buf-b64": "aGVsbG8gd29ybGQhMTI=", "count": 14, "eof": true}"#,
            ),
            ("read", r#"{"handle":1001}"#, EMPTY),
            ("seek", r#"{"handle":1001,"offset":6,"whence":"set"}"#, r#"{"position": 6, "eof": false}"#),
            ("read", r#"{"handle":1001}"#, r#"{"buf-b64": "d29ybGQhMTI=", "count": 8, "eof": true}"#),
            ("close", r#"{"handle":1001}"#, "{}"),
        ],
    );
    table.check();
}

#[test]
fn upstreams_file_write_read() {
    let table = talk(
        Table::new(),
        &[
            ("open", r#"{"path":"foo","mode":"w+"}"#, "1000"),
            (
                "write",
                r#"{"handle":1000,"buf-b64":"aGVsbG8gd29ybGQhMTI="}"#,
                r#"{"count": 14, "eof": false}"#,
            ),
            ("read", r#"{"handle":1000}"#, EMPTY),
            ("seek", r#"{"handle":1000,"offset":0,"whence":"set"}"#, r#"{"position": 0, "eof": false}"#),
            (
                "read",
                r#"{"handle":1000}"#,
                r#"{"buf-b64": "aGVsbG8gd29ybGQhMTI=", "count": 14, "eof": true}"#,
            ),
            // And a write after a read.
            ("seek", r#"{"handle":1000,"offset":0,"whence":"set"}"#, r#"{"position": 0, "eof": false}"#),
            ("read", r#"{"handle":1000,"count":5}"#, r#"{"buf-b64": "aGVsbG8=", "count": 5, "eof": false}"#),
            ("write", r#"{"handle":1000,"buf-b64":"Xw=="}"#, r#"{"count": 1, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":-6,"whence":"cur"}"#, r#"{"position": 0, "eof": false}"#),
            (
                "read",
                r#"{"handle":1000}"#,
                r#"{"buf-b64": "aGVsbG9fd29ybGQhMTI=", "count": 14, "eof": true}"#,
            ),
        ],
    );
    table.check();
}

#[test]
fn a_read_ends_where_it_was_asked_to() {
    let table = Table::new().setup(|setup| {
        std::fs::write(setup.dir().join("f"), "0123456789").unwrap();
        setup
    });
    let table = talk(
        table,
        &[
            ("open", r#"{"path":"f"}"#, "1000"),
            ("read", r#"{"handle":1000,"count":0}"#, r#"{"buf-b64": "", "count": 0, "eof": false}"#),
            ("read", r#"{"handle":1000,"count":4}"#, r#"{"buf-b64": "MDEyMw==", "count": 4, "eof": false}"#),
            // Exactly to the end: the end is seen by the next one.
            ("read", r#"{"handle":1000,"count":6}"#, r#"{"buf-b64": "NDU2Nzg5", "count": 6, "eof": false}"#),
            ("read", r#"{"handle":1000,"count":6}"#, EMPTY),
            ("read", r#"{"handle":1000,"count":0}"#, r#"{"buf-b64": "", "count": 0, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":-3,"whence":"end"}"#, r#"{"position": 7, "eof": false}"#),
            (
                "read",
                r#"{"handle":1000,"count":50331648}"#,
                r#"{"buf-b64": "Nzg5", "count": 3, "eof": true}"#,
            ),
            (
                "read",
                r#"{"handle":1000,"count":50331649}"#,
                "!value '50331649' is invalid for argument count",
            ),
            ("read", r#"{"handle":1000,"count":-1}"#, "!value '-1' is invalid for argument count"),
            (
                "read",
                r#"{"handle":1000,"count":9223372036854775807}"#,
                "!value '9223372036854775807' is invalid for argument count",
            ),
            ("read", r#"{"handle":1001,"count":-1}"#, "!handle '1001' has not been found"),
            ("seek", r#"{"handle":1000,"offset":100,"whence":0}"#, r#"{"position": 100, "eof": false}"#),
            ("read", r#"{"handle":1000}"#, EMPTY),
        ],
    );
    table.check();
}

#[test]
fn handles_that_are_not_open() {
    let mut cases = Vec::new();
    for (command, more) in [
        ("close", ""),
        ("flush", ""),
        ("read", ""),
        ("write", r#","buf-b64":"""#),
        ("seek", r#","offset":0,"whence":9"#),
    ] {
        for handle in ["0", "-1", "1000", "9223372036854775807"] {
            cases.push((
                command,
                format!(r#"{{"handle":{handle}{more}}}"#),
                format!("!handle '{handle}' has not been found"),
            ));
        }
    }
    let cases: Vec<(&str, &str, &str)> =
        cases.iter().map(|(command, arguments, result)| (*command, &**arguments, &**result)).collect();
    let twice = [
        ("open", r#"{"path":"/dev/null"}"#, "1000"),
        ("close", r#"{"handle":1000}"#, "{}"),
        ("close", r#"{"handle":1000}"#, "!handle '1000' has not been found"),
    ];
    talk(talk(Table::new(), &cases), &twice).check();
}

#[test]
fn modes_are_those_of_c() {
    let mut table = Table::new();
    for (number, mode) in "w r rb wb a ab r+ rb+ r+b w+ wb+ w+b a+ ab+ a+b".split(' ').enumerate() {
        table = table.ask(
            call("open", &format!(r#"{{"path":"f","mode":"{mode}"}}"#)),
            returns(&(1000 + number).to_string()),
        );
    }
    for mode in ["", "x", "rw", "re", "rx", "br", "r++", "R", "zz", "w "] {
        let desc = format!("invalid file open mode '{mode}'");
        table = table.ask(call("open", &format!(r#"{{"path":"f","mode":"{mode}"}}"#)), fails(&desc));
    }
    table.check();
}

#[test]
fn what_cannot_be_opened() {
    talk(
        Table::new().setup(|setup| {
            nix::unistd::mkfifo(&setup.dir().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            setup
        }),
        &[
            (
                "open",
                r#"{"path":"/nonexistent/x"}"#,
                "!failed to open file '/nonexistent/x' (mode: 'r'): No such file or directory",
            ),
            (
                "open",
                r#"{"path":"/nonexistent/x","mode":"w"}"#,
                "!failed to open file '/nonexistent/x' (mode: 'w'): No such file or directory",
            ),
            (
                "open",
                r#"{"path":"","mode":"a+"}"#,
                "!failed to open file '' (mode: 'a+'): No such file or directory",
            ),
            ("open", r#"{"path":"/","mode":"w"}"#, "!failed to open file '/' (mode: 'w'): Is a directory"),
            (
                "open",
                r#"{"path":"/dev/null/x","mode":"r+"}"#,
                "!failed to open file '/dev/null/x' (mode: 'r+'): Not a directory",
            ),
            (
                "open",
                r#"{"path":"pipe","mode":"w"}"#,
                "!failed to open file 'pipe' (mode: 'w'): No such device or address",
            ),
            (
                "open",
                r#"{"path":"\u00e9"}"#,
                r"!failed to open file '\u00E9' (mode: 'r'): No such file or directory",
            ),
            ("open", r#"{"path":"."}"#, "1000"),
            ("read", r#"{"handle":1000}"#, "!failed to read file: Is a directory"),
        ],
    )
    .check();
}

#[test]
fn written_base64_is_read_leniently() {
    let written = |count: usize| format!(r#"{{"count": {count}, "eof": false}}"#);
    let mut table = talk(Table::new(), &[("open", r#"{"path":"f","mode":"w+"}"#, "1000")]);
    for (data, count) in [
        ("", 0),
        ("YQ==", 1),
        ("aGVs\\nbG8=\\n", 5),
        ("YQ", 0),
        ("aGVsYQ", 3),
        ("=", 0),
        ("YQ==Yg==", 2),
        ("+/+/", 3),
    ] {
        table = table.ask(
            call("write", &format!(r#"{{"handle":1000,"buf-b64":"{data}"}}"#)),
            returns(&written(count)),
        );
    }
    for data in ["a b=", "YQ==\\r", "_-__", "\\u00e9", "YQ==.", "\\t"] {
        table = table.ask(
            call("write", &format!(r#"{{"handle":1000,"buf-b64":"{data}"}}"#)),
            fails("Base64 data contains invalid characters"),
        );
    }
    let rest = [
        ("write", r#"{"handle":1000,"buf-b64":"eHl6","count":2}"#, &*written(2)),
        ("write", r#"{"handle":1000,"buf-b64":"eHl6","count":0}"#, &written(0)),
        (
            "write",
            r#"{"handle":1000,"buf-b64":"eHl6","count":4}"#,
            "!value '4' is invalid for argument count",
        ),
        (
            "write",
            r#"{"handle":1000,"buf-b64":"eHl6","count":-1}"#,
            "!value '-1' is invalid for argument count",
        ),
        ("seek", r#"{"handle":1000,"offset":0,"whence":"set"}"#, r#"{"position": 0, "eof": false}"#),
        (
            "read",
            r#"{"handle":1000}"#,
            r#"{"buf-b64": "YWhlbGxvaGVsYWL7/794eQ==", "count": 16, "eof": true}"#,
        ),
    ];
    talk(table, &rest).check();
}

#[test]
fn seeking() {
    talk(
        Table::new().setup(|setup| {
            nix::unistd::mkfifo(&setup.dir().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            setup
        }),
        &[
            ("open", r#"{"path":"f","mode":"w+"}"#, "1000"),
            ("write", r#"{"handle":1000,"buf-b64":"MDEyMzQ1Njc4OQ=="}"#, r#"{"count": 10, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":1,"whence":"set"}"#, r#"{"position": 1, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":2,"whence":"cur"}"#, r#"{"position": 3, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":-1,"whence":"end"}"#, r#"{"position": 9, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":1,"whence":0}"#, r#"{"position": 1, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":2,"whence":1}"#, r#"{"position": 3, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":-1,"whence":2}"#, r#"{"position": 9, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":0,"whence":3}"#, "!invalid whence code 3"),
            ("seek", r#"{"handle":1000,"offset":0,"whence":-1}"#, "!invalid whence code -1"),
            (
                "seek",
                r#"{"handle":1000,"offset":-1,"whence":"set"}"#,
                "!failed to seek file: Invalid argument",
            ),
            (
                "seek",
                r#"{"handle":1000,"offset":-100,"whence":"cur"}"#,
                "!failed to seek file: Invalid argument",
            ),
            (
                "seek",
                r#"{"handle":1000,"offset":4294967296,"whence":"set"}"#,
                r#"{"position": 4294967296, "eof": false}"#,
            ),
            ("open", r#"{"path":"pipe","mode":"r"}"#, "1001"),
            ("seek", r#"{"handle":1001,"offset":0,"whence":"set"}"#, "!failed to seek file: Illegal seek"),
        ],
    )
    .check();
}

#[test]
fn appending() {
    talk(
        Table::new().setup(|setup| {
            std::fs::write(setup.dir().join("f"), "0123").unwrap();
            setup
        }),
        &[
            ("open", r#"{"path":"f","mode":"a+"}"#, "1000"),
            ("read", r#"{"handle":1000,"count":2}"#, r#"{"buf-b64": "MDE=", "count": 2, "eof": false}"#),
            ("write", r#"{"handle":1000,"buf-b64":"NDU="}"#, r#"{"count": 2, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":0,"whence":"cur"}"#, r#"{"position": 6, "eof": false}"#),
            ("seek", r#"{"handle":1000,"offset":0,"whence":"set"}"#, r#"{"position": 0, "eof": false}"#),
            ("read", r#"{"handle":1000}"#, r#"{"buf-b64": "MDEyMzQ1", "count": 6, "eof": true}"#),
        ],
    )
    .check();
}

#[test]
fn new_files_have_their_permissions_whatever_the_umask() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let kept = agent.dir().join("kept");
        std::fs::write(&kept, "old").unwrap();
        std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o640)).unwrap();
        for (name, permissions) in [("new", 0o666), ("kept", 0o640)] {
            client.run("guest-file-open", json!({"path": name, "mode": "w"})).unwrap();
            let found = agent.dir().join(name).metadata().unwrap();
            assert_eq!((found.permissions().mode() & 0o7777, found.len()), (permissions, 0), "{name}");
        }
    });
}

#[test]
fn handles_of_one_client_are_those_of_all() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        client.run("guest-file-open", json!({"path": "f", "mode": "w+"})).unwrap();
        client.run("guest-file-write", json!({"handle": 1000, "buf-b64": "YWJj"})).unwrap();
        drop(client);
        let mut next = agent.client();
        next.run("guest-file-seek", json!({"handle": 1000, "offset": 0, "whence": "set"})).unwrap();
        assert_eq!(next.run("guest-file-read", json!({"handle": 1000})).unwrap()["buf-b64"], "YWJj");
    });
}
