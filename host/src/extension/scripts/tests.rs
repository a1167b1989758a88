//! What becomes known of a folder, from what is in it and what its files export.

use std::fs;

use super::*;

fn names(names: &[&str]) -> Result<Vec<String>, String> {
    Ok(names.iter().map(|&name| name.to_owned()).collect())
}

/// A folder with these files, which export this.
fn known(
    dir: &Path,
    files: &[(&str, &str)],
    exports: Vec<Result<Vec<String>, String>>,
    before: Option<&Scripts>,
) -> Scripts {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    Scripts::of(read(dir).unwrap(), digest("engine"), "{}", exports, before)
}

fn told(scripts: &Scripts) -> Vec<(String, Kind)> {
    scripts.commands().map(|command| (command.name, command.kind)).collect()
}

#[test]
fn a_broken_file_keeps_its_commands_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("a.js", "a"), ("b.js", "b"), (".c.js", "c"), ("d.js~", "d"), ("README.md", "e")];
    let before = known(dir.path(), &files, vec![names(&["guest-a"]), names(&["guest-b", "guest-a"])], None);
    let handler = |name: &str| (name.to_owned(), Kind::Handler);
    assert_eq!(told(&before), [handler("guest-a"), handler("guest-b")]);
    assert_eq!(before.faults(), ["b.js: guest-a is defined by a.js already"]);
    assert_eq!(&*before.script("guest-b").unwrap().text, "b");
    assert!(before.is_still());
    assert_eq!(before.found("a.js", digest("a")), Some(names(&["guest-a"])));
    assert_eq!(before.found("a.js", digest("b")), None);

    let broken = || Err("a.js:1: no".to_owned());
    let now = known(dir.path(), &[("a.js", "a!")], vec![broken(), names(&["guest-b"])], Some(&before));
    assert!(!before.is_still());
    assert_eq!(told(&now), [("guest-a".into(), Kind::Refused("a.js:1: no".into())), handler("guest-b")]);
    assert!(now.script("guest-a").is_none());
    // Told by whoever reads the note of it.
    let text = serde_json::to_string(&now).unwrap();
    let noted: Scripts = serde_json::from_str(&text).unwrap();
    assert!(noted.is_of(dir.path(), digest("engine")) && !noted.is_of(dir.path(), digest("other")));
    assert!(noted.saw("{}") && !noted.saw("{\"a\":1}"));
    assert_eq!((told(&noted), noted.faults()), (told(&now), now.faults()));
    assert!(noted.script("guest-b").is_none());
}

#[test]
fn arguments_are_said_beside_a_file_or_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let number = r#"{"description": "D.", "properties": {"n": {"type": "number"}}}"#;
    let comment = "/** @param {string} s */\nexports[\"guest-b\"] = f;\n/** @param {Foo} s */ exports[\"guest-c\"] = f;";
    let files = [
        ("a.js", ""),
        ("a.json", number),
        ("b.js", comment),
        ("guest-d.json", number),
        ("b.json", "{"),
        ("other.json", "{}"),
        ("e.js", ""),
        ("e.json", r#"{"oneOf": []}"#),
    ];
    let exports =
        vec![names(&["guest-a"]), names(&["guest-b", "guest-c", "guest-d", "x"]), names(&["guest-e"])];
    let scripts = known(dir.path(), &files, exports, None);
    let fault = |command: &str, arguments: &str| {
        let fault = scripts.rule(command).unwrap().check(arguments.as_bytes());
        fault.err().map(|fault| fault.to_string())
    };
    assert!(fault("guest-a", r#"{"n":"x"}"#).unwrap().contains("expected: number"));
    assert!(fault("guest-d", r#"{"n":"x"}"#).unwrap().contains("expected: number"));
    assert_eq!(fault("guest-b", "{}").as_deref(), Some("Parameter 's' is missing"));
    assert_eq!(scripts.rule("guest-b").unwrap().names().collect::<Vec<_>>(), ["s"]);
    let faults = scripts.faults().join("\n");
    for expected in [
        "b.js:3: @param: 'Foo' is no type",
        "b.js: exports 'x', which cannot be a command's name",
        "e.json: the arguments of guest-e: 'oneOf' is not checked",
        "b.json: no script here defines a command of this name",
        "other.json: no script here",
    ] {
        assert!(faults.contains(expected), "{expected}: {faults}");
    }
    let kinds = told(&scripts);
    assert!(matches!(&kinds[2], (name, Kind::Refused(_)) if name == "guest-c"), "{kinds:?}");
    assert!(matches!(&kinds[4], (name, Kind::Refused(_)) if name == "guest-e"), "{kinds:?}");
}

#[test]
fn files_that_others_may_write_or_that_are_too_large_are_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let files = [("a.js", "a"), ("b.js", "b"), ("c.js", "c"), ("d.js", "d")];
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::set_permissions(dir.path().join("a.js"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(dir.path().join("b.js"), vec![b' '; (256 << 10) + 1]).unwrap();
    fs::write(dir.path().join("c.js"), b"\xff").unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.path().join("e.js")).unwrap();
    let sources = read(dir.path()).unwrap();
    let reasons: Vec<_> = sources.scripts.iter().map(|it| it.text.clone()).collect();
    let told = |at: usize| reasons[at].clone().unwrap_err();
    assert!(told(0).starts_with("a.js: ") && told(0).contains("666"), "{}", told(0));
    assert_eq!(told(1), "b.js: has 262145 bytes, and a script may have 262144");
    assert_eq!(told(2), "c.js: is not UTF-8 at byte 0");
    assert_eq!(reasons[3].as_deref(), Ok("d"));
    assert_eq!(told(4), "e.js: is not a regular file");

    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(read(dir.path()), Err(crate::extension::source::Fault::Refused(_))));
    let missing = dir.path().join("none");
    assert!(matches!(read(&missing), Err(crate::extension::source::Fault::Missing(_))));
    assert!(matches!(read(&dir.path().join("d.js")), Err(crate::extension::source::Fault::Refused(_))));
}
