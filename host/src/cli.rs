//! The daemon's command line, recorded as it stands; what it means is decided in `config`.
//!
//! These are qemu-ga's options, in the dialect of GNU getopt: any unambiguous beginning of a long name, values attached or not, options
//! after other words. One table has them all; parsing, help and tests read it. The other verbs have words of their own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt as _};
use waga_builtins::QEMU_VERSION;

/// The hook of `-F` without a value; as qemu-ga.
pub const DEFAULT_HOOK: &str = "/etc/qemu/fsfreeze-hook";

/// What a source that speaks qemu-ga's language says: the command line, or `qemu-ga.conf`. What it does not say is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-m`: how to reach the host.
    pub method: Option<String>,
    /// `-p`: where.
    pub path: Option<PathBuf>,
    /// `-l`: the log file.
    pub log_file: Option<PathBuf>,
    /// `-f`: the pid file, written by a daemon in the background.
    pub pid_file: Option<PathBuf>,
    /// `-F`: the program that is told of freezing and thawing.
    pub fsfreeze_hook: Option<PathBuf>,
    /// `-t`: where state is kept.
    pub state_dir: Option<PathBuf>,
    /// `-v`: log everything. It cannot be taken back, as with qemu-ga.
    pub verbose: bool,
    /// `-d`: go to the background.
    pub daemonize: bool,
    /// `-r`: try a channel again and again.
    pub retry_path: bool,
    /// `-b`: each list of commands switched off.
    pub block: Vec<Vec<String>>,
    /// `-a`: each list of commands that stay on.
    pub allow: Vec<Vec<String>>,
}

/// The name that the program was started by, which decides whose manners it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Name {
    /// Its own.
    #[default]
    Waga,
    /// qemu-ga's: only qemu-ga's files are read, stray words mean nothing.
    QemuGa,
}

/// What the daemon's command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cli {
    /// By which name.
    pub name: Name,
    /// `-c`: the only configuration file to be read.
    pub config: Option<PathBuf>,
    /// The options that `qemu-ga.conf` has too.
    pub options: Options,
}

/// What the command line wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Run the daemon.
    Run(Box<Cli>),
    /// Print what the daemon would run with.
    DumpConf(Box<Cli>),
    /// Explain what the daemon would do: as JSON, or for people.
    Check(Box<Cli>, bool),
    /// Ask an agent; the words after `call`.
    Call(Vec<OsString>),
    /// Print this and end.
    Print(String),
}

/// Whether an option has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value(&'static str),
    /// Only one that is attached to it.
    Attached(&'static str),
}

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
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
}

#[derive(Debug)]
struct Flag {
    short: Option<char>,
    long: &'static str,
    takes: Takes,
    means: Means,
    /// Empty: an old spelling, understood and not shown.
    help: &'static str,
}

const fn flag(short: char, long: &'static str, takes: Takes, means: Means, help: &'static str) -> Flag {
    Flag { short: Some(short), long, takes, means, help }
}

use Takes::{Attached, Nothing, Value};

/// Every option of the daemon, in qemu-ga's order.
const FLAGS: &[Flag] = &[
    flag(
        'c',
        "config",
        Value("FILE"),
        Means::Config,
        "read only this file: agent.toml if it ends in .toml, else qemu-ga.conf",
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

/// Reads the command line.
///
/// # Errors
/// What is wrong with it, as it is to be shown; asking for help is not an error.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let mut args = args.into_iter().peekable();
    let program = args.next().unwrap_or_else(|| "waga".into());
    let name = match Path::new(&program).file_name() {
        Some(name) if name == "qemu-ga" => Name::QemuGa,
        _ => Name::Waga,
    };
    let check = match args.peek().and_then(|word| word.to_str()).filter(|_| name == Name::Waga) {
        Some("call") => return Ok(Wish::Call(args.skip(1).collect())),
        Some("check") => args.next().is_some(),
        _ => false,
    };
    let program = program.to_string_lossy();
    let shown = if check { format!("{program} check") } else { program.clone().into_owned() };
    read(name, &shown, check, args)
        .map_err(|text| format!("{program}: {text}\ntry '{shown} --help' for more information"))
}

fn read(name: Name, shown: &str, check: bool, args: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    let mut parser = Parser::from_args(args);
    let (mut cli, mut dump, mut json) = (Cli { name, ..Cli::default() }, false, false);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(arg) = parser.next().map_err(text)? {
        let flag = match arg {
            Arg::Short(letter) => find_short(letter)?,
            Arg::Long(long) => find_long(long, check)?,
            // To qemu-ga, a word that belongs to no option means nothing.
            Arg::Value(_) if name == Name::QemuGa => continue,
            Arg::Value(word) => return Err(stray(&word.to_string_lossy())),
        };
        let value = match flag.takes {
            Takes::Nothing => None,
            Takes::Value(_) => Some(parser.value().map_err(text)?),
            Takes::Attached(_) => parser.optional_value(),
        };
        let options = &mut cli.options;
        match flag.means {
            Means::Config => cli.config = value.map(PathBuf::from),
            Means::Method => options.method = value.map(|value| value.string()).transpose().map_err(text)?,
            Means::Path => options.path = value.map(PathBuf::from),
            Means::LogFile => options.log_file = value.map(PathBuf::from),
            Means::PidFile => options.pid_file = value.map(PathBuf::from),
            Means::Hook => {
                options.fsfreeze_hook = Some(value.map_or_else(|| DEFAULT_HOOK.into(), PathBuf::from))
            }
            Means::StateDir => options.state_dir = value.map(PathBuf::from),
            Means::Verbose => options.verbose = true,
            Means::Daemonize => options.daemonize = true,
            Means::RetryPath => options.retry_path = true,
            Means::DumpConf => dump = true,
            Means::Json => json = true,
            Means::Version => return Ok(Wish::Print(version(name))),
            Means::Help => return Ok(Wish::Print(help(name, shown, check))),
            Means::Block | Means::Allow => {
                let list = value.unwrap_or_default().string().map_err(text)?;
                if list == "help" || list == "?" {
                    return Ok(Wish::Print(command_names()));
                }
                let lists = if flag.means == Means::Block { &mut options.block } else { &mut options.allow };
                lists.extend(names(&list));
            }
        }
    }
    Ok(match (check, dump) {
        (true, _) => Wish::Check(Box::new(cli), json),
        (false, true) => Wish::DumpConf(Box::new(cli)),
        (false, false) => Wish::Run(Box::new(cli)),
    })
}

/// The names of one list, separated by commas; as with qemu-ga, a list without a name is no list.
pub(crate) fn names(list: &str) -> Option<Vec<String>> {
    let names: Vec<String> = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

fn find_short(letter: char) -> Result<&'static Flag, String> {
    FLAGS
        .iter()
        .find(|flag| flag.short == Some(letter))
        .ok_or_else(|| format!("there is no option -{letter}"))
}

/// A long name, or a beginning of just one.
fn find_long(name: &str, check: bool) -> Result<&'static Flag, String> {
    let all = || FLAGS.iter().chain(check.then_some(&JSON));
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

fn stray(word: &str) -> String {
    match crate::nearest::nearest(word, VERBS) {
        Some(verb) => format!("'{word}' is not a verb of waga; did you mean '{verb}'? It has to stand first"),
        None => format!("'{word}' belongs to no option (the value of -F has to be attached: -F/path)"),
    }
}

/// What the program can do besides being the agent.
const VERBS: [&str; 2] = ["call", "check"];

/// `waga 0.1.0 (as QEMU Guest Agent 11.1.3)`, or what qemu-ga prints when started under its name.
fn version(name: Name) -> String {
    match name {
        Name::QemuGa => format!("QEMU Guest Agent {QEMU_VERSION}"),
        Name::Waga => format!("waga {} (as QEMU Guest Agent {QEMU_VERSION})", env!("CARGO_PKG_VERSION")),
    }
}

fn command_names() -> String {
    let registry = crate::registry::Registry::builtins();
    registry.slots().iter().map(|slot| &*slot.name).collect::<Vec<_>>().join("\n")
}

fn help(name: Name, program: &str, check: bool) -> String {
    let mut text = match (name, check) {
        (Name::QemuGa, _) => format!(
            "Usage: {program} [-m <method> -p <path>] [<options>]\n\
             {}, served by waga {}\n",
            version(name),
            env!("CARGO_PKG_VERSION")
        ),
        (Name::Waga, true) => format!(
            "Usage: {program} [--json] [<options of the agent>]\n\
             Reads the configuration as the agent would, and tells for each command whether it is on and what decided it.\n\
             Exit code: 0, or 1 if the agent would not start.\n"
        ),
        (Name::Waga, false) => format!(
            "Usage: {program} [<options>]            be the guest agent\n       \
                    {program} check [<options>]      explain what the configuration means\n       \
                    {program} call [<options>] ...   ask an agent, from the host; see '{program} call --help'\n"
        ),
    };
    let files = match name {
        Name::QemuGa => "Configuration: /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.",
        Name::Waga => {
            "Configuration: /etc/waga/agent.toml, /etc/waga/agent.d/*.toml, then /etc/qemu/qemu-ga.conf (or QGA_CONF)."
        }
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{files}\n");
    for flag in FLAGS.iter().chain(check.then_some(&JSON)).filter(|flag| !flag.help.is_empty()) {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = match flag.takes {
            Takes::Nothing => String::new(),
            Takes::Value(value) => format!("={value}"),
            Takes::Attached(value) => format!("[={value}]"),
        };
        let option = format!("  {short}--{}{value}", flag.long);
        let _ = writeln!(text, "{option:<29}{}", wrapped(flag.help));
    }
    text.trim_end().to_owned()
}

/// Breaks a help text into lines that stand below each other.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 80;
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        if length > 0 && length + word.len() > WIDTH {
            lines += "\n";
            lines += &" ".repeat(29);
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

    fn check(line: &str) -> Result<Wish, String> {
        parse(line.split(' ').map(OsString::from))
    }

    fn cli(line: &str) -> Cli {
        match check(line) {
            Ok(Wish::Run(cli)) => *cli,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_recorded_as_they_stand() {
        let short = cli("waga -m unix-listen -p s -t d -l log -f pid -v -d -r -F -b a,b -b c -a d -c f");
        let long = cli(
            "waga --method=unix-listen --path s --statedir d --logfile log --pidfile=pid --verbose --daemonize --retry-path \
             --fsfreeze-hook --block-rpcs a,b --blacklist=c --allow-rpcs d --config f",
        );
        assert_eq!(short, long);
        let loose = cli(
            "qemu-ga --meth=unix-listen stray --path s --state d --log log word --pid pid --verb --daemon --retry --fs --block a,,b, \
             --black c --allow d --conf f -- -v",
        );
        assert_eq!(loose.options, long.options);
        let options = short.options;
        assert_eq!(options.block, [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]]);
        assert_eq!(options.fsfreeze_hook.as_deref(), Some(Path::new(DEFAULT_HOOK)));
        assert!(options.verbose && options.daemonize && options.retry_path);
        let options = cli("waga -a , -b , -vdrp/x -F/y --fsfreeze-hook=/z").options;
        assert_eq!((options.allow.len(), options.block.len()), (0, 0));
        assert_eq!((options.path, options.fsfreeze_hook), (Some("/x".into()), Some("/z".into())));
        assert!(options.verbose && options.daemonize && options.retry_path);
        // What stands after an option that takes a value is its value, whatever it looks like.
        assert_eq!(cli("waga -l -v").options.log_file, Some("-v".into()));
    }

    #[test]
    fn verbs_stand_first_and_only_under_our_own_name() {
        assert_eq!(check("waga call -x y"), Ok(Wish::Call(vec!["-x".into(), "y".into()])));
        let Ok(Wish::Check(cli, true)) = check("waga check -b guest-ping --json") else { panic!("no check") };
        assert_eq!(cli.options.block, [["guest-ping"]]);
        assert!(matches!(check("/usr/sbin/qemu-ga call"), Ok(Wish::Run(_))));
        assert!(matches!(check("waga -D"), Ok(Wish::DumpConf(_))));
        assert!(check("waga chekc").unwrap_err().contains("did you mean 'check'?"));
        assert!(check("waga -v call").unwrap_err().contains("has to stand first"));
        assert!(check("waga -F /hook").unwrap_err().contains("-F/path"));
    }

    #[test]
    fn the_version_is_that_of_the_name_it_is_called_by() {
        assert_eq!(check("/usr/sbin/qemu-ga -V"), Ok(Wish::Print("QEMU Guest Agent 11.1.3".into())));
        let Ok(Wish::Print(text)) = check("waga --version") else { panic!("not printed") };
        assert!(text.starts_with("waga 0.") && text.contains("11.1.3"), "{text}");
    }

    #[test]
    fn help_lists_the_commands_and_the_options() {
        for line in ["waga -b help", "waga --allow-rpcs=?", "qemu-ga -bhelp"] {
            let Ok(Wish::Print(names)) = check(line) else { panic!("not printed") };
            assert!(names.lines().any(|name| name == "guest-ping"));
        }
        // In company it is a name like others.
        assert_eq!(cli("waga -b help,a").options.block, [["help", "a"]]);
        for line in ["waga -h", "waga check --help", "qemu-ga --help"] {
            let Ok(Wish::Print(help)) = check(line) else { panic!("not printed") };
            for flag in FLAGS {
                assert_eq!(
                    help.contains(&format!("--{}", flag.long)),
                    !flag.help.is_empty(),
                    "{}",
                    flag.long
                );
            }
            assert!(help.lines().all(|line| line.len() <= 120), "{help}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("waga --nope", "there is no option --nope"),
            ("waga --pth=x", "did you mean --path?"),
            ("waga -Z", "there is no option -Z"),
            ("waga --ver", "--ver may stand for --verbose or --version"),
            ("waga --verbose=1", "verbose"),
            ("waga -m", "-m"),
            ("waga --path", "--path"),
            ("waga --json", "there is no option --json"),
        ] {
            let error = check(line).unwrap_err();
            assert!(error.contains(expected) && error.contains("--help"), "{line}: {error}");
        }
    }

    #[test]
    fn the_table_is_sound() {
        for (place, flag) in FLAGS.iter().enumerate() {
            let others = &FLAGS[place + 1..];
            assert!(others.iter().all(|other| other.long != flag.long), "{} stands twice", flag.long);
            assert!(flag.short.is_none() || others.iter().all(|other| other.short != flag.short));
        }
    }
}
