//! What an operator does.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::{COMMAND, Guest, tree};

/// A guest that trusts acme, and packs of acme's to come.
fn guest() -> Guest {
    let guest = Guest::new("");
    guest.key("acme");
    guest.trust("acme");
    guest
}

const TABLE: &str = "etc/agent.d/pack-a.toml";

#[test]
fn a_pack_is_installed_switched_and_removed() {
    let guest = guest();
    let more = format!("{COMMAND}[[permission]]\nread = ['/proc/meminfo']\nreason = 'What it tells.'\n");
    let file = guest.pack("1.0.0", &more, Some("acme"));
    // Nobody is there to agree.
    let said = guest.cannot(&["install", &file]);
    for line in
        ["signed by   acme, key", "to read /proc/meminfo", "What it tells.", "add guest-acme-a", "--yes"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!guest.path(TABLE).exists());
    guest.operates(&["install", &file, "--yes"]);
    let list = guest.list();
    assert_eq!(
        (&list[0]["name"], &list[0]["version"], &list[0]["enabled"]),
        (&json!("a"), &json!("1.0.0"), &json!(true))
    );
    assert_eq!(list[0]["signer"]["name"], "acme");
    assert!(guest.operates(&["list"]).contains("a     1.0.0    on     acme       -"));
    assert!(guest.operates(&["doctor"]).contains("a 1.0.0: is whole, and would run"));
    assert!(guest.operates(&["install", &file, "--yes"]).contains("a 1.0.0 is installed already"));

    guest.operates(&["disable", "a"]);
    assert!(guest.read(TABLE).contains("enabled = false"));
    assert_eq!(guest.list()[0]["enabled"], false);
    assert!(guest.operates(&["disable", "a"]).contains("already"));
    guest.operates(&["enable", "a"]);
    assert!(!guest.read(TABLE).contains("enabled"));
    assert!(guest.cannot(&["disable", "b"]).contains("no pack 'b' is installed (a); did you mean 'a'?"));
    assert!(guest.cannot(&["remove", "../etc"]).contains("is no name of a pack"));

    guest.operates(&["remove", "a"]);
    assert_eq!(guest.list(), json!([]));
    assert!(!guest.path(TABLE).exists() && !guest.path("packs/a").exists());
    assert!(guest.operates(&["list"]).contains("no pack is installed"));
}

#[test]
fn another_version_comes_and_goes_with_what_was_changed() {
    let guest = guest();
    let reads = |paths: &str| format!("{COMMAND}[[permission]]\nread = [{paths}]\nreason = 'Needed.'\n");
    let first = guest.pack("1.0.0", &reads("'/proc/meminfo', '/proc/stat'"), Some("acme"));
    let second = guest.pack("1.1.0", &reads("'/proc/meminfo', '/proc/stat', '/proc/uptime'"), Some("acme"));
    let third = guest.pack("1.2.0", &reads("'/proc/uptime'"), Some("acme"));
    assert!(
        guest.cannot(&["upgrade", &second, "--yes"]).contains("waga-ext install a-1.1.0.waga installs it")
    );
    guest.operates(&["install", &first, "--yes"]);
    assert!(
        guest
            .cannot(&["install", &second, "--yes"])
            .contains("waga-ext upgrade a-1.1.0.waga puts 1.1.0 in its place")
    );
    assert!(guest.cannot(&["rollback", "a"]).contains("there is no version of a before 1.0.0"));
    // The operator takes something away.
    let narrowed = guest.read(TABLE).replace("\"/proc/meminfo\", ", "");
    guest.write(TABLE, &narrowed);

    let output = guest.run(&["upgrade", &second, "--yes", "-c", "etc"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("asks anew   to read /proc/uptime\n                Needed.\n"), "{said}");
    assert!(guest.read(TABLE).contains("read = [\"/proc/stat\", \"/proc/uptime\"]"), "{}", guest.read(TABLE));
    assert_eq!(guest.list()[0]["previous"], "1.0.0");
    for (file, version) in [(&first, "1.0.0"), (&second, "1.1.0")] {
        let said = guest.cannot(&["upgrade", file, "--yes"]);
        assert!(
            said.contains(&format!("and {version} is not newer: waga-ext rollback a goes back to 1.0.0")),
            "{said}"
        );
    }

    guest.operates(&["rollback", "a"]);
    assert_eq!(guest.read(TABLE), narrowed);
    assert_eq!(
        (&guest.list()[0]["version"], &guest.list()[0]["previous"]),
        (&json!("1.0.0"), &json!("1.1.0"))
    );
    guest.operates(&["rollback", "a"]);
    guest.operates(&["upgrade", &third, "--yes"]);
    // Two versions are kept.
    let mut kept: Vec<_> =
        fs::read_dir(guest.path("packs/a")).unwrap().map(|it| it.unwrap().file_name()).collect();
    kept.sort();
    let kept: Vec<_> = kept.iter().map(|it| it.to_str().unwrap()).collect();
    assert!(
        kept[..2] == ["1.1.0", "1.2.0"] && kept.len() == 3 && kept[2].ends_with("-1.1.0.toml"),
        "{kept:?}"
    );
    assert!(guest.operates(&["doctor"]).contains("a 1.2.0: is whole"));
}

#[test]
fn who_signed_it_decides() {
    let guest = guest();
    guest.key("other");
    let unsigned = guest.pack("1.0.0", COMMAND, None);
    let said = guest.cannot(&["install", &unsigned, "--yes"]);
    assert!(
        said.contains("it is not signed: [extensions] trust = \"require\" lets only signed packs in"),
        "{said}"
    );
    let strange = guest.pack("1.0.1", COMMAND, Some("other"));
    let said = guest.cannot(&["install", &strange, "--yes"]);
    assert!(
        said.contains("which is in no file of") && said.contains("as NAME.pub (acme.pub so far)"),
        "{said}"
    );
    let known = guest.pack("1.0.2", COMMAND, Some("acme"));
    guest.operates(&["install", &known, "--yes"]);
    // Another signer's does not take its place, however trusted.
    guest.trust("other");
    let changed = guest.pack("1.1.0", COMMAND, Some("other"));
    let said = guest.cannot(&["upgrade", &changed, "--yes"]);
    assert!(
        said.contains("another signer's pack does not take its place") && said.contains("remove the pack"),
        "{said}"
    );
    assert_eq!(guest.list()[0]["version"], "1.0.2");
    // A key that is trusted no more takes what it signed along.
    fs::remove_file(guest.path("etc/trust.d/acme.pub")).unwrap();
    assert!(guest.operates(&["list"]).contains("refused"));
    assert!(guest.cannot(&["doctor"]).contains("is in no file of"));
    let config = guest.read("etc/agent.toml");
    guest.write("etc/agent.toml", format!("{config}trust = 'off'\n"));
    let newer = guest.pack("1.0.3", COMMAND, Some("acme"));
    let said = guest.cannot(&["upgrade", &newer, "--yes"]);
    assert!(said.contains("put acme.pub back there to go on with its packs"), "{said}");
    guest.write("etc/agent.toml", config);
    guest.trust("acme");
    guest.operates(&["doctor"]);
    // What is revoked is out, whatever is asked of signatures.
    let digest = guest.list()[0]["digest"].as_str().unwrap().to_owned();
    guest.write("etc/trust.d/revoked", format!("{digest} leaks memory\n"));
    assert!(guest.cannot(&["doctor"]).contains("leaks memory"));
    guest.operates(&["remove", "a"]);
    assert!(guest.cannot(&["install", &known, "--yes"]).contains("it is revoked"));
    guest.write("etc/trust.d/revoked", "not a digest\n");
    assert!(guest.cannot(&["install", &known, "--yes"]).contains("nobody knows what is revoked"));
    fs::remove_file(guest.path("etc/trust.d/revoked")).unwrap();

    let lenient = Guest::new("trust = 'warn'");
    let unsigned = lenient.pack("1.0.0", COMMAND, None);
    let output = lenient.run(&["install", &unsigned, "--yes", "-c", "etc"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("beware: it is not signed"), "{said}");
    assert!(lenient.operates(&["doctor"]).contains("it is not signed by a key that was trusted"));
}

#[test]
fn what_would_not_run_does_not_come_in() {
    let guest = guest();
    guest.write(
        "etc/agent.d/own.toml",
        "[extension.other]\nmodule = '/nonexistent'\nadd = ['guest-acme-a']\n",
    );
    let file = guest.pack("1.0.0", COMMAND, Some("acme"));
    let said = guest.cannot(&["install", &file, "--yes"]);
    assert!(said.contains("a-1.0.0.waga is not installed: the agent would not let it add guest-acme-a: extension other has a command"), "{said}");
    fs::remove_file(guest.path("etc/agent.d/own.toml")).unwrap();
    // Folders that others may write to are no place to read from.
    guest.write("shared/x", "");
    let shared = guest.path("shared").display().to_string();
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let file = guest.pack(
        "1.0.1",
        &format!("{COMMAND}[[permission]]\nread = ['{shared}/x']\nreason = 'r'\n"),
        Some("acme"),
    );
    let said = guest.cannot(&["install", &file, "--yes"]);
    assert!(said.contains("the agent would not run it: "), "{said}");
    let file = guest.pack("1.0.2", &format!("agent = '>=9'\n{COMMAND}"), Some("acme"));
    assert!(guest.cannot(&["install", &file, "--yes"]).contains("it is for waga >=9, and this is"));
    assert!(!guest.path("packs/a").exists() && !guest.path("etc/agent.d/pack-a.toml").exists());
    // A file of that name that is somebody else's.
    let file = guest.pack("1.0.3", COMMAND, Some("acme"));
    guest.write(TABLE, "[policy]\nblock = []\n");
    assert!(guest.cannot(&["install", &file, "--yes"]).contains("it is not this program's to write over"));
    fs::remove_file(guest.path(TABLE)).unwrap();
    // A damaged file.
    let mut bytes = fs::read(guest.path(&file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    guest.write("damaged.waga", &bytes);
    guest.cannot(&["install", "damaged.waga", "--yes"]);
    let left: Vec<_> = tree(&guest.path("packs")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [".lock", ".of"]);
}

#[test]
fn what_was_changed_since_is_found() {
    let guest = guest();
    guest.operates(&["install", &guest.pack("1.0.0", COMMAND, Some("acme")), "--yes"]);
    let (module, other) = (guest.path("packs/a/1.0.0/a.wasm"), crate::component("other"));
    let good = fs::read(&module).unwrap();
    fs::write(&module, other).unwrap();
    let said = guest.cannot(&["doctor"]);
    assert!(said.contains("a.wasm is not as it was installed"), "{said}");
    // The same pack once more mends it, and its table stays.
    let table = guest.read(TABLE).replace("add =", "on-failure = \"builtin\"\nadd =");
    guest.write(TABLE, &table);
    guest.operates(&["install", "a-1.0.0.waga", "--yes"]);
    assert_eq!((fs::read(&module).unwrap(), guest.read(TABLE)), (good, table));
    guest.operates(&["doctor"]);
    // By another signer it is not the same, however trusted: nobody is asked here.
    guest.key("other");
    guest.trust("other");
    guest.does(&["pack", "src", "-o", "resigned.waga"]);
    guest.does(&["sign", "resigned.waga", "--key", "other.key"]);
    let said = guest.cannot(&["install", "resigned.waga", "--yes"]);
    assert!(said.contains("another signer's pack does not take its place"), "{said}");
    // Another one of the same version does not.
    fs::rename(guest.path("a-1.0.0.waga"), guest.path("good.waga")).unwrap();
    let other = guest.pack("1.0.0", &format!("{COMMAND}[limits]\ntime = '1s'\n"), Some("acme"));
    assert!(guest.cannot(&["install", &other, "--yes"]).contains("another pack is installed as a 1.0.0"));
    guest.write("packs/a/1.0.0/more.txt", "x");
    assert!(guest.cannot(&["doctor"]).contains("more.txt is not as it was installed"));
    fs::remove_file(guest.path("packs/a/1.0.0/more.txt")).unwrap();
    guest.write("packs/a/0.9.0/left", "x");
    assert!(guest.operates(&["doctor"]).contains("packs/a/0.9.0 is of no pack that is installed"));
}

#[test]
fn an_operator_is_asked_and_may_say_no() {
    let guest = guest();
    let file = guest.pack("1.0.0", COMMAND, Some("acme"));
    // A terminal of its own, by a program that has one.
    let install = format!("{} install {file} -c etc", env!("CARGO_BIN_EXE_waga-ext"));
    for (answer, there) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let mut script = Command::new("script");
        script.args(["-qec", &install, "/dev/null"]).current_dir(guest.path(""));
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Install it? [y/N]"), "{said}");
        assert_eq!(guest.path(TABLE).exists(), there, "{said}");
    }
}

/// What makes an image does this, and the guest needs no compiler.
#[test]
fn a_cache_is_filled_beforehand() {
    let guest = guest();
    guest.operates(&["install", &guest.pack("1.0.0", COMMAND, Some("acme")), "--yes"]);
    fs::remove_dir_all(guest.path("cache")).unwrap();
    let said = guest.operates(&["compile", "--all"]);
    assert_eq!(said, "a: compiled\n");
    let files = tree(&guest.path("cache"));
    assert!(files.iter().any(|(name, _)| name.ends_with(".cwasm")), "{files:?}");
    guest.operates(&["compile", "--all", "--runtime", "pulley"]);
    assert!(tree(&guest.path("cache")).iter().any(|(name, _)| name.ends_with("-pulley.cwasm")));
    guest.write("etc/agent.d/own.toml", "[extension.other]\nmodule = '/nonexistent'\n");
    assert!(guest.cannot(&["compile", "--all"]).contains("waga-ext: other: "));
    let read_only = guest.does(&["compile", "--all", "-c", "etc/agent.toml"]);
    assert!(read_only.contains("declares no extension"), "{read_only}");
}

/// What an operator reads when asked to agree is what the pack is, whatever the pack would have him see.
#[test]
fn a_pack_does_nothing_to_a_terminal() {
    let guest = guest();
    let more =
        format!("{COMMAND}[config]\n\"k\\u001b[5A\" = 1\nv = \"x\\nasks for    nothing\\n\\u009b\\u202e\"\n");
    let file = guest.pack("1.0.0", &more, Some("acme"));
    for said in [guest.does(&["inspect", &file]), guest.cannot(&["install", &file])] {
        assert!(
            !said.chars().any(|letter| letter.is_control() && letter != '\n') && !said.contains('\u{202e}'),
            "{said}"
        );
        assert_eq!(said.lines().filter(|line| line.starts_with("asks for")).count(), 1, "{said}");
        assert!(said.contains("k\\u{1b}[5A"), "{said}");
    }
}

/// A table is the operator's: who may read it, whose it is, and what is written into it at any time.
#[test]
fn a_table_stays_its_owner_s() {
    use std::os::unix::fs::PermissionsExt;
    let guest = guest();
    let files = ["1.0.0", "1.1.0"].map(|version| guest.pack(version, COMMAND, Some("acme")));
    guest.operates(&["install", &files[0], "--yes"]);
    let mode = |name: &str| fs::metadata(guest.path(name)).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(guest.path(TABLE), fs::Permissions::from_mode(0o600)).unwrap();
    guest.operates(&["disable", "a"]);
    assert_eq!(mode(TABLE), 0o600);
    guest.operates(&["enable", "a"]);
    guest.operates(&["upgrade", &files[1], "--yes"]);
    assert_eq!((mode(TABLE), mode("packs/a/saved-000001-1.0.0.toml")), (0o600, 0o600));
    // Whatever umask somebody has, the agent of another user may look, and nobody else change anything.
    assert_eq!((mode("packs/a/1.1.0"), mode("packs/a/1.1.0/a.wasm")), (0o755, 0o644));

    // One that is a link to where it is kept is not to become a file of its own unseen.
    fs::rename(guest.path(TABLE), guest.path("kept.toml")).unwrap();
    std::os::unix::fs::symlink(guest.path("kept.toml"), guest.path(TABLE)).unwrap();
    assert!(guest.cannot(&["disable", "a"]).contains("is a link"));
    fs::rename(guest.path("kept.toml"), guest.path(TABLE)).unwrap();

    // While somebody is asked, somebody may write.
    let newer = guest.pack("1.2.0", COMMAND, Some("acme"));
    let change = format!("printf '# mine\\n' >> {}; echo y", guest.path(TABLE).display());
    let upgrade = format!(
        "({change}) | script -qec '{} upgrade {newer} -c etc' /dev/null",
        env!("CARGO_BIN_EXE_waga-ext")
    );
    // The answer is read after the question, which is after the table was.
    let upgrade = upgrade.replace("(printf", "(sleep 1; printf");
    let output = Command::new("sh").args(["-c", &upgrade]).current_dir(guest.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("was changed meanwhile, and is as it was changed"), "{said}");
    assert!(guest.read(TABLE).ends_with("# mine\n") && guest.list()[0]["version"] == "1.1.0");
}

/// Who else may write to it, and whose it is, is asked before anything is written there.
#[test]
fn a_store_is_one_configuration_s_and_nobody_else_s() {
    use std::os::unix::fs::PermissionsExt;
    let guest = guest();
    let file = guest.pack("1.0.0", COMMAND, Some("acme"));
    guest.operates(&["install", &file, "--yes"]);
    guest.write("other/agent.toml", guest.read("etc/agent.toml"));
    for words in [&["install", &file, "--yes", "-c", "other"][..], &["remove", "a", "-c", "other"]] {
        assert!(guest.fails(words).contains("/etc: give this configuration another one"), "{words:?}");
    }
    assert!(guest.operates(&["doctor"]).contains("is whole"));
    assert!(guest.fails(&["list", "-c", "none"]).contains("none is no folder"));
    // What is left of one whose table is gone goes when it is asked for.
    fs::remove_file(guest.path(TABLE)).unwrap();
    assert!(guest.cannot(&["enable", "a"]).contains("no pack 'a' is installed"));
    assert!(guest.path("packs/a/1.0.0").exists());
    assert!(guest.operates(&["remove", "a"]).contains("what was left of it is removed"));
    assert!(!guest.path("packs/a").exists());

    fs::set_permissions(guest.path("packs"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(guest.path("packs/.lock")).unwrap();
    guest.write("victim", "precious");
    std::os::unix::fs::symlink(guest.path("victim"), guest.path("packs/.lock")).unwrap();
    assert!(guest.cannot(&["install", &file, "--yes"]).contains("others than its owner may write to it"));
    fs::set_permissions(guest.path("packs"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(guest.cannot(&["install", &file, "--yes"]).contains(".lock"));
    assert_eq!(guest.read("victim"), "precious");
}
