//! What a vendor does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::{COMMAND, Guest, manifest};

/// Whether this program is there; that it is not is said.
fn has(program: &str) -> bool {
    let found =
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|it| it.join(program).is_file());
    assert!(found || std::env::var_os("WAGA_TESTS").is_none_or(|it| it != "all"), "missing: {program}");
    found
}

#[test]
fn three_commands_make_a_file_that_stock_programs_verify() {
    let guest = Guest::new("");
    guest.write("word", "correct horse\n");
    let made = guest.does(&["keygen", "acme", "--password-file", "word"]);
    assert!(made.contains("RW") && made.contains("key id"), "{made}");
    let mode = |name: &str| fs::metadata(guest.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("acme.key"), mode("acme.pub")), (0o600, 0o644));
    assert!(guest.fails(&["keygen", "acme", "--no-password"]).contains("is there already"));

    let file = guest.pack("1.0.0", COMMAND, None);
    assert!(guest.fails(&["verify", &file, "-p", "acme.pub"]).contains("it is not signed"));
    guest.write("wrong", "incorrect\n");
    let wrong = guest.fails(&["sign", &file, "-k", "acme.key", "--password-file", "wrong"]);
    assert!(wrong.contains("acme.key"), "{wrong}");
    guest.does(&["sign", &file, "-k", "acme.key", "--password-file", "word"]);
    let said = guest.does(&["verify", &file, "-p", "acme.pub"]);
    assert!(said.contains("a 1.0.0 is whole and signed by key"), "{said}");
    let line = guest.read("acme.pub").lines().nth(1).unwrap().to_owned();
    guest.does(&["verify", &file, "-p", &line]);

    // By programs that are not ours.
    if has("minisign") && has("zstd") {
        let check = format!(
            "set -e; mkdir x; zstd -dc {file} | tar -C x -x; cd x; minisign -Vm SHA256SUMS -p ../acme.pub; sha256sum --check --strict SHA256SUMS"
        );
        let output = Command::new("sh").args(["-c", &check]).current_dir(guest.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("Trusted comment: pack a 1.0.0") && said.contains("a.wasm: OK"), "{said}");
    }
}

/// Whose key no machine with a network sees.
#[test]
fn a_signature_of_minisign_s_own_is_as_good() {
    if !has("minisign") {
        return;
    }
    let guest = Guest::new("");
    let file = guest.pack("1.0.0", COMMAND, None);
    guest.write("SHA256SUMS", guest.does(&["sign", &file, "--sums"]));
    let sign = "minisign -G -W -p m.pub -s m.key && minisign -S -s m.key -m SHA256SUMS";
    let output = Command::new("sh").args(["-c", sign]).current_dir(guest.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    guest.does(&["sign", &file, "--attach", "SHA256SUMS.minisig"]);
    guest.does(&["verify", &file, "-p", "m.pub"]);
    // Its key opens here, too.
    let file = guest.pack("1.0.1", COMMAND, None);
    guest.does(&["sign", &file, "-k", "m.key"]);
    guest.does(&["verify", &file, "-p", "m.pub"]);
    guest.write("etc/trust.d/them.pub", guest.read("m.pub"));
    guest.operates(&["install", &file, "--yes"]);
    assert!(
        guest.fails(&["sign", &file, "--attach", "m.pub"]).contains("its signature is none of minisign's")
    );
}

#[test]
fn the_same_folder_makes_the_same_bytes() {
    let guest = Guest::new("");
    let file = guest.pack("1.0.0", COMMAND, None);
    let first = fs::read(guest.path(&file)).unwrap();
    for (name, time) in [("src/a.wasm", 1), ("src/README.md", 2)] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        fs::File::options().write(true).open(guest.path(name)).unwrap().set_modified(time).unwrap();
        fs::set_permissions(guest.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    guest.does(&["pack", "src", "-o", "again.waga"]);
    assert_eq!(fs::read(guest.path("again.waga")).unwrap(), first);
    // Nothing that was not asked for is in it.
    guest.write("src/.git/config", "secret");
    guest.write("src/notes.txt", "secret");
    guest.does(&["pack", "src", "-o", "again.waga"]);
    assert_eq!(fs::read(guest.path("again.waga")).unwrap(), first);
}

#[test]
fn what_a_pack_says_has_to_be_so() {
    let guest = Guest::new("");
    guest.pack("1.0.0", COMMAND, None);
    let fault = |more: &str| {
        guest.write("src/pack.toml", manifest("1.0.0", more));
        guest.fails(&["pack", "src"])
    };
    for (more, expected) in [
        (
            "[[command]]\nname = 'guest-acme-b'\nmode = 'add'\n",
            "its component has no command guest-acme-b, which pack.toml names",
        ),
        ("[limits]\ntime = '10'\n", "pack.toml asks for what no agent.toml can say"),
        ("[limits]\ntme = '10s'\n", "unknown field `tme`"),
        ("[[permission]]\nread = ['proc']\nreason = 'r'\n", "'proc' is not an absolute path"),
        (
            "[[permission]]\ncommands = ['guest-shutdown']\nreason = 'r'\n",
            "'guest-shutdown' cannot be granted",
        ),
        (
            "[[permission]]\nexec = [{ program = 'sh' }]\nreason = 'r'\n",
            "pack.toml asks for what no agent.toml can say",
        ),
        ("agent = 'new'\n", "agent 'new'"),
    ] {
        let said = fault(more);
        assert!(said.contains(expected), "{said}: {expected}");
    }
    guest.write(
        "src/schema.json",
        r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false}"#,
    );
    let schema = "config-schema = 'schema.json'\n";
    guest.write("src/pack.toml", manifest("1.0.0", &format!("{schema}{COMMAND}[config]\nn = 1\n")));
    guest.does(&["pack", "src"]);
    for (config, expected) in [
        ("n = 'x'", "the configuration is not as schema.json has it: "),
        ("m = 1", "Parameter 'm' is unexpected"),
    ] {
        let said = fault(&format!("{schema}{COMMAND}[config]\n{config}\n"));
        assert!(said.contains(expected), "{said}");
    }
    // What it has and does not name is told.
    guest.write("src/pack.toml", manifest("1.0.0", ""));
    let output = guest.run(&["pack", "src"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("guest-acme-a, which pack.toml does not name"),
        "{said}"
    );
}

#[test]
fn scripts_have_the_commands_that_their_pack_names() {
    if !has_engine() {
        return;
    }
    let guest = Guest::new("");
    let manifest = manifest("1.0.0", COMMAND).replace("component = 'a.wasm'", "scripts = 'scripts'\n")
        + "[config]\nn = 1\n";
    guest.write("src/pack.toml", manifest);
    guest.write("src/README.md", "# a\n");
    guest.write(
        "src/scripts/a.js",
        "if (!config.n) throw 'no n';\nexports['guest-acme-a'] = () => 1;\nexports['guest-acme-b'] = () => 1;\n",
    );
    let output = guest.run(&["pack", "src"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("its scripts export guest-acme-b, which"), "{said}");
    guest.write("src/scripts/b.js", "exports['guest-acme-c'] = () => {\n");
    let said = guest.fails(&["pack", "src"]);
    assert!(said.contains("src: b.js:"), "{said}");
    fs::remove_file(guest.path("src/scripts/b.js")).unwrap();
    guest.write("src/scripts/a.js", "exports['guest-acme-x'] = () => 1;\n");
    let said = guest.fails(&["pack", "src"]);
    assert!(said.contains("none of its scripts exports guest-acme-a, which pack.toml names"), "{said}");
}

/// Whether the engine of scripts is beside the program; that it is not is said.
fn has_engine() -> bool {
    let engine = std::path::Path::new(env!("CARGO_BIN_EXE_waga-ext")).with_file_name("script.wasm");
    assert!(
        engine.exists() || std::env::var_os("WAGA_TESTS").is_none_or(|it| it != "all"),
        "missing: {engine:?}"
    );
    engine.exists()
}

#[test]
fn a_pack_is_shown_without_being_believed() {
    let guest = Guest::new("");
    guest.key("acme");
    let more = format!(
        "{COMMAND}[[permission]]\nread = ['/proc/meminfo']\nreason = 'What it tells.'\n[limits]\ntime = '1s'\n"
    );
    let file = guest.pack("1.0.0", &more, Some("acme"));
    let text = guest.does(&["inspect", &file]);
    for line in [
        "a 1.0.0 by Acme: Does something",
        "as it says itself",
        "to read /proc/meminfo",
        "    What it tells.",
        "add guest-acme-a",
        "time = \"1s\"",
        "guest-acme-a: func() -> u32",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let told: Value = serde_json::from_str(&guest.does(&["inspect", &file, "--json"])).unwrap();
    assert_eq!(told["pack"]["permission"], json!([{"read": ["/proc/meminfo"], "reason": "What it tells."}]));
    assert_eq!(told["component"]["commands"][0]["name"], "guest-acme-a");
    assert_eq!(told["files"].as_object().unwrap().len(), 3);
    guest.write("bad.waga", "PK");
    assert!(guest.fails(&["inspect", "bad.waga"]).contains("bad.waga: is no pack"));
}
