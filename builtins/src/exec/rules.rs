//! Which programs a caller may start: the operator's rules, and what a request becomes under them.
//!
//! Where rules apply, a program is run by its path alone (PATH is never searched), with arguments that fit the rule's patterns, and an
//! environment that holds what the rules say and nothing of the agent's. What a refusal says never quotes an argument, which may be a
//! secret, and lists no rule.

#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use wildmatch::WildMatch;

use crate::error::{Error, Result};
use crate::qapi::shorten;

/// The last pattern that stands for any further arguments.
const REST: &str = "**";

/// More bytes of arguments than the kernel takes (a quarter of the stack's limit, 6 MiB at most): what cannot run need not be compared.
const MOST_BYTES: usize = 8 << 20;

/// A layer of rules; one of them must admit the program, its arguments and its environment. None: no program at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

/// A program that may be started, with which arguments and which environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    program: String,
    /// One pattern for each argument.
    args: Vec<WildMatch>,
    /// Whether any arguments may follow.
    rest: bool,
    /// Variables that are always set: name and value.
    set: Vec<(String, String)>,
    /// Variables that the request may set.
    pass: Vec<String>,
}

impl Rule {
    /// A rule for the program at the absolute path `program`.
    ///
    /// `args`: one pattern for each argument, in which `*` stands for any run of characters and `?` for one; nothing else is special and
    /// nothing escapes (a literal `*` is matched by `?`). A last pattern `**` stands for any further arguments. None: no arguments.
    ///
    /// `env`: `NAME=value` is always set, `NAME` may be set by the request. All else of the environment is empty.
    ///
    /// # Errors
    /// What is wrong with which entry, and the way out.
    pub fn new(program: &str, args: &[String], env: &[String]) -> std::result::Result<Self, String> {
        check_program(program)?;
        let (args, rest) = match args.split_last() {
            Some((last, args)) if last == REST => (args, true),
            _ => (args, false),
        };
        if args.iter().any(|pattern| pattern == REST) {
            return Err(format!(
                "'{REST}' stands for all further arguments of '{program}': write it last, or '*' for one argument"
            ));
        }
        let mut rule = Self {
            program: program.to_owned(),
            args: args.iter().map(|pattern| WildMatch::new(pattern)).collect(),
            rest,
            set: Vec::new(),
            pass: Vec::new(),
        };
        for entry in env {
            let (name, value) = entry.split_once('=').map_or((entry.as_str(), None), |(n, v)| (n, Some(v)));
            if name.is_empty() || entry.contains('\0') {
                return Err(format!(
                    "'{entry}' is no variable of '{program}': write NAME=value to set it, or NAME to let the request set it"
                ));
            }
            if rule.passes(name) || rule.set.iter().any(|(set, _)| set == name) {
                return Err(format!("the variable '{name}' of '{program}' stands twice: write it once"));
            }
            match value {
                Some(value) => rule.set.push((name.to_owned(), value.to_owned())),
                None => rule.pass.push(name.to_owned()),
            }
        }
        Ok(rule)
    }

    fn passes(&self, name: &str) -> bool {
        self.pass.iter().any(|pass| pass == name)
    }

    /// Whether a request for `path` means this rule's program: by its path, or by its file name alone.
    fn is_meant_by(&self, path: &str) -> bool {
        self.program == path || self.program.rsplit_once('/').is_some_and(|(_, name)| name == path)
    }

    /// Whether it admits a request for its program.
    fn admit(&self, args: &[String], env: &[String]) -> std::result::Result<(), Denied> {
        let fits = if self.rest { args.len() >= self.args.len() } else { args.len() == self.args.len() };
        // A NUL reaches the program as an overlong form that some take for a NUL again (see `c_string`).
        let plain = |text: &str| !text.contains('\0');
        let small = args.iter().map(String::len).sum::<usize>() <= MOST_BYTES;
        if !(fits && small && args.iter().all(|arg| plain(arg))) {
            return Err(Denied::Arguments);
        }
        if !self.args.iter().zip(args).all(|(pattern, arg)| pattern.matches(arg)) {
            return Err(Denied::Arguments);
        }
        let mut seen: Vec<&str> = Vec::new();
        for entry in env {
            let (name, value) = entry.split_once('=').ok_or(Denied::NoVariable)?;
            if !self.passes(name) || !plain(value) {
                return Err(Denied::Variable(name.to_owned()));
            }
            // Which of two the program takes is its own choice. `seen` stays short: it holds listed names, each once.
            if seen.contains(&name) {
                return Err(Denied::Twice(name.to_owned()));
            }
            seen.push(name);
        }
        Ok(())
    }
}

fn check_program(program: &str) -> std::result::Result<(), String> {
    let path = Path::new(program);
    // What `components` gives back differs where the path has `//`, `.` or a slash at its end.
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == program;
    if !program.starts_with('/') {
        Err(format!("'{program}' is not an absolute path: write where the program is, as /usr/bin/true"))
    } else if program.contains(['*', '?']) {
        Err(format!("'{program}' is a pattern: programs are named one by one, only arguments have patterns"))
    } else if !plain || program == "/" || program.contains('\0') {
        Err(format!(
            "'{program}' is not a plain path: write it without '..', '.', '//' and a slash at its end"
        ))
    } else {
        Ok(())
    }
}

/// Why a request is refused; later ones are nearer to what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Denied {
    Program,
    Arguments,
    /// An entry of the environment is no `NAME=value`.
    NoVariable,
    Variable(String),
    Twice(String),
}

impl Denied {
    fn into_error(self, path: &str) -> Error {
        let path = shorten(path);
        let what = match self {
            Self::Program => format!("'{path}'"),
            Self::Arguments => format!("these arguments of '{path}'"),
            Self::NoVariable => "an entry of the environment without '='".to_owned(),
            Self::Variable(name) => format!("the variable '{}'", shorten(&name)),
            Self::Twice(name) => format!("the variable '{}' twice", shorten(&name)),
        };
        Error::refused(format!("guest-exec: the policy does not allow {what}"))
    }
}

/// What is run of an admitted request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The rule's path.
    pub path: String,
    /// The whole environment.
    pub env: Vec<String>,
}

/// What of a request no rule admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// The program.
    Program,
    /// The program with these arguments.
    Arguments,
}

impl Rules {
    /// The whole environment of the program at `path`, which is no name to be looked for, if a rule admits it with these arguments.
    ///
    /// # Errors
    /// None does.
    pub fn environment(&self, path: &str, args: &[String]) -> std::result::Result<Vec<String>, Unlisted> {
        admit_program(std::slice::from_ref(self), path, args, &[]).map_err(|denied| match denied {
            Denied::Program => Unlisted::Program,
            _ => Unlisted::Arguments,
        })
    }
}

/// Puts a request to every layer; `None` where there is none, and no limit.
///
/// # Errors
/// A refusal.
pub(super) fn admit(
    layers: &[Rules],
    path: &str,
    args: &[String],
    env: &[String],
) -> Result<Option<Admitted>> {
    let Some(first) = layers.first() else { return Ok(None) };
    let mut nearest = Denied::Program;
    // A bare name can mean several programs; the first that every layer admits is run.
    for meant in first.0.iter().filter(|rule| rule.is_meant_by(path)) {
        match admit_program(layers, &meant.program, args, env) {
            Ok(env) => return Ok(Some(Admitted { path: meant.program.clone(), env })),
            Err(denied) => nearest = nearest.max(denied),
        }
    }
    Err(nearest.into_error(path))
}

/// The environment of the program at `path`, if every layer admits it: what a layer sets, the last one's where several set the same, and
/// what the request sets, which every layer must let pass.
fn admit_program(
    layers: &[Rules],
    path: &str,
    args: &[String],
    env: &[String],
) -> std::result::Result<Vec<String>, Denied> {
    let mut set: Vec<&(String, String)> = Vec::new();
    for layer in layers {
        let mut nearest = Denied::Program;
        let mut rules = layer.0.iter().filter(|rule| rule.program == path);
        let admitting = rules.find(|rule| match rule.admit(args, env) {
            Ok(()) => true,
            Err(denied) => {
                nearest = nearest.clone().max(denied);
                false
            }
        });
        for variable in &admitting.ok_or(nearest)?.set {
            set.retain(|(name, _)| *name != variable.0);
            set.push(variable);
        }
    }
    let set = set.into_iter().map(|(name, value)| format!("{name}={value}"));
    Ok(set.chain(env.iter().cloned()).collect())
}
