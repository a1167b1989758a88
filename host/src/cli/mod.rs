//! The daemon's command line, recorded as it stands; what it means is decided in `config`.
//!
//! These are qemu-ga's options, in the dialect of GNU getopt: any unambiguous beginning of a long name, values attached or not, options
//! after other words. One table has them all; parsing, help and tests read it. The other verbs have words of their own.

mod flags;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt as _};
use waga_builtins::QEMU_VERSION;

use flags::{Means, Takes, Verb, find_long, find_short, help};

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

/// In which language `waga schema` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON Schema.
    #[default]
    JsonSchema,
    /// QAPI's.
    Qapi,
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
    /// Print the schema of one command, or of all.
    Schema(Box<Cli>, Format, Option<String>),
    /// Ask an agent; the words after `call`.
    Call(Vec<OsString>),
    /// Print this and end.
    Print(String),
}

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
    let word = args.peek().and_then(|word| word.to_str()).filter(|_| name == Name::Waga);
    let verb = match word {
        Some("call") => return Ok(Wish::Call(args.skip(1).collect())),
        Some("check") => Verb::Check,
        Some("schema") => Verb::Schema,
        _ => Verb::Agent,
    };
    let program = program.to_string_lossy();
    let shown = match verb {
        Verb::Agent => program.clone().into_owned(),
        Verb::Check => format!("{program} check"),
        Verb::Schema => format!("{program} schema"),
    };
    let args = args.skip(usize::from(verb != Verb::Agent));
    read(name, &shown, verb, args)
        .map_err(|text| format!("{program}: {text}\ntry '{shown} --help' for more information"))
}

fn read(name: Name, shown: &str, verb: Verb, args: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    let mut parser = Parser::from_args(args);
    let (mut cli, mut dump, mut json) = (Cli { name, ..Cli::default() }, false, false);
    let (mut format, mut command) = (Format::default(), None);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(arg) = parser.next().map_err(text)? {
        let flag = match arg {
            Arg::Short(letter) => find_short(letter)?,
            Arg::Long(long) => find_long(long, verb)?,
            // To qemu-ga, a word that belongs to no option means nothing.
            Arg::Value(_) if name == Name::QemuGa => continue,
            Arg::Value(word) if verb == Verb::Schema && command.is_none() => {
                command = Some(word.string().map_err(text)?);
                continue;
            }
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
                options.fsfreeze_hook = Some(value.map_or_else(|| DEFAULT_HOOK.into(), PathBuf::from));
            }
            Means::StateDir => options.state_dir = value.map(PathBuf::from),
            Means::Verbose => options.verbose = true,
            Means::Daemonize => options.daemonize = true,
            Means::RetryPath => options.retry_path = true,
            Means::DumpConf => dump = true,
            Means::Json => json = true,
            Means::Format => format = language(&value.unwrap_or_default().to_string_lossy())?,
            Means::Version => return Ok(Wish::Print(version(name))),
            Means::Help => return Ok(Wish::Print(help(name, shown, verb))),
            Means::Block | Means::Allow => {
                let list = value.unwrap_or_default().string().map_err(text)?;
                if list == "help" || list == "?" {
                    return Ok(Wish::Print(command_names(name)));
                }
                let lists = if flag.means == Means::Block { &mut options.block } else { &mut options.allow };
                lists.extend(names(&list));
            }
        }
    }
    let cli = Box::new(cli);
    Ok(match verb {
        Verb::Check => Wish::Check(cli, json),
        Verb::Schema => Wish::Schema(cli, format, command),
        Verb::Agent if dump => Wish::DumpConf(cli),
        Verb::Agent => Wish::Run(cli),
    })
}

fn language(word: &str) -> Result<Format, String> {
    match word {
        "json-schema" => Ok(Format::JsonSchema),
        "qapi" => Ok(Format::Qapi),
        _ => Err(format!("--format is json-schema or qapi, and not '{word}'")),
    }
}

/// The names of one list, separated by commas. As with qemu-ga an empty list is none, and an empty name is one that no command has: `-a ,`
/// allows nothing.
pub(crate) fn names(list: &str) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.split(',').map(str::to_owned).collect())
}

fn stray(word: &str) -> String {
    match crate::nearest::nearest(word, VERBS) {
        Some(verb) => format!("'{word}' is not a verb of waga; did you mean '{verb}'? It has to stand first"),
        None => format!("'{word}' belongs to no option (the value of -F has to be attached: -F/path)"),
    }
}

/// What the program can do besides being the agent.
const VERBS: [&str; 3] = ["call", "check", "schema"];

/// `waga 0.1.0 (as QEMU Guest Agent 11.1.3)`, or what qemu-ga prints when started under its name.
fn version(name: Name) -> String {
    match name {
        Name::QemuGa => format!("QEMU Guest Agent {QEMU_VERSION}"),
        Name::Waga => format!("waga {} (as QEMU Guest Agent {QEMU_VERSION})", env!("CARGO_PKG_VERSION")),
    }
}

fn command_names(name: Name) -> String {
    let registry = crate::registry::Registry::of_agent(name);
    registry.slots().iter().map(|slot| &*slot.name).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::flags::FLAGS;
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
            "qemu-ga --meth=unix-listen stray --path s --state d --log log word --pid pid --verb --daemon --retry --fs --block a,b \
             --black c --allow d --conf f -- -v",
        );
        assert_eq!(loose.options, long.options);
        let options = short.options;
        assert_eq!(options.block, [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]]);
        assert_eq!(options.fsfreeze_hook.as_deref(), Some(Path::new(DEFAULT_HOOK)));
        assert!(options.verbose && options.daemonize && options.retry_path);
        let options = cli("waga -a  -b , -vdrp/x -F/y --fsfreeze-hook=/z").options;
        assert_eq!((options.allow.len(), options.block.len()), (0, 1));
        assert_eq!((options.path, options.fsfreeze_hook), (Some("/x".into()), Some("/z".into())));
        assert!(options.verbose && options.daemonize && options.retry_path);
        // What stands after an option that takes a value is its value, whatever it looks like.
        assert_eq!(cli("waga -l -v").options.log_file, Some("-v".into()));
    }

    /// RHEL's and Fedora's unit, with their files as they are shipped; and with what is not set left empty.
    #[test]
    fn what_the_units_of_distributions_pass_is_understood() {
        let port = "--method=virtio-serial --path=/dev/virtio-ports/org.qemu.guest_agent.0";
        let options =
            cli(&format!("qemu-ga {port} --allow-rpcs=guest-sync,guest-ping -F/etc/qemu-ga/fsfreeze-hook"))
                .options;
        assert_eq!(options.allow, [["guest-sync", "guest-ping"]]);
        assert_eq!(options.fsfreeze_hook.as_deref(), Some(Path::new("/etc/qemu-ga/fsfreeze-hook")));
        for line in
            ["--blacklist=guest-exec -F", "--block-rpcs=guest-exec --block-rpcs= -F", "-b guest-exec -F"]
        {
            let options = cli(&format!("qemu-ga {port} {line}")).options;
            assert_eq!(options.block, [["guest-exec"]], "{line}");
            assert_eq!(options.fsfreeze_hook.as_deref(), Some(Path::new(DEFAULT_HOOK)));
        }
    }

    #[test]
    fn verbs_stand_first_and_only_under_our_own_name() {
        assert_eq!(check("waga call -x y"), Ok(Wish::Call(vec!["-x".into(), "y".into()])));
        let Ok(Wish::Check(cli, true)) = check("waga check -b guest-ping --json") else { panic!("no check") };
        assert_eq!(cli.options.block, [["guest-ping"]]);
        assert!(matches!(check("/usr/sbin/qemu-ga call"), Ok(Wish::Run(_))));
        let Ok(Wish::Schema(cli, Format::Qapi, Some(command))) =
            check("waga schema guest-ping --form qapi -c f")
        else {
            panic!("no schema")
        };
        assert_eq!((cli.config.as_deref(), &*command), (Some(Path::new("f")), "guest-ping"));
        assert!(matches!(check("waga schema"), Ok(Wish::Schema(_, Format::JsonSchema, None))));
        assert!(check("waga schema a b").unwrap_err().contains("'b'"));
        assert!(check("waga schema --format=xml").unwrap_err().contains("json-schema or qapi"));
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
        for line in ["waga -h", "waga check --help", "waga schema --help", "qemu-ga --help"] {
            let Ok(Wish::Print(help)) = check(line) else { panic!("not printed") };
            for flag in FLAGS {
                assert_eq!(
                    help.contains(&format!("--{}", flag.long)),
                    !flag.help.is_empty(),
                    "{}",
                    flag.long
                );
            }
            assert!(help.lines().all(|line| line.len() <= 80), "{help}");
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
}
