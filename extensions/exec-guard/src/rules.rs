//! Which programs, with what: the operator's rules, and whether a request fits one. They are as those of `[policy.exec]`, but that a program
//! is named by its path alone: `guest-exec` looks a bare name up in PATH, and so would decide itself which program is meant.

use serde::Deserialize;

use crate::rate::Rate;
use crate::request::Request;

/// What the starts of all programs together are kept as.
pub const ALL: &str = "all";

/// The last pattern that stands for any further arguments.
const REST: &str = "**";

/// `config` of the extension's table in `agent.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(default)]
    allow: Vec<Rule>,
    /// Of all programs together.
    pub rate: Option<Rate>,
}

/// A program, and with what it may be started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    program: String,
    /// A pattern for each argument.
    #[serde(default)]
    args: Vec<String>,
    /// Names of variables that the request may set.
    #[serde(default)]
    env: Vec<String>,
    /// Whether it may be given input.
    #[serde(default)]
    input: bool,
    pub rate: Option<Rate>,
}

/// Why a rule does not admit a request for its program; later ones are nearer to what it allows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Denied {
    Arguments,
    Variable(String),
    Input,
}

impl Rules {
    /// Reads the configuration, which is JSON; says what is wrong with it.
    pub fn read(config: &str) -> Result<Self, String> {
        let rules: Self = serde_json::from_str(config).map_err(|why| why.to_string())?;
        rules.allow.iter().try_for_each(Rule::check)?;
        rules.rate.map_or(Ok(()), Rate::check)?;
        Ok(rules)
    }

    /// The first rule that admits a request; why none does.
    pub fn admit(&self, request: &Request) -> Result<&Rule, String> {
        let path: String = request.path.chars().take(200).collect();
        if !path.starts_with('/') {
            return Err(format!("does not allow '{path}': programs are named by their whole path"));
        }
        let mut nearest = None;
        for rule in self.allow.iter().filter(|rule| rule.program == request.path) {
            match rule.admit(request) {
                Ok(()) => return Ok(rule),
                Err(denied) => nearest = nearest.max(Some(denied)),
            }
        }
        Err(match nearest {
            None => format!("does not allow '{path}'"),
            Some(Denied::Arguments) => format!("does not allow these arguments of '{path}'"),
            Some(Denied::Variable(name)) => format!("does not allow the variable '{name}' for '{path}'"),
            Some(Denied::Input) => format!("does not allow input-data for '{path}'"),
        })
    }

    /// The rate of what starts are kept of, if it is limited still.
    pub fn rate_of(&self, key: &str) -> Option<Rate> {
        match key {
            ALL => self.rate,
            rule => self.allow.iter().find(|it| it.key() == rule)?.rate,
        }
    }
}

impl Rule {
    /// What its starts are kept as: the same as long as its program and patterns are.
    pub fn key(&self) -> String {
        // FNV-1a: it has to tell rules apart, not to withstand those who write them.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for text in [&self.program].into_iter().chain(&self.args) {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("rule {hash:016x}")
    }

    fn check(&self) -> Result<(), String> {
        let program = &self.program;
        let mut parts = program.split('/');
        let is_plain = parts.next() == Some("") && parts.all(|part| !["", ".", ".."].contains(&part));
        if !is_plain || program.contains(['*', '?', '\0']) {
            return Err(format!("'{program}' is not the whole, plain path of a program"));
        }
        if self.args.iter().rev().skip(1).any(|pattern| pattern == REST) {
            return Err(format!(
                "'{REST}' stands for all further arguments of '{program}': it is the last one"
            ));
        }
        if let Some(name) = self.env.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("'{name}' is no name of a variable of '{program}'"));
        }
        self.rate.map_or(Ok(()), Rate::check)
    }

    fn admit(&self, request: &Request) -> Result<(), Denied> {
        let (patterns, has_rest) = match self.args.split_last() {
            Some((last, patterns)) if last == REST => (patterns, true),
            _ => (&*self.args, false),
        };
        let args = &request.args;
        let fits = args.len() == patterns.len() || (has_rest && args.len() > patterns.len());
        if !fits || !patterns.iter().zip(args).all(|(pattern, arg)| matches(pattern, arg)) {
            return Err(Denied::Arguments);
        }
        for (nth, entry) in request.env.iter().enumerate() {
            let (name, is_set) = entry.split_once('=').map_or((&**entry, false), |(name, _)| (name, true));
            let twice = |other: &String| other.split_once('=').is_some_and(|(other, _)| other == name);
            // Which of two the program takes is its own choice.
            if !is_set || !self.env.iter().any(|known| known == name) || request.env[..nth].iter().any(twice)
            {
                return Err(Denied::Variable(name.chars().take(100).collect()));
            }
        }
        match request.has_input && !self.input {
            true => Err(Denied::Input),
            false => Ok(()),
        }
    }
}

/// Whether a text is one of a pattern's: `*` stands for any run of characters, `?` for one, and nothing escapes. In time that is at most the
/// product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last `*`, and where in the text it was tried last.
    let mut again = None;
    loop {
        let before = (pattern.clone(), text.clone());
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = before.1;
                again = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => {
                // The `*` takes one more, if there is one.
                let Some((behind, from)) = &mut again else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (behind.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, args: &[&str]) -> Request {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Request { path: path.to_owned(), args, env: Vec::new(), has_input: false }
    }

    #[test]
    fn patterns_have_two_signs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/ b\nc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "aba", true),
            ("*a", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("a?c", "abc", true),
            ("?*", "", false),
            ("*?", "a", true),
            ("**", "ab", true),
            ("A", "a", false),
            ("\\*", "*", false),
            ("[ab]", "a", false),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        // It does not explode.
        assert!(
            !matches(&"*a".repeat(30), &"a".repeat(29)) && !matches(&"*ab".repeat(20), &"a".repeat(20_000))
        );
    }

    const RULES: &str = r#"{"allow": [
        {"program": "/usr/bin/systemctl", "args": ["restart", "acme-*"]},
        {"program": "/usr/bin/systemctl", "args": ["status", "**"], "env": ["LANG", "TERM"], "input": true},
        {"program": "/bin/true"}
    ]}"#;

    #[test]
    fn a_request_fits_one_rule() {
        let rules = Rules::read(RULES).unwrap();
        let systemctl = "/usr/bin/systemctl";
        for (path, args) in [
            (systemctl, &["restart", "acme-web"][..]),
            (systemctl, &["restart", "acme-"]),
            (systemctl, &["status"]),
            (systemctl, &["status", "a", "b"]),
            ("/bin/true", &[]),
        ] {
            assert!(rules.admit(&request(path, args)).is_ok(), "{path} {args:?}");
        }
        for (path, args, expected) in [
            (systemctl, &["restart"][..], "does not allow these arguments of '/usr/bin/systemctl'"),
            (systemctl, &["restart", "sshd"], "does not allow these arguments of '/usr/bin/systemctl'"),
            (
                systemctl,
                &["restart", "acme-a", "sshd"],
                "does not allow these arguments of '/usr/bin/systemctl'",
            ),
            (systemctl, &[], "does not allow these arguments of '/usr/bin/systemctl'"),
            ("/bin/true", &[""], "does not allow these arguments of '/bin/true'"),
            ("/bin/sh", &["-c", "id"], "does not allow '/bin/sh'"),
            ("/bin/TRUE", &[], "does not allow '/bin/TRUE'"),
            ("/bin/../bin/true", &[], "does not allow '/bin/../bin/true'"),
            ("//bin/true", &[], "does not allow '//bin/true'"),
            ("/bin/true/", &[], "does not allow '/bin/true/'"),
            ("/bin/true ", &[], "does not allow '/bin/true '"),
            ("true", &[], "does not allow 'true': programs are named by their whole path"),
            ("./true", &[], "does not allow './true': programs are named by their whole path"),
            ("", &[], "does not allow '': programs are named by their whole path"),
        ] {
            let said = rules.admit(&request(path, args)).map(|_| ()).unwrap_err();
            assert_eq!(said, expected, "{path} {args:?}");
        }
        let long = request(&format!("/{}", "x".repeat(5000)), &[]);
        assert!(rules.admit(&long).unwrap_err().len() < 300);
    }

    #[test]
    fn variables_and_input_are_the_rules_too() {
        let rules = Rules::read(RULES).unwrap();
        let with = |env: &[&str], has_input| {
            let env = env.iter().map(|entry| (*entry).to_owned()).collect();
            let request = Request { env, has_input, ..request("/usr/bin/systemctl", &["status"]) };
            rules.admit(&request).map(|_| ()).err()
        };
        assert_eq!(with(&["LANG=C", "TERM="], true), None);
        for env in [&["LD_PRELOAD=/x"][..], &["LANG=C", "LANG=C"], &["LANG"], &["=x"], &["lang=C"], &[""]] {
            assert!(with(env, false).unwrap().starts_with("does not allow the variable '"), "{env:?}");
        }
        let input = Request { has_input: true, ..request("/bin/true", &[]) };
        assert_eq!(rules.admit(&input).unwrap_err(), "does not allow input-data for '/bin/true'");
    }

    #[test]
    fn a_configuration_that_is_not_understood_is_none() {
        assert!(Rules::read("{}").unwrap().admit(&request("/bin/true", &[])).is_err());
        for (config, expected) in [
            (r#"{"allowed": []}"#, "unknown field `allowed`"),
            (r#"{"allow": [{}]}"#, "missing field `program`"),
            (r#"{"allow": [{"program": "/a", "arg": []}]}"#, "unknown field `arg`"),
            (r#"{"allow": [{"program": "a"}]}"#, "'a' is not the whole, plain path"),
            (r#"{"allow": [{"program": "/"}]}"#, "'/' is not"),
            (r#"{"allow": [{"program": "/a/../b"}]}"#, "is not the whole"),
            (r#"{"allow": [{"program": "/a/*"}]}"#, "is not the whole"),
            (r#"{"allow": [{"program": "/a", "args": ["**", "b"]}]}"#, "'**' stands for all further"),
            (r#"{"allow": [{"program": "/a", "env": ["A=b"]}]}"#, "'A=b' is no name"),
            (r#"{"allow": [{"program": "/a", "rate": {"calls": 0, "seconds": 1}}]}"#, "calls = 0"),
            (r#"{"rate": {"calls": 1}}"#, "missing field `seconds`"),
            (r#"{"rate": {"calls": 1, "seconds": 0}}"#, "seconds = 0"),
            (r#"{"rate": "1/s"}"#, "invalid type"),
        ] {
            let said = Rules::read(config).unwrap_err();
            assert!(said.contains(expected), "{config}: {said}");
        }
    }

    #[test]
    fn rules_are_told_apart_by_program_and_patterns() {
        let rules = Rules::read(RULES).unwrap();
        let mut keys: Vec<String> = rules.allow.iter().map(Rule::key).collect();
        assert!(keys.iter().all(|key| key.len() < 100 && rules.rate_of(key).is_none()));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 3);
    }
}
