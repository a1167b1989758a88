//! `[policy.exec]`, `[policy.file]` and `[policy.channel.NAME]` of `agent.toml`, tried by a host that means no good.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program};
use waga_tests::client::Client;

use crate::daemon::reload;
use crate::exec::ended;
use crate::program;

/// An agent with this `agent.toml`, in which `@` stands for its folder.
fn configured(text: &str, prepare: impl FnOnce(&Path)) -> Option<Agent> {
    let program = Some(program()).filter(Program::is_waga)?;
    let setup = program.setup();
    prepare(setup.dir());
    let path = setup.dir().join("agent.toml");
    fs::write(&path, text.replace('@', setup.dir().to_str().unwrap())).unwrap();
    Some(setup.options(["-c".into(), path]).env("AGENTS_OWN", Some("leaked")).start())
}

fn refused(client: &mut Client, command: &str, arguments: Value) -> String {
    let (class, desc) = client.refused(command, arguments).unwrap();
    assert_eq!(class, "GenericError", "{desc}");
    desc
}

/// What a program wrote.
fn output(client: &mut Client, arguments: Value) -> String {
    let pid = client.run("guest-exec", arguments).unwrap()["pid"].clone();
    let ended = ended(client, &pid);
    let encoded = ended["out-data"].as_str().unwrap_or_default();
    String::from_utf8(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap())
        .unwrap()
}

#[test]
fn only_listed_programs_run_with_fitting_arguments_in_an_empty_environment() {
    let text = "[policy.exec]\nallow = [\n  { program = '/usr/bin/env', env = ['FIXED=1', 'ASKED'] },\n  \
                { program = '/bin/echo', args = ['restart', 'acme-*'] },\n  { program = '/usr/bin/printf', args = ['%s', '**'] },\n]\n";
    let Some(agent) = configured(text, |_| ()) else { return };
    let mut client = agent.client();
    let run = |client: &mut Client, path: &str, arg: Value, env: Value| {
        output(client, json!({"path": path, "arg": arg, "env": env, "capture-output": true}))
    };
    let none = || json!([]);
    assert_eq!(run(&mut client, "/usr/bin/env", none(), json!(["ASKED=2"])).lines().count(), 2);
    assert_eq!(run(&mut client, "env", none(), none()), "FIXED=1\n");
    assert_eq!(run(&mut client, "/bin/echo", json!(["restart", "acme-db"]), none()), "restart acme-db\n");
    assert_eq!(run(&mut client, "printf", json!(["%s", "a", "b"]), none()), "ab");
    for (path, arg, env, expected) in [
        ("/bin/sh", json!(["-c", "id"]), none(), "guest-exec: the policy does not allow '/bin/sh'"),
        ("sh", none(), none(), "guest-exec: the policy does not allow 'sh'"),
        (
            "/usr/bin/../bin/env",
            none(),
            none(),
            "guest-exec: the policy does not allow '/usr/bin/../bin/env'",
        ),
        (
            "/usr/bin/env",
            json!(["sh"]),
            none(),
            "guest-exec: the policy does not allow these arguments of '/usr/bin/env'",
        ),
        (
            "/bin/echo",
            json!(["restart", "sshd"]),
            none(),
            "guest-exec: the policy does not allow these arguments of '/bin/echo'",
        ),
        (
            "/bin/echo",
            json!(["restart", "acme-a", "b"]),
            none(),
            "guest-exec: the policy does not allow these arguments of '/bin/echo'",
        ),
        (
            "env",
            none(),
            json!(["LD_PRELOAD=/x"]),
            "guest-exec: the policy does not allow the variable 'LD_PRELOAD'",
        ),
        ("env", none(), json!(["FIXED=2"]), "guest-exec: the policy does not allow the variable 'FIXED'"),
    ] {
        let desc = refused(&mut client, "guest-exec", json!({"path": path, "arg": arg, "env": env}));
        assert_eq!(desc, expected);
    }
    assert!(!agent.log().contains("sshd"), "arguments may be secret");
}

#[test]
fn files_open_below_listed_places_and_nowhere_else() {
    let text = "[policy.file]\nread = ['@/in', '@/one']\nwrite = ['@/in/out']\n";
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("in/out")).unwrap();
        for name in ["in/a", "one", "secret"] {
            fs::write(dir.join(name), name).unwrap();
        }
        symlink("a", dir.join("in/inner")).unwrap();
        symlink("../secret", dir.join("in/up")).unwrap();
        symlink(dir.join("secret"), dir.join("in/absolute")).unwrap();
        symlink(dir.join("secret"), dir.join("in/out/link")).unwrap();
    };
    let Some(agent) = configured(text, prepare) else { return };
    let mut client = agent.client();
    let dir = agent.dir().to_str().unwrap().to_owned();
    let open = |name: &str, mode: &str| json!({"path": format!("{dir}/{name}"), "mode": mode});
    for (name, mode) in [
        ("in/a", "r"),
        ("in/./a", "rb"),
        ("in//inner", "r"),
        ("one", "r"),
        ("in/out/new", "w"),
        ("in/out/new", "r+"),
    ] {
        let handle = client.run("guest-file-open", open(name, mode)).unwrap();
        client.run("guest-file-close", json!({"handle": handle})).unwrap();
    }
    assert_eq!(fs::metadata(format!("{dir}/in/out/new")).unwrap().permissions().mode() & 0o777, 0o666);
    for (name, mode) in [
        ("secret", "r"),
        ("nonexistent", "r"),
        ("in/../secret", "r"),
        ("in/up", "r"),
        ("in/absolute", "r"),
        ("in/out/link", "w"),
        ("in/out/../../secret", "a"),
        ("in/a", "w"),
        ("in/a", "r+"),
        ("one", "w"),
        ("inn", "r"),
        ("one/", "a"),
    ] {
        let desc = refused(&mut client, "guest-file-open", open(name, mode));
        assert_eq!(
            desc,
            format!("failed to open file '{dir}/{name}' (mode: '{mode}'): not allowed by policy")
        );
    }
    for path in ["/etc/passwd", "/proc/self/root/etc/passwd", "in/a", ""] {
        let desc = refused(&mut client, "guest-file-open", json!({"path": path}));
        assert!(desc.ends_with("not allowed by policy"), "{desc}");
    }
    assert!(
        refused(&mut client, "guest-file-open", open("in/missing", "r"))
            .ends_with("No such file or directory")
    );
    assert_eq!(fs::read_to_string(format!("{dir}/secret")).unwrap(), "secret");
}

/// The place is a link that its owner turns elsewhere after the start.
#[test]
fn a_place_that_is_swapped_for_a_link_is_not_followed() {
    let text = "[policy.file]\nread = ['@/home/in']\n";
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("home/in")).unwrap();
        fs::create_dir(dir.join("secrets")).unwrap();
        fs::write(dir.join("home/in/f"), "public").unwrap();
        fs::write(dir.join("secrets/f"), "secret").unwrap();
    };
    let Some(agent) = configured(text, prepare) else { return };
    let mut client = agent.client();
    let path = agent.dir().join("home/in/f");
    client.run("guest-file-open", json!({"path": path})).unwrap();
    fs::rename(agent.dir().join("home/in"), agent.dir().join("home/old")).unwrap();
    symlink("../secrets", agent.dir().join("home/in")).unwrap();
    assert!(
        refused(&mut client, "guest-file-open", json!({"path": path})).ends_with("not allowed by policy")
    );
}

#[test]
fn a_channel_that_may_do_less_sees_nothing_of_the_others() {
    let text = "[[channel]]\nmethod = 'unix-listen'\npath = '@/sock'\nname = 'wide'\n[[channel]]\nmethod = 'unix-listen'\n\
                path = '@/narrow'\nname = 'narrow'\nmode = '0600'\n[policy]\nblock = ['guest-get-users']\n[policy.channel.narrow]\n\
                block = ['guest-get-time']\n[policy.channel.narrow.file]\nread = ['@/in']\n[policy.channel.narrow.exec]\n\
                allow = [{ program = '/bin/true' }]\n";
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let dir = setup.dir().to_owned();
    let place = |name: &str| dir.join(name);
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(place("in")).unwrap();
    fs::write(place("in/f"), "f").unwrap();
    fs::write(place("agent.toml"), text.replace('@', dir.to_str().unwrap())).unwrap();
    // `sock` is opened first, so the other one may be a moment late.
    let agent = setup.configured_channels().options(["-c".into(), place("agent.toml")]).start();
    agent.until("the second socket", |_| Client::connect(place("narrow")).is_ok());
    let (mut narrow, mut wide) = (Client::connect(place("narrow")).unwrap(), agent.client());
    assert_eq!(fs::metadata(place("narrow")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(narrow.refused("guest-get-time", json!({})).unwrap().0, "CommandNotFound");
    wide.run("guest-get-time", json!({})).unwrap();
    for client in [&mut narrow, &mut wide] {
        assert_eq!(client.refused("guest-get-users", json!({})).unwrap().0, "CommandNotFound");
    }
    let info = narrow.run("guest-info", json!({})).unwrap();
    let off = info["supported_commands"].as_array().unwrap().iter().filter(|entry| entry["enabled"] == false);
    assert_eq!(
        off.map(|entry| entry["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["waga-reload", "guest-get-users", "guest-get-time"]
    );
    // Handles and results of the one are not the other's to use.
    let handle = wide.run("guest-file-open", json!({"path": "/etc/passwd"})).unwrap();
    assert!(
        refused(&mut narrow, "guest-file-read", json!({"handle": handle})).contains("has not been found")
    );
    assert!(
        refused(&mut narrow, "guest-file-open", json!({"path": "/etc/passwd"}))
            .ends_with("not allowed by policy")
    );
    let own = narrow.run("guest-file-open", json!({"path": place("in/f")})).unwrap();
    assert_eq!(narrow.run("guest-file-read", json!({"handle": own})).unwrap()["count"], 1);
    assert!(refused(&mut wide, "guest-file-read", json!({"handle": own})).contains("has not been found"));
    let pid = wide
        .run("guest-exec", json!({"path": "echo", "arg": ["secret"], "capture-output": true}))
        .unwrap()["pid"]
        .clone();
    assert!(refused(&mut narrow, "guest-exec-status", json!({"pid": pid})).contains("does not exist"));
    ended(&mut wide, &pid);
}

/// What a host opened before the operator said no is no way around that.
#[test]
fn a_handle_from_before_a_reload_is_not_used_under_other_places() {
    let Some(agent) = configured("", |dir| fs::write(dir.join("f"), "f").unwrap()) else { return };
    let mut client = agent.client();
    let path = agent.dir().join("f");
    let mut open = |mode| client.run("guest-file-open", json!({"path": path, "mode": mode})).unwrap();
    let (read, written) = (open("r"), open("r+"));
    // What limits no file changes nothing.
    reload(&agent, "[policy]\nblock = ['guest-get-time']\n");
    agent.until("the reload", |_| agent.client().run("guest-get-time", json!({})).is_err());
    client.run("guest-file-read", json!({"handle": read, "count": 0})).unwrap();
    reload(&agent, "[policy.file]\nread = ['/etc/os-release']\n");
    agent.until("the reload", |_| agent.client().run("guest-get-time", json!({})).is_ok());
    for (command, arguments) in [
        ("guest-file-read", json!({"handle": read})),
        ("guest-file-write", json!({"handle": written, "buf-b64": "eA=="})),
        ("guest-file-seek", json!({"handle": read, "offset": 0, "whence": 0})),
    ] {
        assert_eq!(
            refused(&mut client, command, arguments.clone()),
            format!("handle '{}' was opened under another policy: open the file again", arguments["handle"])
        );
    }
    for handle in [read, written] {
        client.run("guest-file-close", json!({"handle": handle})).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), "f");
}

/// A channel is served under its old name until the restart, so its rules must not go.
#[test]
fn a_reload_that_drops_the_rules_of_a_served_channel_is_refused() {
    let table = |name: &str| {
        format!(
            "[[channel]]\nmethod = 'unix-listen'\npath = '@/sock'\nname = '{name}'\n[policy.channel.{name}]\nblock = ['guest-ping']\n"
        )
    };
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let dir = setup.dir().to_owned();
    let written = |name: &str| table(name).replace('@', dir.to_str().unwrap());
    fs::write(dir.join("agent.toml"), written("ops")).unwrap();
    let agent = setup.configured_channels().quiet().options(["-c".into(), dir.join("agent.toml")]).start();
    let mut client = agent.client();
    assert!(client.run("guest-ping", json!({})).is_err());
    reload(&agent, &written("operators"));
    agent.until("a word about it", |agent| agent.log().contains("not reloaded: the channel 'ops'"));
    assert!(client.run("guest-ping", json!({})).is_err());
    // Its rules alone may go.
    reload(&agent, written("ops").split("[policy").next().unwrap());
    agent.until("the reload", |_| agent.client().run("guest-ping", json!({})).is_ok());
}

/// `-m`, `-p` and passed sockets take the place of channels, but not their rules.
#[test]
fn rules_that_narrow_nothing_are_told_even_to_a_quiet_log() {
    let text = "[[channel]]\nmethod = 'isa-serial'\nname = 'ops'\n[policy]\nblock = ['guest-exce']\n\
                [policy.channel.ops]\nblock = ['guest-exec']\n";
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    for passed in [false, true] {
        let setup = program.setup().quiet();
        let path = setup.dir().join("agent.toml");
        fs::write(&path, text).unwrap();
        let socket = passed.then(|| UnixListener::bind(setup.dir().join("sock")).unwrap());
        let agent = setup.passing(socket).options(["-c".into(), path]).start();
        for expected in
            ["[policy.channel.ops]: no channel of this name is served", "did you mean 'guest-exec'?"]
        {
            agent.until(expected, |agent| agent.log().contains(expected));
        }
    }
}
