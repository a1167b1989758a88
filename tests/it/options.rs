//! Every option and every key of qemu-ga's, as upstream documents them: one table, put to waga under the name `qemu-ga` and to the
//! original. `--dump-conf` shows what an option came to; what an option does is tested where it belongs.

use std::fs;
use std::io;
use std::process::{Output, Stdio};

use waga_tests::agent::Program;

use crate::table::matches;
use crate::{original, program};

/// What is run, and what is to come of it.
struct Row {
    /// `qemu-ga.conf`, named by `QGA_CONF`; `None`: there is none.
    conf: Option<&'static str>,
    args: &'static [&'static str],
    expect: Expect,
    /// The original has it from this version on.
    since: u32,
}

enum Expect {
    /// Exit code 0, nothing on standard error, and of the dumped keys just these differ from the defaults.
    Dumps(&'static [(&'static str, &'static str)]),
    /// Exit code 0 and this on standard output; `…` stands for anything.
    Prints(&'static str),
    /// Exit code 1 and a word about it. The second is a part of waga's.
    Fails(&'static str),
}
use Expect::{Dumps, Fails, Prints};

const fn row(args: &'static [&'static str], expect: Expect) -> Row {
    Row { conf: None, args, expect, since: 0 }
}

const fn conf(conf: &'static str, args: &'static [&'static str], expect: Expect) -> Row {
    Row { conf: Some(conf), args, expect, since: 0 }
}

const fn since(since: u32, row: Row) -> Row {
    Row { since, ..row }
}

/// The keys of the dump, in order, with their defaults; those without one are left out of it.
const DEFAULTS: &[(&str, Option<&str>)] = &[
    ("daemon", Some("false")),
    ("method", Some("virtio-serial")),
    ("path", Some("/dev/virtio-ports/org.qemu.guest_agent.0")),
    ("logfile", None),
    ("pidfile", Some("/var/run/qemu-ga.pid")),
    ("fsfreeze-hook", None),
    ("statedir", Some("/var/run")),
    ("verbose", Some("false")),
    ("retry-path", Some("false")),
    ("block-rpcs", Some("")),
    ("allow-rpcs", Some("")),
];

const ROWS: &[Row] = &[
    // Nothing, and words that mean nothing.
    row(&["-D"], Dumps(&[])),
    row(&["--dump-conf"], Dumps(&[])),
    row(&["-D", "stray", "words"], Dumps(&[])),
    row(&["stray", "-D"], Dumps(&[])),
    row(&["-D", "--", "-v"], Dumps(&[])),
    row(&["-D", "-"], Dumps(&[])),
    // -m, -p
    row(&["-D", "-m", "isa-serial"], Dumps(&[("method", "isa-serial"), ("path", "/dev/ttyS0")])),
    row(
        &["-D", "--method=isa-serial", "--path", "/dev/x"],
        Dumps(&[("method", "isa-serial"), ("path", "/dev/x")]),
    ),
    row(&["-D", "-m", "unix-listen", "-p", "/s"], Dumps(&[("method", "unix-listen"), ("path", "/s")])),
    row(&["-D", "-munix-listen", "-ps"], Dumps(&[("method", "unix-listen"), ("path", "s")])),
    row(
        &["-D", "-m", "vsock-listen", "-p", "4294967295:1234"],
        Dumps(&[("method", "vsock-listen"), ("path", "4294967295:1234")]),
    ),
    row(&["-D", "-p", "/a", "--path=/b"], Dumps(&[("path", "/b")])),
    row(&["-D", "-m", "unix-listen"], Fails("needs a path")),
    row(&["-D", "-m", "vsock-listen"], Fails("CID:PORT")),
    row(&["-D", "-m", "carrier-pigeon"], Fails("carrier-pigeon")),
    // -l, -f, -F, -t
    row(&["-D", "-l", "/l"], Dumps(&[("logfile", "/l")])),
    row(&["-D", "--logfile", "/l"], Dumps(&[("logfile", "/l")])),
    row(&["-D", "-f", "/f"], Dumps(&[("pidfile", "/f")])),
    row(&["-D", "--pidfile=/f"], Dumps(&[("pidfile", "/f")])),
    row(&["-D", "-F"], Dumps(&[("fsfreeze-hook", "/etc/qemu/fsfreeze-hook")])),
    row(&["-D", "-F/h"], Dumps(&[("fsfreeze-hook", "/h")])),
    row(&["-D", "-F", "/h"], Dumps(&[("fsfreeze-hook", "/etc/qemu/fsfreeze-hook")])),
    row(&["-D", "--fsfreeze-hook"], Dumps(&[("fsfreeze-hook", "/etc/qemu/fsfreeze-hook")])),
    row(&["-D", "--fsfreeze-hook=/h"], Dumps(&[("fsfreeze-hook", "/h")])),
    row(&["-D", "--fsfreeze-hook", "/h"], Dumps(&[("fsfreeze-hook", "/etc/qemu/fsfreeze-hook")])),
    row(&["-D", "-t", "/t"], Dumps(&[("statedir", "/t")])),
    row(&["-D", "--statedir=t"], Dumps(&[("statedir", "t")])),
    // -v, -d, -r, together and cut short
    row(&["-D", "-v"], Dumps(&[("verbose", "true")])),
    row(&["-D", "--verbose", "-v"], Dumps(&[("verbose", "true")])),
    row(&["-D", "-d"], Dumps(&[("daemon", "true")])),
    row(&["-D", "--daemonize"], Dumps(&[("daemon", "true")])),
    row(&["-D", "--daemon"], Dumps(&[("daemon", "true")])),
    row(&["-D", "-r"], Dumps(&[("retry-path", "true")])),
    row(&["-D", "--retry-path"], Dumps(&[("retry-path", "true")])),
    row(&["-vrdD"], Dumps(&[("verbose", "true"), ("retry-path", "true"), ("daemon", "true")])),
    row(&["-Dvp/x"], Dumps(&[("verbose", "true"), ("path", "/x")])),
    row(
        &["--du", "--verb", "--re", "--st=/t"],
        Dumps(&[("verbose", "true"), ("retry-path", "true"), ("statedir", "/t")]),
    ),
    // -b, -a
    row(&["-D", "-b", "a,b,c", "--block-rpcs=d"], Dumps(&[("block-rpcs", "c,b,a,d")])),
    row(&["-D", "-b", ""], Dumps(&[])),
    row(&["-D", "-b", "a,,b,"], Dumps(&[("block-rpcs", ",b,,a")])),
    row(&["-D", "-b", "help,a"], Dumps(&[("block-rpcs", "a,help")])),
    since(9, row(&["-D", "-a", "x,y", "--allow-rpcs", "z"], Dumps(&[("allow-rpcs", "y,x,z")]))),
    row(&["-b", "help"], Prints("guest-sync-delimited\nguest-sync\nguest-ping\n…guest-exec\n…")),
    row(&["-D", "--block-rpcs=?"], Prints("guest-sync-delimited\n…")),
    since(9, row(&["-a", "help"], Prints("guest-sync-delimited\n…"))),
    // -V, -h
    row(&["-V"], Prints("QEMU Guest Agent …\n")),
    row(&["--version", "-h"], Prints("QEMU Guest Agent …\n")),
    row(&["-h"], Prints("Usage: … [-m <method> -p <path>] [<options>]\nQEMU Guest Agent …")),
    row(&["-D", "--help", "-V"], Prints("Usage: …")),
    // What is not understood.
    row(&["-Z"], Fails("-Z")),
    row(&["--nope"], Fails("--nope")),
    row(&["--ver"], Fails("--ver")),
    row(&["--verbose=1"], Fails("verbose")),
    row(&["-D", "-m"], Fails("-m")),
    row(&["-D", "--path"], Fails("--path")),
    // The file: what GLib reads as a key file.
    conf("", &["-D"], Dumps(&[])),
    conf(
        "# c\n\n[general]\ndaemon=true\nmethod=isa-serial\npath=/p\nlogfile=/l\npidfile=/f\nfsfreeze-hook=/h\nstatedir=/t\nverbose=true\nretry-path=true\nblock-rpcs=a,b\nunknown=x\n",
        &["-D"],
        Dumps(&[
            ("daemon", "true"),
            ("method", "isa-serial"),
            ("path", "/p"),
            ("logfile", "/l"),
            ("pidfile", "/f"),
            ("fsfreeze-hook", "/h"),
            ("statedir", "/t"),
            ("verbose", "true"),
            ("retry-path", "true"),
            ("block-rpcs", "b,a"),
        ]),
    ),
    conf("[general]\nverbose=1\ndaemon = 0 \n", &["-D"], Dumps(&[("verbose", "true")])),
    conf(
        "[general]\r\nstatedir=/x\r\nverbose=true\r\n",
        &["-D"],
        Dumps(&[("statedir", "/x"), ("verbose", "true")]),
    ),
    conf(
        "[other]\nverbose=true\n [general] \npath=/a\n[other]\n[general]\npath=/b\n",
        &["-D"],
        Dumps(&[("path", "/b")]),
    ),
    conf("[General]\nverbose=true\n", &["-D"], Dumps(&[])),
    conf("[general]\nfoo bar=x\nstatedir[de]=/q\n", &["-D"], Dumps(&[])),
    conf(
        "[general]\nblock-rpcs=a,b;c, d ,,e\n",
        &["-D", "-b", "m,n"],
        Dumps(&[("block-rpcs", "e,, d ,b;c,a,n,m")]),
    ),
    since(9, conf("[general]\nallow-rpcs=z,y\n", &["-D", "-a", "k"], Dumps(&[("allow-rpcs", "y,z,k")]))),
    conf(
        "[general]\nverbose=false\npath=/a\nfsfreeze-hook=/h\n",
        &["-D", "-v", "-p/b", "-F"],
        Dumps(&[("verbose", "true"), ("path", "/b"), ("fsfreeze-hook", "/etc/qemu/fsfreeze-hook")]),
    ),
    conf(
        "[general]\nmethod=unix-listen\n",
        &["-D", "-p", "/s"],
        Dumps(&[("method", "unix-listen"), ("path", "/s")]),
    ),
    conf("[general]\nverbose=yes\n", &["-D"], Fails("conf:2: ")),
    conf("[general]\nverbose=TRUE\n", &["-D"], Fails("conf:2: ")),
    conf("[general]\nverbose=\n", &["-D"], Fails("conf:2: ")),
    conf("[general]\nverbose=true # c\n", &["-D"], Fails("conf:2: ")),
    conf("verbose=true\n", &["-D"], Fails("conf:1: ")),
    conf("[general]\ngarbage\n", &["-D"], Fails("conf:2: 'garbage'")),
    conf("[general\nverbose=true\n", &["-D"], Fails("conf:1: ")),
    conf("[]\n", &["-D"], Fails("conf:1: ")),
    conf("[general]\n=x\n", &["-D"], Fails("conf:2: ")),
    conf("[general]\nstatedir=/a\\x\n", &["-D"], Fails("conf:2: ")),
    conf("[general]\nmethod=unix-listen\n", &["-D"], Fails("needs a path")),
    since(9, row(&["-D", "-c", "/nonexistent/conf"], Fails("/nonexistent/conf"))),
    since(9, row(&["-D", "-c", "/"], Fails("/: "))),
];

fn run(program: &Program, row: &Row) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conf");
    if let Some(text) = row.conf {
        fs::write(&path, text).unwrap();
    }
    program.command().args(row.args).env("QGA_CONF", &path).current_dir(dir.path()).output().unwrap()
}

/// The values of the dump, one for each default.
fn dumped(text: &str) -> Vec<(String, Option<String>)> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("[general]"), "{text}");
    let mut lines = lines.filter_map(|line| line.split_once('=')).peekable();
    let values = DEFAULTS.iter().map(|(key, _)| {
        let value = lines.next_if(|(found, _)| found == key).map(|(_, value)| value.to_owned());
        ((*key).to_owned(), value)
    });
    let values = values.collect();
    assert!(lines.next().is_none(), "unknown keys, or another order:\n{text}");
    values
}

fn check(program: &Program, row: &Row) {
    let output = run(program, row);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let context = format!("{}: {:?} {:?}\n{out}\n{err}", program.name(), row.args, row.conf);
    match row.expect {
        Dumps(expected) => {
            assert_eq!(output.status.code(), Some(0), "{context}");
            assert_eq!(err, "", "{context}");
            for ((key, default), (_, found)) in DEFAULTS.iter().zip(dumped(&out)) {
                // It came with 8.1.
                if *key == "allow-rpcs" && !program.since(9) {
                    continue;
                }
                let wanted =
                    expected.iter().find(|(name, _)| name == key).map(|(_, value)| *value).or(*default);
                assert_eq!(found.as_deref(), wanted, "{key}: {context}");
            }
        }
        Prints(pattern) => {
            assert_eq!(output.status.code(), Some(0), "{context}");
            assert!(matches(&out, pattern), "{context}");
        }
        Fails(part) => {
            assert_eq!(output.status.code(), Some(1), "{context}");
            assert!(!err.is_empty(), "{context}");
            assert!(!program.is_waga() || err.contains(part), "{context}");
        }
    }
}

#[test]
fn options_and_files_mean_what_they_mean_to_qemu_ga() {
    let ours = Some(program()).filter(Program::is_waga).map(|program| program.called("/usr/sbin/qemu-ga"));
    let theirs = original().or_else(|| Some(program()).filter(|program| !program.is_waga()));
    for program in ours.into_iter().chain(theirs) {
        println!("against {}", program.name());
        for row in ROWS.iter().filter(|row| program.since(row.since)) {
            check(&program, row);
        }
    }
}

/// Spellings that the original once had, or that are ours: as waga under either name.
#[test]
fn old_spellings_are_understood() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let program = program.called("qemu-ga");
    for row in [
        row(&["-D", "--blacklist=a"], Dumps(&[("block-rpcs", "a")])),
        conf("[general]\nblacklist=a,b\n", &["-D"], Dumps(&[("block-rpcs", "b,a")])),
        row(&["-D", "-b", "guest-ping", "--blacklist", "a"], Dumps(&[("block-rpcs", "guest-ping,a")])),
        row(&["-D", "-m", "vsock-listen", "-p", "bogus"], Fails("CID:PORT")),
    ] {
        check(&program, &row);
    }
}

/// `waga --help | head -1`, and a disk that is full.
#[test]
fn what_was_asked_for_may_find_no_reader() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for args in [&["--help"][..], &["-V"], &["-b", "help"], &["-D"], &["check"], &["check", "--json"]] {
        let told = |stdout: Stdio| {
            let output = program.command().args(args).stdout(stdout).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(told(writer.into()), (Some(0), String::new()), "{args:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, error) = told(full.into());
        assert_eq!(code, Some(1), "{args:?}: {error}");
        assert!(
            error.starts_with("cannot write to stdout: ") && error.lines().count() == 1,
            "{args:?}: {error}"
        );
    }
}

/// Help is read on terminals of 80 columns.
#[test]
fn help_is_no_wider_than_a_terminal() {
    if !program().is_waga() {
        return;
    }
    for (name, args) in [
        ("waga", &["--help"][..]),
        ("waga", &["check", "--help"]),
        ("waga", &["call", "--help"]),
        ("qemu-ga", &["--help"]),
    ] {
        let output = program().called(name).run(args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.starts_with(['U', 'C']), "{text}");
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{name} {args:?}: {wide:#?}");
    }
}
