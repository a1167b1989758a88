//! The command line, recorded as it stands; what it means is decided in `config`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use waga_builtins::QEMU_VERSION;

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cli {
    /// `-c`: the configuration file.
    pub config: Option<PathBuf>,
    /// `-m`: how to reach the host.
    pub method: Option<String>,
    /// `-p`: where.
    pub path: Option<PathBuf>,
    /// `-l`: the log file.
    pub log_file: Option<PathBuf>,
    /// `-t`: where state is kept.
    pub state_dir: Option<PathBuf>,
    /// `-v`: log everything.
    pub verbose: bool,
    /// `-r`: open the channel again and again.
    pub retry_path: bool,
    /// `-b`: commands switched off.
    pub block: Vec<String>,
    /// `-a`: commands that stay on.
    pub allow: Option<Vec<String>>,
}

/// What the command line wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Run the daemon.
    Run(Box<Cli>),
    /// Print this and end.
    Print(String),
}

/// `waga 0.1.0 (as QEMU Guest Agent 11.1.3)`, or what qemu-ga prints when started under its name.
fn version(program: &str) -> String {
    if program == "qemu-ga" {
        format!("QEMU Guest Agent {QEMU_VERSION}")
    } else {
        format!("waga {} (as QEMU Guest Agent {QEMU_VERSION})", env!("CARGO_PKG_VERSION"))
    }
}

fn command() -> Command {
    let option = |short, long, name, help| {
        Arg::new(long).short(short).long(long).value_name(name).help(help).action(ArgAction::Set)
    };
    let path = |arg: Arg| arg.value_parser(value_parser!(PathBuf));
    let list = |arg: Arg| arg.action(ArgAction::Append);
    let flag =
        |short, long, help| Arg::new(long).short(short).long(long).help(help).action(ArgAction::SetTrue);
    Command::new("waga")
        .about("A guest agent: answers the host's commands inside a virtual machine, as qemu-ga does")
        .disable_version_flag(true)
        .args_override_self(true)
        .infer_long_args(true)
        .args([
            path(option('c', "config", "FILE", "read this agent.toml instead of /etc/waga/agent.toml")),
            option('m', "method", "METHOD", "transport: virtio-serial (default) or unix-listen"),
            path(option(
                'p',
                "path",
                "PATH",
                "device or socket (default /dev/virtio-ports/org.qemu.guest_agent.0)",
            )),
            path(option('l', "logfile", "FILE", "log to this file instead of stderr")),
            path(option('t', "statedir", "DIR", "keep state here (default /var/run)")),
            flag('v', "verbose", "log everything, not only errors"),
            flag('r', "retry-path", "open the channel again and again where it cannot be opened, or fails"),
            list(option(
                'b',
                "block-rpcs",
                "NAMES",
                "switch these commands off, separated by commas; 'help' lists all",
            )),
            list(option(
                'a',
                "allow-rpcs",
                "NAMES",
                "switch all but these off, separated by commas; 'help' lists all",
            )),
            flag('V', "version", "print the version"),
            // As with qemu-ga, a word that belongs to no option means nothing.
            Arg::new("stray").num_args(0..).hide(true),
        ])
}

/// Reads the command line.
///
/// # Errors
/// What is wrong with it, as it is to be shown; asking for help is not an error.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().map(PathBuf::from);
    let program = program.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    let program = program.unwrap_or("waga").to_owned();
    let mut matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            return Ok(Wish::Print(error.to_string().trim_end().to_owned()));
        }
        Err(error) => return Err(error.to_string().trim_end().to_owned()),
    };
    if matches.get_flag("version") {
        return Ok(Wish::Print(version(&program)));
    }
    let names = |matches: &mut ArgMatches, option: &str| {
        let lists: Option<Vec<String>> = matches.remove_many(option).map(Iterator::collect);
        let names = |lists: Vec<String>| {
            let names = lists.iter().flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        lists.map(names)
    };
    let (block, allow) = (names(&mut matches, "block-rpcs"), names(&mut matches, "allow-rpcs"));
    // As with qemu-ga, a list without a name is no list.
    let allow = allow.filter(|names| !names.is_empty());
    if [&block, &allow]
        .into_iter()
        .flatten()
        .any(|names| matches!(names[..], [ref name] if name == "help" || name == "?"))
    {
        let registry = crate::registry::Registry::builtins();
        let names: Vec<&str> = registry.slots().iter().map(|slot| &*slot.name).collect();
        return Ok(Wish::Print(names.join("\n")));
    }
    Ok(Wish::Run(Box::new(Cli {
        config: matches.remove_one("config"),
        method: matches.remove_one("method"),
        path: matches.remove_one("path"),
        log_file: matches.remove_one("logfile"),
        state_dir: matches.remove_one("statedir"),
        verbose: matches.get_flag("verbose"),
        retry_path: matches.get_flag("retry-path"),
        block: block.unwrap_or_default(),
        allow,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Wish, String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn options_are_recorded_as_they_stand() {
        let short = check("waga -m unix-listen -p s -t d -l log -v -b a,b -b c -a d").unwrap();
        let long = check(
            "waga --method=unix-listen --path s --statedir d --logfile log --verbose --block-rpcs a,b --block-rpcs=c --allow-rpcs d",
        );
        assert_eq!(Ok(short.clone()), long);
        let loose =
            "waga --meth=unix-listen stray --path s --state d --log log word --verb --block a,b,,c --allow d";
        assert_eq!(check(loose), long);
        let Ok(Wish::Run(cli)) = check("waga -a , -b ,") else { panic!("not run") };
        assert_eq!((cli.allow, cli.block), (None, Vec::new()));
        let Wish::Run(cli) = short else { panic!("not run") };
        assert_eq!(cli.block, ["a", "b", "c"]);
        assert_eq!(cli.allow, Some(vec!["d".to_owned()]));
        assert_eq!(cli.method.as_deref(), Some("unix-listen"));
        assert!(cli.verbose);
    }

    #[test]
    fn the_version_is_that_of_the_name_it_is_called_by() {
        assert_eq!(check("/usr/sbin/qemu-ga -V"), Ok(Wish::Print("QEMU Guest Agent 11.1.3".into())));
        let Ok(Wish::Print(text)) = check("waga --version") else { panic!("not printed") };
        assert!(text.starts_with("waga 0.") && text.contains("11.1.3"), "{text}");
    }

    #[test]
    fn help_lists_the_commands_and_the_options() {
        let Ok(Wish::Print(names)) = check("waga -b help") else { panic!("not printed") };
        assert!(names.lines().any(|name| name == "guest-ping"));
        let Ok(Wish::Print(help)) = check("waga -h") else { panic!("not printed") };
        assert!(help.contains("--block-rpcs"), "{help}");
        assert!(check("waga --nope").unwrap_err().contains("--nope"));
    }
}
