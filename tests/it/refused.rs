//! Commands that change processors, memory, passwords and keys, with requests that change nothing: refused, or with nothing to do.

use crate::table::Table;

/// A request of one command.
fn ask(command: &str, arguments: &str) -> String {
    format!(r#"{{"execute":"{command}","arguments":{arguments}}}"#)
}

/// The reply that is an error.
fn error(desc: &str) -> String {
    format!(r#"{{"error": {{"class": "GenericError", "desc": "{desc}"}}}}"#)
}

#[test]
fn processors() {
    let ask = |arguments: &str| ask("guest-set-vcpus", arguments);
    let mut table = Table::new().ask(ask(r#"{"vcpus":[]}"#), r#"{"return": 0}"#);
    for (arguments, desc) in [
        ("{}", "Parameter 'vcpus' is missing"),
        (r#"{"vcpus":{}}"#, "Invalid parameter type for 'vcpus', expected: array"),
        (r#"{"vcpus":[1]}"#, "Invalid parameter type for 'vcpus[0]', expected: object"),
        (r#"{"vcpus":[{"online":true}]}"#, "Parameter 'vcpus[0].logical-id' is missing"),
        (r#"{"vcpus":[{"logical-id":99999}]}"#, "Parameter 'vcpus[0].online' is missing"),
        (
            r#"{"vcpus":[{"logical-id":"99999","online":true}]}"#,
            "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
        ),
        (
            r#"{"vcpus":[{"logical-id":9223372036854775808,"online":true}]}"#,
            "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
        ),
        (
            r#"{"vcpus":[{"logical-id":99999,"online":1}]}"#,
            "Invalid parameter type for 'vcpus[0].online', expected: boolean",
        ),
        (
            r#"{"vcpus":[{"logical-id":99999,"online":true,"can-offline":null}]}"#,
            "Invalid parameter type for 'vcpus[0].can-offline', expected: boolean",
        ),
        (r#"{"vcpus":[{"logical-id":99999,"online":true,"x":1}]}"#, "Parameter 'vcpus[0].x' is unexpected"),
        (r#"{"vcpus":[],"x":1}"#, "Parameter 'x' is unexpected"),
    ] {
        table = table.ask(ask(arguments), error(desc));
    }
    // Such processors there are not.
    for id in ["99999", "-1", "9223372036854775807", "-9223372036854775808"] {
        let why = format!("/sys/devices/system/cpu/cpu{id}/': No such file or directory");
        let before = why.replace("/':", r#"/\"):"#);
        let arguments = format!(r#"{{"vcpus":[{{"logical-id":{id},"online":true,"can-offline":true}}]}}"#);
        let expected = error(&format!("Could not open '{why}"));
        let known = [&*expected, &error(&format!(r#"open(\"{before}"#))];
        table = table.differs("in other words before 11", ask(&arguments), &expected, &known);
    }
    table.check();
}

#[test]
fn memory_blocks() {
    let ask = |arguments: &str| ask("guest-set-memory-blocks", arguments);
    let mut table = Table::new().ask(ask(r#"{"mem-blks":[]}"#), r#"{"return": []}"#);
    for (arguments, desc) in [
        ("{}", "Parameter 'mem-blks' is missing"),
        (r#"{"mem-blks":{}}"#, "Invalid parameter type for 'mem-blks', expected: array"),
        (r#"{"mem-blks":[1]}"#, "Invalid parameter type for 'mem-blks[0]', expected: object"),
        (r#"{"mem-blks":[{"online":true}]}"#, "Parameter 'mem-blks[0].phys-index' is missing"),
        (r#"{"mem-blks":[{"phys-index":9999999}]}"#, "Parameter 'mem-blks[0].online' is missing"),
        (
            r#"{"mem-blks":[{"phys-index":"9999999","online":true}]}"#,
            "Parameter 'mem-blks[0].phys-index' expects uint64",
        ),
        (
            r#"{"mem-blks":[{"phys-index":18446744073709551616,"online":true}]}"#,
            "Parameter 'mem-blks[0].phys-index' expects uint64",
        ),
        (
            r#"{"mem-blks":[{"phys-index":9999999,"online":"yes"}]}"#,
            "Invalid parameter type for 'mem-blks[0].online', expected: boolean",
        ),
        (
            r#"{"mem-blks":[{"phys-index":9999999,"online":true,"x":1}]}"#,
            "Parameter 'mem-blks[0].x' is unexpected",
        ),
        (r#"{"mem-blks":[],"x":1}"#, "Parameter 'x' is unexpected"),
    ] {
        table = table.ask(ask(arguments), error(desc));
    }
    // Such blocks there are not; a negative number is one of two's complement.
    for (id, told) in [
        ("9999999", "9999999"),
        ("18446744073709551615", "18446744073709551615"),
        ("-2", "18446744073709551614"),
    ] {
        let arguments = format!(r#"{{"mem-blks":[{{"phys-index":{id},"online":true}}]}}"#);
        let expected =
            format!(r#"{{"return": [{{"phys-index": {told}, "response": "not-found", "error-code": 2}}]}}"#);
        table = table.ask(ask(&arguments), expected);
    }
    table.check();
}

#[test]
fn passwords() {
    let ask = |arguments: &str| ask("guest-set-user-password", arguments);
    let mut table = Table::new();
    // "secret", "x\ny", "\n"
    let (good, two_lines, line_feed) = ("c2VjcmV0", "eAp5", "Cg==");
    for (username, password, desc) in [
        ("nonexistent-user", two_lines, "forbidden characters in raw password"),
        ("nonexistent-user", line_feed, "forbidden characters in raw password"),
        ("nonexistent:user", two_lines, "forbidden characters in raw password"),
        ("nonexistent:user", good, "forbidden characters in username"),
        (r"nonexistent\nuser", good, "forbidden characters in username"),
        (":", "", "forbidden characters in username"),
        ("nonexistent:user", "c2Vj cmV0", "Base64 data contains invalid characters"),
        ("nonexistent:user", "c2VjcmV0!", "Base64 data contains invalid characters"),
        // In lines, as Proxmox sends it.
        ("nonexistent:user", r"c2Vj\ncmV0\n", "forbidden characters in username"),
    ] {
        for crypted in [true, false] {
            let arguments =
                format!(r#"{{"username":"{username}","password":"{password}","crypted":{crypted}}}"#);
            table = table.ask(ask(&arguments), error(desc));
        }
    }
    for (arguments, desc) in [
        ("{}", "Parameter 'username' is missing"),
        (r#"{"username":"nonexistent-user","crypted":false}"#, "Parameter 'password' is missing"),
        (r#"{"username":"nonexistent-user","password":"c2VjcmV0"}"#, "Parameter 'crypted' is missing"),
        (
            r#"{"username":1,"password":"c2VjcmV0","crypted":false}"#,
            "Invalid parameter type for 'username', expected: string",
        ),
        (
            r#"{"username":"nonexistent-user","password":["c2VjcmV0"],"crypted":false}"#,
            "Invalid parameter type for 'password', expected: string",
        ),
        (
            r#"{"username":"nonexistent-user","password":"c2VjcmV0","crypted":0}"#,
            "Invalid parameter type for 'crypted', expected: boolean",
        ),
        (
            r#"{"username":"nonexistent-user","password":"c2VjcmV0","crypted":false,"x":1}"#,
            "Parameter 'x' is unexpected",
        ),
    ] {
        table = table.ask(ask(arguments), error(desc));
    }
    // "x\0\n": the original stops looking at the NUL, and then asks for the user's password to be "x".
    let arguments = r#"{"username":"nonexistent:user","password":"eAAK","crypted":true}"#;
    let (expected, original) =
        (error("forbidden characters in raw password"), error("forbidden characters in username"));
    table = table.differs("cuts a password at a NUL", ask(arguments), expected, &[&original]);
    // In the words of this machine's program.
    for crypted in [true, false] {
        let arguments =
            format!(r#"{{"username":"nonexistent-user","password":"{good}","crypted":{crypted}}}"#);
        table = table.ask(ask(&arguments), error("child process has failed to set user password…"));
    }
    table.check();
}

#[test]
fn keys() {
    let mut table = Table::new();
    let key = r#""ssh-ed25519 AAAA me""#;
    for command in ["guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys"] {
        let ask = |arguments: &str| ask(command, arguments);
        for (arguments, desc) in [
            ("{}", "Parameter 'username' is missing"),
            (r#"{"username":"nonexistent-user"}"#, "Parameter 'keys' is missing"),
            (r#"{"username":1,"keys":[]}"#, "Invalid parameter type for 'username', expected: string"),
            (
                r#"{"username":"nonexistent-user","keys":"x"}"#,
                "Invalid parameter type for 'keys', expected: array",
            ),
            (
                r#"{"username":"nonexistent-user","keys":["x",1]}"#,
                "Invalid parameter type for 'keys[1]', expected: string",
            ),
            (r#"{"username":"nonexistent-user","keys":[],"x":1}"#, "Parameter 'x' is unexpected"),
            // Looked at before the user is.
            (r##"{"username":"nonexistent-user","keys":["#x"]}"##, "invalid OpenSSH public key: '#x'"),
            (r#"{"username":"nonexistent-user","keys":["x","a\nb"]}"#, r"invalid OpenSSH public key: 'a\nb'"),
            (
                r##"{"username":"nonexistent-user","keys":["","\n","#"]}"##,
                r"invalid OpenSSH public key: '\n'",
            ),
        ] {
            table = table.ask(ask(arguments), error(desc));
        }
        for user in ["nonexistent-user", "", "a:b", "../root"] {
            for keys in ["", key, r#""", " # x", "any\r\tthing""#] {
                let arguments = format!(r#"{{"username":"{user}","keys":[{keys}]}}"#);
                table =
                    table.ask(ask(&arguments), error(&format!("failed to lookup user '{user}': Success")));
            }
        }
    }
    let ask = |arguments: &str| ask("guest-ssh-add-authorized-keys", arguments);
    let wrong = "Invalid parameter type for 'reset', expected: boolean";
    table = table
        .ask(ask(r#"{"username":"nonexistent-user","keys":[],"reset":0}"#), error(wrong))
        .ask(ask(r#"{"username":"nonexistent-user","keys":[],"reset":null}"#), error(wrong))
        .differs(
            "takes a NUL for two bytes",
            ask(r#"{"username":"nonexistent-user","keys":["a\u0000"]}"#),
            error(r"invalid OpenSSH public key: 'a\u0000'"),
            &[&error("failed to lookup user 'nonexistent-user': Success")],
        );
    table.check();
}
