//! The table of the daemon's options: what each is called, whether it takes a value, what it means, and its line of the help.

use std::fmt::Write as _;

use super::{Name, version};

/// What the words belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// None: the agent itself.
    Agent,
    Check,
    Schema,
}

impl Verb {
    /// The options that it has besides the agent's.
    fn own(self) -> &'static [Flag] {
        match self {
            Self::Agent => &[],
            Self::Check => &[JSON],
            Self::Schema => &[FORMAT],
        }
    }
}

/// Whether an option has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value(&'static str),
    /// Only one that is attached to it.
    Attached(&'static str),
}

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Config,
    Method,
    Path,
    LogFile,
    PidFile,
    Hook,
    StateDir,
    Verbose,
    Version,
    Daemonize,
    Block,
    Allow,
    DumpConf,
    RetryPath,
    Help,
    /// `--json` of `waga check`.
    Json,
    /// `--format` of `waga schema`.
    Format,
}

#[derive(Debug)]
pub(super) struct Flag {
    short: Option<char>,
    pub(super) long: &'static str,
    pub(super) takes: Takes,
    pub(super) means: Means,
    /// Empty: an old spelling, understood and not shown.
    pub(super) help: &'static str,
}

const fn flag(short: char, long: &'static str, takes: Takes, means: Means, help: &'static str) -> Flag {
    Flag { short: Some(short), long, takes, means, help }
}

use Takes::{Attached, Nothing, Value};

/// Every option of the daemon, in qemu-ga's order.
pub(super) const FLAGS: &[Flag] = &[
    flag(
        'c',
        "config",
        Value("FILE"),
        Means::Config,
        "read only this file: agent.toml if it ends in .toml, else qemu-ga.conf; or this folder, as /etc/waga",
    ),
    flag(
        'm',
        "method",
        Value("METHOD"),
        Means::Method,
        "transport: virtio-serial (default), isa-serial, unix-listen or vsock-listen",
    ),
    flag(
        'p',
        "path",
        Value("PATH"),
        Means::Path,
        "device, socket or CID:PORT (default /dev/virtio-ports/org.qemu.guest_agent.0, or /dev/ttyS0 for isa-serial)",
    ),
    flag('l', "logfile", Value("FILE"), Means::LogFile, "log to this file instead of the journal or stderr"),
    flag(
        'f',
        "pidfile",
        Value("FILE"),
        Means::PidFile,
        "with -d: keep the process number in this file (default /var/run/qemu-ga.pid)",
    ),
    flag(
        'F',
        "fsfreeze-hook",
        Attached("HOOK"),
        Means::Hook,
        "run this program with 'freeze' and 'thaw' (default /etc/qemu/fsfreeze-hook); attach it: -F/path or --fsfreeze-hook=/path",
    ),
    flag('t', "statedir", Value("DIR"), Means::StateDir, "keep state in this folder (default /var/run)"),
    flag('v', "verbose", Nothing, Means::Verbose, "log everything, not only errors"),
    flag('V', "version", Nothing, Means::Version, "print the version"),
    flag('d', "daemonize", Nothing, Means::Daemonize, "go to the background once every channel is open"),
    flag(
        'b',
        "block-rpcs",
        Value("NAMES"),
        Means::Block,
        "switch these commands off, separated by commas; 'help' lists all",
    ),
    flag(
        'a',
        "allow-rpcs",
        Value("NAMES"),
        Means::Allow,
        "switch all but these off, separated by commas; 'help' lists all",
    ),
    flag(
        'D',
        "dump-conf",
        Nothing,
        Means::DumpConf,
        "print the configuration that results from files and options",
    ),
    flag(
        'r',
        "retry-path",
        Nothing,
        Means::RetryPath,
        "try again and again to open a channel that is not there or failed",
    ),
    flag('h', "help", Nothing, Means::Help, "print this"),
    Flag { short: None, long: "blacklist", takes: Value("NAMES"), means: Means::Block, help: "" },
];

/// What `waga check` has besides.
const JSON: Flag = Flag {
    short: None,
    long: "json",
    takes: Nothing,
    means: Means::Json,
    help: "print JSON instead of a table",
};

/// What `waga schema` has besides.
const FORMAT: Flag = Flag {
    short: None,
    long: "format",
    takes: Value("FORMAT"),
    means: Means::Format,
    help: "json-schema (default), or qapi: text as in QEMU's qga/qapi-schema.json",
};

pub(super) fn find_short(letter: char) -> Result<&'static Flag, String> {
    FLAGS
        .iter()
        .find(|flag| flag.short == Some(letter))
        .ok_or_else(|| format!("there is no option -{letter}"))
}

/// A long name, or a beginning of just one.
pub(super) fn find_long(name: &str, verb: Verb) -> Result<&'static Flag, String> {
    let all = || FLAGS.iter().chain(verb.own());
    if let Some(flag) = all().find(|flag| flag.long == name) {
        return Ok(flag);
    }
    let found: Vec<_> = all().filter(|flag| flag.long.starts_with(name)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            let nearest = crate::nearest::nearest(name, all().map(|flag| flag.long));
            let hint = nearest.map(|nearest| format!("; did you mean --{nearest}?")).unwrap_or_default();
            Err(format!("there is no option --{name}{hint}"))
        }
        _ => {
            let found: Vec<_> = found.iter().map(|flag| format!("--{}", flag.long)).collect();
            Err(format!("--{name} may stand for {}", found.join(" or ")))
        }
    }
}

pub(super) fn help(name: Name, program: &str, verb: Verb) -> String {
    let mut text = match (name, verb) {
        (Name::QemuGa, _) => format!(
            "Usage: {program} [-m <method> -p <path>] [<options>]\n\
             {}, served by waga {}\n",
            version(name),
            env!("CARGO_PKG_VERSION")
        ),
        (Name::Waga, Verb::Schema) => format!(
            "Usage: {program} [COMMAND] [--format=FORMAT] [<options of the agent>]\n\
             Prints what a command takes and gives, or what all do: the agent's own, and\n\
             those of the configuration's extensions that the agent has compiled before.\n"
        ),
        (Name::Waga, Verb::Check) => format!(
            "Usage: {program} [--json] [<options of the agent>]\n\
             Reads the configuration as the agent would, and tells for each command whether\n\
             it is on and what decided it. Exit code: 0, or 1 if the configuration is wrong.\n"
        ),
        (Name::Waga, Verb::Agent) => format!(
            "Usage: {program} [<options>]            be the guest agent\n       \
                    {program} check [<options>]      explain what the configuration means\n       \
                    {program} schema [<options>]     print what commands take and give\n       \
                    {program} call [<options>] ...   ask an agent, from the host\n\n\
             '{program} VERB --help' says more.\n"
        ),
    };
    let files = match name {
        Name::QemuGa => "Configuration: /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.",
        Name::Waga => {
            "Configuration: /etc/waga/agent.toml, /etc/waga/agent.d/*.toml, then\n\
             /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names."
        }
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{files}\n");
    for flag in FLAGS.iter().chain(verb.own()).filter(|flag| !flag.help.is_empty()) {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = match flag.takes {
            Takes::Nothing => String::new(),
            Takes::Value(value) => format!("={value}"),
            Takes::Attached(value) => format!("[={value}]"),
        };
        let option = format!("  {short}--{}{value}", flag.long);
        let help = match (flag.means, name) {
            (Means::Config, Name::QemuGa) => "read this file instead",
            _ => flag.help,
        };
        let _ = writeln!(text, "{option:<COLUMN$}{}", wrapped(help));
    }
    text.trim_end().to_owned()
}

/// Where help texts begin.
const COLUMN: usize = 29;
/// How wide a terminal is.
const WIDTH: usize = 80;

/// Breaks a help text into lines that stand below each other.
fn wrapped(text: &str) -> String {
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        if length > 0 && COLUMN + length + word.len() > WIDTH {
            lines += "\n";
            lines += &" ".repeat(COLUMN);
            length = 0;
        } else if length > 0 {
            lines.push(' ');
        }
        lines += word;
        length += word.len() + 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (place, flag) in FLAGS.iter().enumerate() {
            let others = &FLAGS[place + 1..];
            assert!(others.iter().all(|other| other.long != flag.long), "{} stands twice", flag.long);
            assert!(flag.short.is_none() || others.iter().all(|other| other.short != flag.short));
        }
    }
}
