//! The command line of `waga call`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};

use super::deadline::Deadline;
use super::error::Error;
use super::layout::Layout;
use super::libvirt::Domain;
use super::output::Output;
use crate::nearest::nearest;

const USAGE: &str = "\
waga call (--socket PATH | --vsock CID:PORT | --domain NAME) [OPTIONS]
                 [COMMAND [key=value... | JSON | -]]
       waga call --help COMMAND";

const NOTES: &str = "\
Ways to write arguments:
  key=value   The value is JSON if it can be read as JSON: a number, true,
              false, null, [1,2], {\"a\":1}, \"text\". Else it is a string. A string
              that looks like JSON needs quotes of its own: key='\"123\"'
  JSON        All arguments as one object: '{\"path\":\"/etc/motd\"}'
  -           The same, from stdin: for scripts, and for secrets, which others
              see on a command line (with --domain they do, on that of virsh)

Printed is what the command returned, as JSON. A command that does not answer
when it succeeds (guest-shutdown, guest-suspend-*) prints nothing; it has three
seconds to say that it failed.

Exit codes:
  0  success
  1  the agent answered with an error
  2  the command line makes no sense
  3  the agent could not be reached, or gave no valid answer
  4  the time was over

Examples:
  waga call --socket /run/vm.agent guest-get-osinfo
  waga call --socket /run/vm.agent --help guest-exec
  waga call --domain web1 guest-file-open path=/etc/motd mode=r
  waga call --domain web1 guest-exec path=/bin/uname 'arg=[\"-a\"]' \\
      capture-output=true";

/// Where the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind a unix socket: its own, or the one of QEMU's character device.
    Socket(PathBuf),
    /// At a port of a virtual machine's vsock.
    Vsock(u32, u32),
    /// In a guest of libvirt.
    Domain(Domain),
}

/// How long an answer may take unless the command line says.
const TIME: Duration = Duration::from_secs(30);
/// The same for commands that write out what is dirty, or wait for an operator's hook.
const LONG_TIME: Duration = Duration::from_secs(10 * 60);
const LONG: [&str; 4] =
    ["guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw", "guest-fstrim"];
/// The same where the agent is only asked what it knows, and this program knows much of that.
const SHORT_TIME: Duration = Duration::from_secs(5);
const TIMEOUT: &str = "time for it all [default: 30; freeze, trim: 600]";

/// A call, as the command line has it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) place: Place,
    pub(super) timeout: Duration,
    pub(super) output: Output,
    /// The command; without one the agent is asked what it has.
    pub(super) command: Option<String>,
    /// What stands after it.
    pub(super) arguments: Vec<OsString>,
}

/// A command that is asked about.
#[derive(Debug)]
pub(super) struct About {
    pub(super) command: String,
    /// The agent whose command it is; without one this program tells of its own.
    pub(super) place: Option<Place>,
    pub(super) timeout: Duration,
}

/// What the command line wants.
#[derive(Debug)]
pub(super) enum Wish {
    /// A call.
    Call(Box<Call>),
    /// To be told what a command takes and gives.
    Describe(About),
    /// To be told how.
    Help(String),
}

fn command() -> Command {
    let option = |name: &'static str, value, help| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Set)
    };
    let flag = |name: &'static str, help| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    Command::new("waga call")
        .about("Calls a command of a guest agent, waga or qemu-ga, and prints what it returns")
        .override_usage(USAGE)
        .after_help(NOTES)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .args([
            option("socket", "PATH", "the agent's unix socket, or that of QEMU's chardev")
                .value_parser(value_parser!(PathBuf)),
            option("vsock", "CID:PORT", "a port of a virtual machine: two decimal numbers")
                .value_parser(vsock),
            option("domain", "NAME", "a guest of libvirt (name, id or UUID), by virsh"),
            option("connect", "URI", "with --domain: the libvirt to ask"),
            option("timeout", "SECONDS", TIMEOUT).value_parser(timeout),
            flag("pretty", "print JSON on many lines, as on a terminal").conflicts_with("compact"),
            flag("compact", "print JSON on one line, as into a pipe"),
            flag("json", "without COMMAND: the list as JSON, as in a pipe"),
            flag("help", "print this; with COMMAND: what that takes and returns").short('h'),
            Arg::new("command")
                .value_name("COMMAND")
                .help("what to call; without it, all that the agent has is listed"),
            Arg::new("arguments")
                .value_name("ARGUMENT")
                .help("an argument, as described below")
                .num_args(0..)
                .value_parser(value_parser!(OsString)),
        ])
}

/// `CID:PORT`, as `3:1234`.
fn vsock(text: &str) -> Result<(u32, u32), String> {
    // Not what `parse` takes beside digits: a sign.
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    text.split_once(':')
        .and_then(|(cid, port)| Some((number(cid)?, number(port)?)))
        .ok_or_else(|| "it is CID:PORT, two decimal numbers below 2^32, as in 3:1234".to_owned())
}

/// A number of seconds, above 0.
fn timeout(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero() && *limit <= Deadline::FARTHEST)
        .ok_or_else(|| "it is a number of seconds above 0 and up to 1e9, as in 2.5".to_owned())
}

/// Reads the words after `call`.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Wish, Error> {
    let words = std::iter::once("waga call".into()).chain(words);
    let mut matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::UnknownArgument => return Err(unknown(&error)),
        Err(error) => {
            // Its first paragraph says it; usage and the way to the help follow here for all errors alike.
            let text = error.to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or(&text);
            let text = text.split("\n\nFor more").next().unwrap_or(text);
            return Err(Error::Usage(text.trim_start_matches("error: ").trim_end().to_owned()));
        }
    };
    let name: Option<String> = matches.remove_one("command");
    let help = matches.get_flag("help");
    if help && name.is_none() {
        return Ok(Wish::Help(command().render_help().to_string()));
    }
    let socket = matches.remove_one("socket").map(Place::Socket);
    let vsock = matches.remove_one("vsock").map(|(cid, port)| Place::Vsock(cid, port));
    let connect: Option<String> = matches.remove_one("connect");
    let stray = connect.is_some();
    let domain = matches.remove_one("domain").map(|name| Place::Domain(Domain { name, connect }));
    if stray && domain.is_none() {
        return Err(Error::Usage(
            "--connect URI says where to look for --domain NAME, which is missing".into(),
        ));
    }
    let mut places = [socket, vsock, domain].into_iter().flatten();
    let (place, None) = (places.next(), places.next()) else { return Err(one_place()) };
    let timeout: Option<Duration> = matches.remove_one("timeout");
    if let Some(command) = name.clone().filter(|_| help) {
        return Ok(Wish::Describe(About { command, place, timeout: timeout.unwrap_or(SHORT_TIME) }));
    }
    let place = place.ok_or_else(one_place)?;
    let layout = if matches.get_flag("pretty") {
        Some(Layout::Pretty)
    } else {
        matches.get_flag("compact").then_some(Layout::Compact)
    };
    let takes_long = name.as_deref().is_some_and(|name| LONG.contains(&name));
    let default = if takes_long { LONG_TIME } else { TIME };
    Ok(Wish::Call(Box::new(Call {
        place,
        timeout: timeout.unwrap_or(default),
        output: Output { layout, json: matches.get_flag("json") },
        command: name,
        arguments: matches.remove_many("arguments").map(Iterator::collect).unwrap_or_default(),
    })))
}

/// The error that there is no agent to call, or more than one.
fn one_place() -> Error {
    Error::Usage("say where the agent is, by one of --socket PATH, --vsock CID:PORT and --domain NAME".into())
}

/// The error that there is no such option, with the one that was probably meant.
fn unknown(error: &clap::Error) -> Error {
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option,
        _ => "",
    };
    let command = command();
    let known = command.get_arguments().filter_map(Arg::get_long);
    let hint = option.strip_prefix("--").and_then(|name| nearest(name, known));
    let hint = hint.map(|name| format!("; did you mean --{name}?")).unwrap_or_default();
    Error::Usage(format!("there is no option {option}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str]) -> Result<Call, String> {
        match parse(words.iter().map(OsString::from)) {
            Ok(Wish::Call(call)) => Ok(*call),
            Ok(other) => panic!("no call: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn words_become_a_call() {
        command().debug_assert();
        let call =
            check(&["--socket", "/s", "guest-file-open", "path=/x", "--timeout=0.25", "--pretty"]).unwrap();
        assert_eq!(call.place, Place::Socket("/s".into()));
        assert_eq!(call.timeout, Duration::from_millis(250));
        assert_eq!(
            (call.command.as_deref(), &call.arguments[..]),
            (Some("guest-file-open"), &["path=/x".into()][..])
        );
        assert_eq!(call.output.layout, Some(Layout::Pretty));
        let call = check(&["--domain", "a", "--connect", "qemu:///session", "guest-x", "-"]).unwrap();
        let domain = Domain { name: "a".to_owned(), connect: Some("qemu:///session".to_owned()) };
        assert_eq!(call.place, Place::Domain(domain));
        assert_eq!((call.timeout, call.arguments), (Duration::from_secs(30), vec!["-".into()]));
        let call = check(&["--socket", "/s", "guest-fsfreeze-freeze"]).unwrap();
        assert_eq!(call.timeout, Duration::from_secs(600));
        let call = check(&["--domain", "a"]).unwrap();
        assert_eq!((call.command, call.output.layout, call.output.json), (None, None, false));
    }

    #[test]
    fn one_place_is_needed() {
        for words in [
            &["guest-ping"][..],
            &["--socket", "s", "--vsock", "1:2", "guest-ping"],
            &["--socket", "s", "--domain", "d"],
            &[],
        ] {
            let text = check(words).unwrap_err();
            for name in ["--socket", "--vsock", "--domain", "waga call --help"] {
                assert!(text.contains(name), "{words:?}: {text}");
            }
        }
        assert!(check(&["--socket", "s", "--connect", "u"]).unwrap_err().contains("--domain"));
    }

    #[test]
    fn vsock_takes_two_decimal_numbers() {
        let place = |text: &str| check(&[&format!("--vsock={text}")]).map(|call| call.place);
        assert_eq!(place("3:1234"), Ok(Place::Vsock(3, 1234)));
        assert_eq!(place("4294967295:0"), Ok(Place::Vsock(u32::MAX, 0)));
        for wrong in
            ["3", "3:", ":4", "3:4:5", "a:4", "0x3:4", "+3:4", "-1:4", "4294967296:1", "3: 4", "", ":"]
        {
            let text = place(wrong).unwrap_err();
            let named = if wrong.is_empty() { "--vsock" } else { wrong };
            assert!(text.contains(named) && text.contains("CID:PORT"), "{wrong:?}: {text}");
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, named) in [
            (&["--socket", "s", "--nope"][..], "--nope"),
            (&["--socket", "s", "--timeout", "0"], "above 0"),
            (&["--socket", "s", "--timeout", "-1"], "-1"),
            (&["--socket", "s", "--timeout", "1e-12"], "1e-12"),
            (&["--socket", "s", "--timeout", "NaN"], "NaN"),
            (&["--socket", "s", "--timeout", "inf"], "inf"),
            (&["--socket", "s", "--timeout", "2000000000"], "1e9"),
            (&["--socket", "s", "--timeout", "soon"], "soon"),
            (&["--socket"], "--socket"),
            (&["--socket", "s", "--pretty", "--compact"], "--compact"),
        ] {
            let text = check(words).unwrap_err();
            assert!(text.contains(named) && text.ends_with("try 'waga call --help'."), "{words:?}: {text}");
        }
    }

    #[test]
    fn a_command_is_asked_about_before_and_after_its_name() {
        for words in [&["--help", "guest-x"][..], &["guest-x", "-h"], &["guest-x", "a=1", "--help"]] {
            let Ok(Wish::Describe(about)) = parse(words.iter().map(OsString::from)) else {
                panic!("{words:?}")
            };
            assert_eq!((&*about.command, about.place), ("guest-x", None), "{words:?}");
        }
        let words = ["--socket", "/s", "--help", "guest-x", "--timeout", "9"];
        let Ok(Wish::Describe(about)) = parse(words.iter().map(OsString::from)) else { panic!("no help") };
        assert_eq!((about.place, about.timeout), (Some(Place::Socket("/s".into())), Duration::from_secs(9)));
        let two = parse(["--help", "x", "--socket", "s", "--domain", "d"].iter().map(OsString::from));
        assert!(matches!(two, Err(Error::Usage(_))));
    }

    #[test]
    fn help_says_what_the_exit_codes_are() {
        let Ok(Wish::Help(text)) = parse(["-h".into()].into_iter()) else { panic!("no help") };
        for part in ["--domain <NAME>", "Exit codes:", "4  the time was over", "key='\"123\"'", "default: 30"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
