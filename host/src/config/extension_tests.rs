//! What files say of extensions, and what they must not say.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::extension::GrantedProgram;
use super::tests::System;
use super::{CallLimits, Code, Extension, Extensions, OnFailure, Runtime};
use crate::policy::Origin;

/// Without the places, which differ from file to file.
pub(super) fn placeless(extensions: &Extensions) -> Vec<Extension> {
    let nowhere = || Origin::option("");
    let place = |extension: &Extension| {
        let placeless = |names: &Vec<(Arc<str>, Origin)>| -> Vec<_> {
            names.iter().map(|(name, _)| (name.clone(), nowhere())).collect()
        };
        Extension {
            origin: nowhere(),
            add: extension.add.as_ref().map(placeless),
            overrides: placeless(&extension.overrides),
            wraps: placeless(&extension.wraps),
            commands: placeless(&extension.commands),
            ..extension.clone()
        }
    };
    extensions.list.iter().map(place).collect()
}

#[test]
fn every_key_is_read_and_what_is_not_said_is_as_by_default() {
    let system = System::new(&[
        (
            "agent.toml",
            "[extensions]\nruntime = 'pulley'\ncache = 'c'\nstate = 's'\nstack = 65536\ncompile = { memory = '2GiB', time = '1m 30s' }\nmodule-size = '1MiB'\n\
             [extension.z]\nmodule = 'm'\nadd = ['guest-acme-b', 'guest-acme-a']\n\
             config = { n = 1, f = 1.5, b = true, s = \"a\\\"\", l = [1, 'x', { y = 07:32:00 }], d = 1979-05-27T07:32:00Z }\n\
             read = ['/proc/meminfo', '/srv//x/./']\nwrite = ['/srv/out']\n\
             limits = { cpu = '5ms', time = '1h', memory = '4GiB', message = '64MiB', host-calls = 0, concurrency = 8, log = 0, state = '16MiB' }\n\
             exec = [{ program = '/bin/a' }, { program = '/bin/b', args = ['x', '**'], env = ['N=1'] }]\n\
             [extension.a]\nmodule = '/m'\n",
        ),
        ("agent.d/x.toml", "[extensions]\nruntime = 'native'\n[extension.b2-]\nmodule = '/n'\nadd = []\n"),
    ]);
    let mut config = system.resolve("waga").unwrap().config;
    let extensions = &config.extensions;
    assert_eq!(
        (extensions.runtime, extensions.cache.as_path(), extensions.stack),
        (Runtime::Native, Path::new("c"), 64 << 10)
    );
    assert_eq!(
        (extensions.compile_memory, extensions.compile_time, extensions.module_size),
        (2 << 30, Duration::from_secs(90), 1 << 20)
    );
    let limits = CallLimits {
        cpu: Duration::from_millis(5),
        time: Duration::from_secs(3600),
        time_over: Duration::from_secs(3600),
        memory: 4 << 30,
        message: 64 << 20,
        host_calls: 0,
        concurrency: 8,
        log: 0,
        state: 16 << 20,
    };
    let json =
        r#"{"b":true,"d":"1979-05-27T07:32:00Z","f":1.5,"l":[1,"x",{"y":"07:32:00"}],"n":1,"s":"a\""}"#;
    let extension = |name: &str, module: &str, add: Option<&[&str]>, config: &str, limits| {
        let names = |names: &[&str]| names.iter().map(|&name| (name.into(), Origin::option(""))).collect();
        Extension {
            name: name.into(),
            origin: Origin::option(""),
            code: Code::Module(module.into()),
            enabled: true,
            add: add.map(names),
            overrides: Vec::new(),
            wraps: Vec::new(),
            commands: Vec::new(),
            env: Vec::new(),
            freeze_hooks: false,
            while_frozen: false,
            on_failure: OnFailure::Error,
            config: config.to_owned(),
            read: Vec::new(),
            write: Vec::new(),
            exec: Vec::new(),
            limits,
        }
    };
    let granted = |program: &str, args: &[&str], env: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let (args, env) = (words(args), words(env));
        let rule = waga_builtins::exec::Rule::new(program, &args, &env).unwrap();
        GrantedProgram { program: program.to_owned(), args, env, rule }
    };
    let first = extension("z", "m", Some(&["guest-acme-b", "guest-acme-a"]), json, limits);
    let mut expected = [
        Extension {
            read: vec!["/proc/meminfo".into(), "/srv//x/./".into()],
            write: vec!["/srv/out".into()],
            ..first
        },
        extension("a", "/m", None, "{}", CallLimits::default()),
        extension("b2-", "/n", Some(&[]), "{}", CallLimits::default()),
    ];
    expected[0].exec = vec![granted("/bin/a", &[], &[]), granted("/bin/b", &["x", "**"], &["N=1"])];
    assert_eq!(placeless(extensions), expected);
    let place =
        |origin: &crate::policy::Origin| origin.to_string().replace(system.dir.path().to_str().unwrap(), "@");
    let list = &extensions.list;
    assert_eq!(place(&list[0].origin), "@/agent.toml:8:12: [extension.z]");
    assert_eq!(place(&list[2].origin), "@/agent.d/x.toml:3:12: [extension.b2-]");
    let names = list[0].add.as_ref().unwrap();
    assert_eq!(place(&names[1].1), "@/agent.toml:10:24: [extension.z] add");
    config.make_absolute();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.extensions.cache, here.join("c"));
    assert_eq!(config.extensions.state, here.join("s"));
    assert_eq!(config.extensions.list[0].code.path(), here.join("m"));
    // qemu-ga has none.
    assert_eq!(system.resolve("qemu-ga").unwrap().config.extensions, Extensions::default());
}

#[test]
fn what_is_dumped_reads_back_to_the_same() {
    let system = System::new(&[(
        "agent.toml",
        "[extensions]\nruntime = 'pulley'\ncache = 'c'\nstate = 's'\nstack = '1MiB'\ncompile.time = '1s 1ms'\nmodule-size = 1025\n\
         [extension.b.config.deep]\ndate = 1979-05-27\nfloat = 0.1\nlarge = 1e300\ntables = [{ x = 1 }, { y = 'z' }]\n[extension.b.config]\nempty = {}\n'a key' = [[], [1]]\n\
         [extension.b]\nmodule = 'm'\nadd = ['guest-acme-a']\noverride = ['guest-exec']\nwrap = ['guest-acme-b', 'guest-get-time']\n\
         commands = ['guest-acme-c', 'guest-get-users']\nenv = { A = '', B = \"x\\n\" }\nfreeze-hooks = true\nwhile-frozen = true\non-failure = 'builtin'\n\
         read = ['/a', '/b/']\nwrite = ['/c d']\nlimits = { cpu = '1ns', memory = 65537, time = '2s', state = 0 }\n\
         exec = [{ program = '/bin/a', args = ['?', '**'], env = [] }, { program = '/bin/b', env = ['A=', 'B=b=\"'] }]\n\
         [extension.a]\nmodule = 'm'\nconfig = {}\n",
    )]);
    let before = system.resolve("waga").unwrap();
    let text = before.dump().unwrap();
    fs::write(system.dir.path().join("dumped.toml"), &text).unwrap();
    let after = system.resolve("waga -c @/dumped.toml").unwrap();
    assert_eq!(after.dump().unwrap(), text);
    let (before, after) = (before.config.extensions, after.config.extensions);
    assert_eq!(placeless(&before), placeless(&after));
    assert_eq!(before.list[0].limits.cpu, Duration::from_nanos(1));
    let rest = |extensions: Extensions| Extensions { list: Vec::new(), ..extensions };
    assert_eq!(rest(before), rest(after));
    // Without any, nothing is said of them.
    assert!(!System::new(&[]).resolve("waga").unwrap().dump().unwrap().contains("extension"));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_way_out() {
    let in_one = |line: &str| format!("[extension.x]\nmodule = 'x'\n{line}");
    let mut cases = vec![
        (
            "[extensions]\nruntime = 'nativ'".to_owned(),
            "2:11: unknown runtime 'nativ': use one of auto, native, pulley; did you mean 'native'?",
        ),
        ("[extensions]\ncache = ''".to_owned(), "2:9: a cache needs a folder"),
        ("[extensions]\nstate = ''".to_owned(), "2:9: state needs a folder"),
        (
            "[extensions]\nstack = '64KB'".to_owned(),
            "2:9: '64KB' is no size: write \"512KiB\", \"32MiB\", \"1GiB\" or a number of bytes",
        ),
        (
            "[extensions]\nstack = -1".to_owned(),
            "2:9: a size is wanted, \"512KiB\" or a number of bytes for example",
        ),
        (
            "[extensions]\nstack = '9MiB'".to_owned(),
            "2:9: 9MiB is out of range: 'stack' is from 64KiB to 8MiB",
        ),
        (
            "[extensions]\ncompile.memory = 1".to_owned(),
            "2:18: 1 is out of range: 'compile.memory' is from 16MiB to 64GiB",
        ),
        ("[extensions]\ncompile = { time = '2h' }".to_owned(), "2:20: '2h' is too long: 1h is the most"),
        ("[extensions]\nmodule-size = 0".to_owned(), "2:15: 0 is out of range"),
        ("[extensions]\nstak = 0".to_owned(), "2:1: unknown field `stak`, expected one of "),
        ("[extension.x]".to_owned(), "1:12: [extension.x] needs the key 'module'"),
        ("[extension.x]\nmodule = ''".to_owned(), "2:10: a module needs a file"),
        (
            "[extension.X]\nmodule = 'x'".to_owned(),
            "1:12: 'X' is no name for an extension: write small letters, digits and '-'",
        ),
        ("[extension.'a\\b']\nmodule = 'x'".to_owned(), "1:12: 'a\\\\b' is no name"),
        (
            "[extension]\nmodule = 'x'".to_owned(),
            "2:10: invalid type: string \"x\", expected a table of its own for each extension, [extension.NAME]",
        ),
        ("[[extension]]\nmodule = 'x'".to_owned(), "1:1: invalid type: sequence, expected a table"),
        (
            "[extension.x]\nscripts = 'p'\nmodule = 'm'".to_owned(),
            "2:11: [extension.x] has both 'module' and 'scripts': give each a table of its own",
        ),
        ("[extension.x]\nscripts = ''".to_owned(), "2:11: scripts need a folder"),
    ];
    for (key, expected) in [
        ("override = ['guest-ping']", "3:13: 'guest-ping' is protected: no extension may provide it"),
        ("wrap = ['guest-fsfreeze-thaw']", "3:9: 'guest-fsfreeze-thaw' is protected"),
        ("wrap = ['x']", "3:9: 'x' is no name for a command"),
        ("override = ['guest-exec', 'guest-exec']", "3:27: 'guest-exec' stands twice"),
        (
            "add = ['guest-a']\nwrap = ['guest-a']",
            "4:9: 'guest-a' is also named by @/agent.toml:3:8: [extension.x] add: an extension provides it in one way",
        ),
        (
            "commands = ['guest-exec']",
            "3:13: 'guest-exec' cannot be granted: extensions may be let call commands",
        ),
        ("commands = ['waga-get-extensions']", "3:13: 'waga-get-extensions' cannot be granted"),
        ("commands = ['guest-sync']", "3:13: 'guest-sync' cannot be granted"),
        ("commands = ['Guest']", "3:13: 'Guest' is no name for a command"),
        ("commands = ['guest-a', 'guest-a']", "3:24: 'guest-a' stands twice"),
        ("exec = [{ program = 'true' }]", "3:9: 'true' is not an absolute path"),
        ("exec = [{ program = '/bin/*' }]", "3:9: '/bin/*' is a pattern"),
        ("exec = [{ program = '/a' }, { args = [] }]", "3:29: missing field `program`"),
        ("exec = [{ program = '/a', args = ['**', 'x'] }]", "3:9: '**' stands for all further arguments"),
        (
            "exec = [{ program = '/a', env = ['A=1', 'TZ'] }]",
            "3:9: the variable 'TZ' of '/a' has no value: write NAME=value",
        ),
        ("exec = { program = '/a' }", "3:8: invalid type: map, expected a sequence"),
        ("env = { 'A=' = '' }", "3:16: 'A=' cannot be a variable of an environment"),
        ("env = { A = 1 }", "3:13: invalid type: integer `1`, expected a string"),
        ("freeze-hooks = 'yes'", "3:16: invalid type: string \"yes\", expected a boolean"),
        ("while-frozen = 1", "3:16: invalid type: integer `1`, expected a boolean"),
        ("on-failure = 'x'", "3:14: unknown on-failure 'x': use one of error, builtin, builtin-always"),
        ("limits.state = '17MiB'", "3:16: 17MiB is out of range: 'limits.state' is from 0 to 16MiB"),
        ("overide = []", "3:1: unknown field `overide`, expected one of "),
        ("limits = { cpus = '1s' }", "3:12: unknown field `cpus`, expected one of "),
        ("limits.cpu = '0s'", "3:14: '0s' is no time"),
        ("limits.time = '1h 1ns'", "3:15: '1h 1ns' is too long: 1h is the most"),
        ("limits.memory = '63KiB'", "3:17: 63KiB is out of range: 'limits.memory' is from 64KiB to 4GiB"),
        ("limits.memory = '4097MiB'", "3:17: 4097MiB is out of range"),
        ("limits.message = '65MiB'", "3:18: 65MiB is out of range: 'limits.message' is from 1KiB to 64MiB"),
        ("limits.concurrency = 0", "3:22: 0 is out of range: 'limits.concurrency' is from 1 to 8"),
        ("limits.concurrency = 9", "3:22: 9 is out of range"),
        ("limits.host-calls = -1", "3:21: invalid value: integer `-1`"),
        ("limits.log = '65MiB'", "3:14: 65MiB is out of range"),
        ("read = ['proc/meminfo']", "3:9: 'proc/meminfo' is not an absolute path: write it from '/' on"),
        ("read = ['']", "3:9: '' is not an absolute path"),
        ("read = ['/ok', '/srv/../etc']", "3:16: '/srv/../etc' contains '..': write the path that it means"),
        ("write = ['/..']", "3:10: '/..' contains '..'"),
        ("write = [\"/s\\u0000\"]", "3:10: '/s\\0' contains a NUL character"),
        (
            "write = ['//./']",
            "3:10: '//./' is everything: name the files and folders that [extension.x] needs in 'write'",
        ),
        ("read = ['/']", "3:9: '/' is everything"),
        ("read = ['/a', '/a']", "3:15: '/a' stands twice"),
        ("read = '/a'", "3:8: invalid type: string"),
        ("add = ['guest-a', 'guest-a']", "3:19: 'guest-a' stands twice"),
        ("add = ['acme-a']", "3:8: 'acme-a' is no name for a command: write \"guest-VENDOR-NAME\""),
        ("add = [\"guest-\\n\"]", "3:8: 'guest-\\n' is no name for a command"),
        ("add = ['guest-ping']", "3:8: 'guest-ping' is protected: no extension may provide it"),
        ("add = ['guest-sync']", "3:8: 'guest-sync' is protected"),
        ("add = ['guest-fsfreeze-later']", "3:8: 'guest-fsfreeze-later' is protected"),
        ("add = ['waga-reload']", "3:8: 'waga-reload' is protected"),
        ("config = { a = [1, { b = nan }] }", "3:10: 'config.a[1].b' is NaN, which JSON cannot say"),
        ("config = { a = -inf }", "3:10: 'config.a' is -inf, which JSON cannot say"),
        ("config = []", "3:10: invalid type: sequence, expected a map"),
    ] {
        cases.push((in_one(key), expected));
    }
    for (text, expected) in cases {
        let error = System::new(&[("agent.toml", &text)]).resolve("waga").unwrap_err();
        assert!(
            error.starts_with(&format!("@/agent.toml:{expected}")),
            "{text}\n{error}\nexpected {expected}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    let hint = System::new(&[("agent.toml", &in_one("modul = 1"))]).resolve("waga").unwrap_err();
    assert!(hint.ends_with("; did you mean `module`?"), "{hint}");
}

#[test]
fn a_name_is_given_once() {
    let one = "[extension.x]\nmodule = 'x'\n";
    let system = System::new(&[("agent.toml", one), ("agent.d/a.toml", &format!("\n{one}"))]);
    assert_eq!(
        system.resolve("waga").unwrap_err(),
        "@/agent.d/a.toml:2:12: [extension.x]: it is declared already, at @/agent.toml:1:12: [extension.x]; give one of them another name"
    );
}

/// Keys, each with values right and wrong; the first one is right.
const KEYS: &[(&str, &[&str])] = &[
    ("module", &["'/m'", "\"m\\u0000\"", "''"]),
    ("add", &["[]", "['guest-acme-a', \"guest-acme-b\"]", "['guest-info']", "'x'"]),
    (
        "config.a",
        &[
            "1",
            "-0.0",
            "1e-300",
            "1979-05-27",
            "07:32:00.5",
            "nan",
            "[[], [{ x = \"\\n\" }]]",
            "{}",
            "5e-324",
        ],
    ),
    ("config.'b c'", &["\"\\u0000\\\"\"", "9223372036854775807", "{ d = { e.f = [] } }", "true"]),
    ("config.\"$__toml_private_datetime\"", &["'x'", "'1979-05-27'", "1"]),
    ("read", &["['/proc/meminfo', '/a b/']", "[]", "['/']", "['/..']", "'/a'", "['a']"]),
    ("write", &["['/a', \"/\\u00e9\"]", "[]", "[1]", "[\"/\\u0000\"]"]),
    ("limits.cpu", &["'1ns'", "'59m 59s 999ms'", "'0s'", "1"]),
    ("limits.time", &["'1h'", "'2h'", "'1month'"]),
    ("limits.memory", &["'4GiB'", "65536", "65537", "'4097MiB'", "-1", "1.5"]),
    ("limits.message", &["'1KiB'", "'x'"]),
    ("limits.host-calls", &["0", "9223372036854775807"]),
    ("limits.concurrency", &["8", "9"]),
    ("limits.log", &["0", "'1B'"]),
    ("limits.state", &["'16MiB'", "0", "'17MiB'"]),
    ("exec", &["[{ program = '/a', args = ['**'], env = ['A=$'] }]", "[]", "[{}]", "[{ program = 'a' }]"]),
    ("wrap", &["[]"]),
];

proptest! {
    #[test]
    fn any_extension_is_read_and_dumped_or_refused_with_its_place(
        keys in prop::sample::subsequence(KEYS, 1..KEYS.len()),
        choices in prop::collection::vec(0_usize..30, KEYS.len()),
        another_first in any::<bool>(),
    ) {
        // The first value is likely, for one that is wrong ends it all.
        let line = |((key, values), choice): (&(&str, &[&str]), usize)| {
            format!("{key} = {}\n", values.get(choice).unwrap_or(&values[0]))
        };
        let lines: String = keys.iter().zip(choices).map(line).collect();
        let first = if another_first { "[extension.x]\nmodule = 'x'\n" } else { "[extensions]\nstack = '1MiB'\n" };
        super::oracle::check(&format!("{first}[extension.a]\n{lines}"));
    }
}

/// What the parser lets through is bounded, and what it does not is a fault: neither is the end of the program.
#[test]
fn settings_of_any_depth_are_read_or_refused() {
    for deep in [10, 60, 1_000, 100_000] {
        for config in [
            format!("config = {{ a = {}{} }}", "[".repeat(deep), "]".repeat(deep)),
            format!("config.{}b = 1", "a.".repeat(deep)),
            format!("[extension.x.config.{}b]\n", "a.".repeat(deep)),
        ] {
            let system = System::new(&[("agent.toml", &format!("[extension.x]\nmodule = 'x'\n{config}"))]);
            match system.resolve("waga") {
                Ok(resolved) => assert!(resolved.dump().unwrap().contains("module")),
                Err(error) => assert!(error.contains("recursi"), "{error}"),
            }
        }
    }
}
