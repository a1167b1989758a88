//! Rules against requests that try to be something else, and patterns against an obvious oracle.

use proptest::prelude::*;

use super::*;

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn rule(program: &str, args: &[&str], env: &[&str]) -> Rule {
    Rule::new(program, &owned(args), &owned(env)).unwrap()
}

fn ask(layers: &[Rules], path: &str, args: &[&str], env: &[&str]) -> std::result::Result<String, String> {
    match admit(layers, path, &owned(args), &owned(env)) {
        Ok(admitted) => {
            let Admitted { path, env } = admitted.unwrap();
            Ok([vec![path], env].concat().join(" "))
        }
        Err(error) => {
            assert!(error.is_refusal());
            Err(error.desc.strip_prefix("guest-exec: the policy does not allow ").unwrap().to_owned())
        }
    }
}

fn refused(text: &str) -> std::result::Result<String, String> {
    Err(text.to_owned())
}

#[test]
fn a_program_is_meant_by_its_path_or_its_bare_name() {
    let layers = [Rules(vec![rule("/usr/bin/systemctl", &["**"], &[])])];
    for path in ["/usr/bin/systemctl", "systemctl"] {
        assert_eq!(ask(&layers, path, &[], &[]), Ok("/usr/bin/systemctl".into()));
    }
    for path in [
        "",
        "/",
        "/bin/sh",
        "sh",
        "./systemctl",
        "bin/systemctl",
        "/usr//bin/systemctl",
        "/usr/bin/systemctl/",
        "/usr/bin/../bin/systemctl",
        "/usr/bin/systemctl\0",
        "systemctl\0",
        "systemct",
        "Systemctl",
        "*",
        "/usr/bin/*",
        " systemctl",
    ] {
        assert_eq!(ask(&layers, path, &[], &[]), Err(format!("'{path}'")));
    }
    assert_eq!(ask(&[Rules::default()], "/bin/true", &[], &[]), refused("'/bin/true'"));
    assert_eq!(admit(&[], "x", &[], &[]).unwrap(), None);
}

#[test]
fn every_argument_has_its_pattern() {
    let none = [Rules(vec![rule("/bin/p", &[], &[])])];
    let two = [Rules(vec![rule("/bin/p", &["restart", "acme-*"], &[])])];
    let rest = [Rules(vec![rule("/bin/p", &["-?", "**"], &[])])];
    let cases: [(&[Rules], &[&str], bool); 14] = [
        (&none, &[], true),
        (&none, &[""], false),
        (&two, &["restart", "acme-x"], true),
        (&two, &["restart", "acme-"], true),
        (&two, &["restart", "acme"], false),
        (&two, &["restart"], false),
        (&two, &["restart", "acme-x", ""], false),
        (&two, &["restart", "acme-x\0--now"], false),
        (&two, &["Restart", "acme-x"], false),
        (&rest, &["-v"], true),
        (&rest, &["-v", "", "x y", "--"], true),
        (&rest, &["-\u{e9}"], true),
        (&rest, &["-vv"], false),
        (&rest, &[], false),
    ];
    for (layers, args, admitted) in cases {
        let expected = if admitted { Ok("/bin/p".into()) } else { refused("these arguments of '/bin/p'") };
        assert_eq!(ask(layers, "/bin/p", args, &[]), expected, "{args:?}");
    }
}

#[test]
fn the_environment_is_what_the_rule_says() {
    let layers = [Rules(vec![rule("/bin/p", &[], &["PATH=/bin", "EMPTY=", "LANG", "TZ"])])];
    let fixed = "/bin/p PATH=/bin EMPTY=";
    for (env, expected) in [
        (&[][..], Ok(fixed.to_owned())),
        (&["LANG=C", "TZ=a=b"], Ok(format!("{fixed} LANG=C TZ=a=b"))),
        (&["LANG=C", "LD_PRELOAD=/x"], refused("the variable 'LD_PRELOAD'")),
        (&["PATH=/evil"], refused("the variable 'PATH'")),
        (&["LANG=C", "LANG=C"], refused("the variable 'LANG' twice")),
        (&["LANG"], refused("an entry of the environment without '='")),
        (&["LANG=C", "secret"], refused("an entry of the environment without '='")),
        (&["=x"], refused("the variable ''")),
        (&["lang=x"], refused("the variable 'lang'")),
        (&["LANG=x\0LD_PRELOAD=/x"], refused("the variable 'LANG'")),
        (&["LD_PRELOAD\0=x"], refused("the variable 'LD_PRELOAD\0'")),
    ] {
        assert_eq!(ask(&layers, "p", &[], env), expected, "{env:?}");
    }
}

#[test]
fn a_rule_admits_as_a_whole_and_the_nearest_says_why_not() {
    let layers = [Rules(vec![
        rule("/bin/p", &["*"], &["A=1"]),
        rule("/bin/p", &["x"], &["A"]),
        rule("/opt/p", &["y", "y"], &[]),
    ])];
    assert_eq!(ask(&layers, "p", &["x"], &[]), Ok("/bin/p A=1".into()));
    assert_eq!(ask(&layers, "p", &["x"], &["A=2"]), Ok("/bin/p A=2".into()));
    assert_eq!(ask(&layers, "p", &["y"], &["A=2"]), refused("the variable 'A'"));
    assert_eq!(ask(&layers, "p", &["y", "y"], &[]), Ok("/opt/p".into()));
    assert_eq!(ask(&layers, "/bin/p", &["y", "y"], &[]), refused("these arguments of '/bin/p'"));
}

#[test]
fn every_layer_must_admit_the_same_program() {
    let wide = Rules(vec![rule("/a/p", &["**"], &["X=1", "Y=1", "L", "M"]), rule("/b/p", &["**"], &["M"])]);
    let narrow = Rules(vec![rule("/b/p", &["b"], &[]), rule("/a/p", &["a*"], &["X=2", "L", "Z=3"])]);
    let both = [wide.clone(), narrow];
    assert_eq!(ask(&both, "p", &["ab"], &["L=l"]), Ok("/a/p Y=1 X=2 Z=3 L=l".into()));
    assert_eq!(ask(&both, "p", &["b"], &[]), Ok("/b/p".into()));
    assert_eq!(ask(&both, "/a/p", &["b"], &[]), refused("these arguments of '/a/p'"));
    assert_eq!(ask(&both, "p", &["a"], &["M=m"]), refused("the variable 'M'"));
    assert_eq!(ask(&[wide, Rules::default()], "p", &[], &[]), refused("'p'"));
}

#[test]
fn faults_of_rules_name_what_is_wrong() {
    let fault = |program: &str, args: &[&str], env: &[&str]| {
        Rule::new(program, &owned(args), &owned(env)).unwrap_err()
    };
    for (program, text) in [
        ("", "not an absolute path"),
        ("sh", "not an absolute path"),
        ("./sh", "not an absolute path"),
        ("/", "not a plain path"),
        ("/bin/../sh", "not a plain path"),
        ("/bin/./sh", "not a plain path"),
        ("/bin//sh", "not a plain path"),
        ("/bin/sh/", "not a plain path"),
        ("/bin/s\0h", "not a plain path"),
        ("/bin/*", "named one by one"),
    ] {
        assert!(fault(program, &[], &[]).contains(text), "{program}");
    }
    assert!(fault("/p", &["**", "x"], &[]).contains("write it last"));
    assert!(fault("/p", &["**", "**"], &[]).contains("write it last"));
    assert!(fault("/p", &[], &["=x"]).contains("no variable"));
    assert!(fault("/p", &[], &[""]).contains("no variable"));
    assert!(fault("/p", &[], &["A\0"]).contains("no variable"));
    assert!(fault("/p", &[], &["A=1", "A"]).contains("stands twice"));
}

#[test]
fn hostile_arguments_take_no_time() {
    let pattern = format!("*{}b*{}b", "a".repeat(16), "a".repeat(16));
    let layers = [Rules(vec![rule("/p", &[&pattern, "**"], &[])])];
    let argument = "a".repeat(MOST_BYTES / 8);
    assert_eq!(ask(&layers, "p", &[&argument], &[]), refused("these arguments of 'p'"));
    let argument = "a".repeat(MOST_BYTES + 1);
    assert_eq!(ask(&layers, "p", &[&argument], &[]), refused("these arguments of 'p'"));
}

/// What a pattern means, as plainly as it can be said.
fn oracle(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', pattern)), _) => (0..=text.len()).any(|taken| oracle(pattern, &text[taken..])),
        (Some((one, pattern)), Some((first, text))) => (*one == '?' || one == first) && oracle(pattern, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_mean_what_the_oracle_says(pattern in "[ab?*\\\\\u{e9}]{0,7}", text in "[abA?*\\\\\u{e9}]{0,7}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(WildMatch::new(&pattern).matches(&text), oracle(&chars(&pattern), &chars(&text)));
    }
}

#[test]
fn by_its_path_alone_a_program_gets_the_environment_of_the_first_rule_that_fits() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let rule = |args: &[&str], env: &[&str]| Rule::new("/bin/x", &words(args), &words(env)).unwrap();
    let rules = Rules(vec![rule(&["a"], &["N=1"]), rule(&["*", "**"], &["N=2", "M=3"])]);
    let ask = |path: &str, args: &[&str]| rules.environment(path, &words(args));
    assert_eq!(ask("/bin/x", &["a"]), Ok(words(&["N=1"])));
    assert_eq!(ask("/bin/x", &["b", "c", ""]), Ok(words(&["N=2", "M=3"])));
    assert_eq!(ask("/bin/x", &[]), Err(Unlisted::Arguments));
    assert_eq!(ask("/bin/x", &["a\0"]), Err(Unlisted::Arguments));
    for path in ["x", "/bin/y", "/bin/x/", "/bin//x", ""] {
        assert_eq!(ask(path, &["a"]), Err(Unlisted::Program), "{path}");
    }
    assert_eq!(Rules::default().environment("/bin/x", &[]), Err(Unlisted::Program));
}
