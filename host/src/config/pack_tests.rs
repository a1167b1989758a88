//! Extensions that are from packs: what their tables say, and what the store has.

use std::fs;

use super::extension_tests::placeless;
use super::tests::System;

/// What of a pack holds is in the store; a table only names it.
#[test]
fn a_pack_is_what_the_store_has_of_it() {
    let receipt = |name: &str, signer: &str| {
        format!(
            r#"{{"name": "{name}", "version": "1.0.0", "publisher": "Acme", "description": "d", "digest": "{}", "archive": "{}",{signer} "component": "a.wasm", "files": {{}}}}"#,
            "0".repeat(64),
            "1".repeat(64)
        )
    };
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let signed = format!(r#" "signer": {{"name": "acme", "key": "{key}"}},"#);
    let write = |system: &System, path: &str, text: &str| {
        let path = system.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let table = "[extension.a]\npack = 'a'\nversion = '1.0.0'\nenabled = false\nadd = ['guest-acme-a']\n";
    let system = |trust: &str| {
        let system = System::new(&[]);
        let dir = system.dir.path().display();
        let text =
            format!("[extensions]\npacks = '{dir}/packs'\ntrusted-keys = '{dir}/keys'\n{trust}{table}");
        write(&system, "agent.toml", &text);
        system
    };
    let found = |system: &System| {
        let mut config = system.config("waga");
        config.find_packs();
        let pack = config.extensions.list[0].code.pack().unwrap().clone();
        (
            pack.installed
                .map(|installed| installed.code.strip_prefix(&config.extensions.packs).unwrap().to_owned()),
            config.doubts,
        )
    };

    let strict = system("");
    assert_eq!(found(&strict).0.unwrap_err(), "pack a 1.0.0: is not installed (waga-ext install PACK)");
    write(&strict, "packs/a/1.0.0/receipt.json", &receipt("b", ""));
    assert!(found(&strict).0.unwrap_err().ends_with("receipt.json is of b 1.0.0"));
    write(&strict, "packs/a/1.0.0/receipt.json", &receipt("a", &signed));
    assert!(found(&strict).0.unwrap_err().contains("is in no file of"));
    write(&strict, "keys/acme.pub", key);
    assert_eq!(found(&strict), (Ok("a/1.0.0/a.wasm".into()), vec![]));
    let mut config = strict.config("waga");
    config.find_packs();
    let extension = &config.extensions.list[0];
    assert!(
        !extension.enabled && extension.code.home() == config.extensions.packs.join("a/E7620F1842B4E81F")
    );
    // It reads back to the same.
    let dump = strict.resolve("waga").unwrap().dump().unwrap();
    for line in ["pack = \"a\"", "version = \"1.0.0\"", "enabled = false"] {
        assert!(dump.contains(line), "{dump}");
    }
    let again = System::new(&[("agent.toml", &dump)]);
    assert_eq!(placeless(&again.config("waga").extensions), placeless(&strict.config("waga").extensions));
    write(&strict, "keys/revoked", &format!("{} a hole\n", "0".repeat(64)));
    assert!(found(&strict).0.unwrap_err().ends_with("a hole"));

    let lenient = system("trust = 'warn'\n");
    write(&lenient, "packs/a/1.0.0/receipt.json", &receipt("a", ""));
    let (code, doubts) = found(&lenient);
    assert!(code.is_ok() && doubts[0].starts_with("pack a 1.0.0: it is not signed by a key"), "{doubts:?}");
    let off = system("trust = 'off'\n");
    write(&off, "packs/a/1.0.0/receipt.json", &receipt("a", ""));
    assert_eq!(found(&off), (Ok("a/1.0.0/a.wasm".into()), vec![]));
}

#[test]
fn what_is_wrong_with_a_pack_s_table_is_told_with_its_place() {
    for (text, fault) in [
        (
            "pack = 'a'",
            "2:8: [extension.x] needs the key 'version', the one of the pack that is to run: waga-ext list tells which there are",
        ),
        ("pack = '../a'\nversion = '1.0.0'", "2:8: '../a' is no name of a pack"),
        ("pack = 'a'\nversion = '../1'", "3:11: '../1' is no version, as 1.2.0 is one"),
        (
            "version = '1.0.0'\nmodule = '/m'",
            "2:11: [extension.x] has a 'version' and no 'pack' that it is of",
        ),
        (
            "pack = 'a'\nversion = '1.0.0'\nmodule = '/m'",
            "2:8: [extension.x] has both 'module' and 'pack': give each a table of its own",
        ),
    ] {
        let system = System::new(&[("agent.toml", &format!("[extension.x]\n{text}\n"))]);
        assert_eq!(system.resolve("waga").unwrap_err(), format!("@/agent.toml:{fault}"));
    }
    let system = System::new(&[("agent.toml", "[extensions]\ntrust = 'requires'\n")]);
    assert_eq!(
        system.resolve("waga").unwrap_err(),
        "@/agent.toml:2:9: unknown trust 'requires': use one of require, warn, off; did you mean 'require'?"
    );
}

/// A folder may stand in the place of `/etc/waga`, its keys included; and what would come of a file can be asked before it is written.
#[test]
fn a_folder_is_a_configuration() {
    let module = |name: &str| format!("[extension.{name}]\nmodule = '/{name}'\n");
    let system = System::new(&[("agent.toml", &module("one")), ("agent.d/b.toml", &module("two"))]);
    let names = |config: &super::Config| {
        config.extensions.list.iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    let mut cli = crate::cli::Cli { name: crate::cli::Name::Waga, config: None, options: Default::default() };
    cli.config = Some(system.dir.path().to_owned());
    let config = super::Config::load(&cli, &super::Places::system()).unwrap().config;
    assert_eq!(names(&config), ["one", "two"]);
    assert_eq!(config.extensions.trusted_keys, system.dir.path().join("trust.d"));
    let of = |name: &str, text: Option<&str>| {
        let path = system.dir.path().join("agent.d").join(name);
        let proposed = super::Proposed { path, text: text.map(str::to_owned) };
        super::Config::of_folder(system.dir.path(), Some(&proposed)).map(|config| names(&config))
    };
    assert_eq!(of("a.toml", Some(&module("new"))).unwrap(), ["one", "new", "two"]);
    assert_eq!(of("b.toml", None).unwrap(), ["one"]);
    assert_eq!(of("b.toml", Some(&module("new"))).unwrap(), ["one", "new"]);
    assert!(of("a.toml", Some("x")).unwrap_err().to_string().contains("agent.d/a.toml:1:"));
}
