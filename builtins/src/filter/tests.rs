//! Children that do as they should, and many that do not.

use super::*;
use crate::running::wait_until_gone;

/// Generous: what is tested ends by itself, or is ended by a limit of its own.
const LONG: Duration = Duration::from_secs(60);

fn sh(script: &str, limit: Duration) -> Filter {
    Filter::new("/bin/sh", ["-c".to_owned(), script.to_owned()], limit)
}

fn run(script: &str, input: Vec<u8>) -> Result<Outcome<Vec<u8>>, Failure> {
    smol::block_on(sh(script, LONG).run(io::Cursor::new(input), Vec::new()))
}

/// Takes so many bytes and no more.
struct Narrow(usize);

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn much_goes_in_and_comes_out_at_the_same_time() {
    let input: Vec<u8> = (0..5_000_011_u32).map(|number| number.to_le_bytes()[1]).collect();
    let outcome = run("cat; echo why >&2; exit 3", input.clone()).unwrap();
    assert_eq!((outcome.code, outcome.errors.as_str()), (Ok(3), "why\n"));
    assert!(outcome.output == input);
    let outcome = run("cat", Vec::new()).unwrap();
    assert_eq!((outcome.code, outcome.output.len()), (Ok(0), 0));
}

#[test]
fn it_gets_nothing_of_ours() {
    let outcome = run("cat; env; ls -l /proc/$$/fd | wc -l; ps -o sid= -p $$; echo $$", Vec::new()).unwrap();
    let text = String::from_utf8(outcome.output).unwrap();
    for line in text.lines().take_while(|line| line.contains('=')) {
        // The first is ours, the others are the shell's own.
        assert!(
            ["WAGA_HELPER=", "PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own)),
            "{line}"
        );
    }
    let last: Vec<_> = text.lines().rev().take(2).map(str::trim).collect();
    assert_eq!(last[0], last[1], "not the leader of a session: {text}");
}

#[test]
fn how_it_ended_is_told() {
    assert_eq!(run("exec cat >/dev/null", vec![0; 100]).unwrap().code, Ok(0));
    assert_eq!(run("kill -9 $$", vec![0; 1 << 22]).unwrap().code, Err(9));
    // Who fails need not read on.
    assert_eq!(run("echo no >&2; exit 2", vec![0; 1 << 22]).unwrap().errors, "no\n");
    assert!(matches!(run("exit 0", vec![0; 1 << 22]), Err(Failure::Unread)));
    let much = run("cat; head -c 100000 /dev/zero | tr '\\0' x >&2", Vec::new()).unwrap();
    assert_eq!(much.errors.len(), ERRORS);
    let missing = Filter::new("/nonexistent", [], LONG).run(io::empty(), io::sink());
    assert!(
        matches!(smol::block_on(missing), Err(Failure::Start(error)) if error.kind() == ErrorKind::NotFound)
    );
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("setsid sh -c 'echo $$ >{}; sleep 1000' & sleep 1000", file.display());
    let filter = sh(&script, Duration::from_secs(2)).run(io::empty(), io::sink());
    assert!(matches!(smol::block_on(filter), Err(Failure::Late(_))));
    wait_until_gone(&file);
}

#[test]
fn what_floods_is_killed() {
    let flood = sh("cat /dev/zero", LONG).run(io::empty(), Narrow(10 << 20));
    assert!(
        matches!(smol::block_on(flood), Err(Failure::Output(error)) if error.kind() == ErrorKind::FileTooLarge)
    );
    let outcome =
        smol::block_on(sh("cat /dev/zero >&2", Duration::from_secs(1)).run(io::empty(), io::sink()));
    assert!(matches!(outcome, Err(Failure::Late(_))));
}

#[test]
fn what_it_leaves_behind_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // It holds all three pipes, and writes on.
    let script = format!(
        "cat; setsid sh -c 'echo $$ >{0}; cat /dev/zero >&2' & while ! [ -s {0} ]; do :; done; echo done",
        file.display()
    );
    let outcome = run(&script, b"begun ".to_vec()).unwrap();
    assert_eq!((outcome.code, outcome.output.as_slice()), (Ok(0), &b"begun done\n"[..]));
    wait_until_gone(&file);
}

/// One that cleared its environment is of the group still, whoever else ends first.
#[test]
fn what_bears_no_mark_goes_with_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "cat; env -i /bin/sh -c 'echo $$ >{0}; exec sleep 1000' & while ! [ -s {0} ]; do :; done; kill -9 $$",
        file.display()
    );
    assert_eq!(run(&script, Vec::new()).unwrap().code, Err(9));
    wait_until_gone(&file);
}

#[test]
fn an_input_that_fails_ends_it() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.0, true) {
                false => Ok(piece.len()),
                true => Err(io::Error::other("changed")),
            }
        }
    }
    let failed = sh("cat >/dev/null; sleep 1000", LONG).run(Broken(false), io::sink());
    assert!(matches!(smol::block_on(failed), Err(Failure::Input(error)) if error.to_string() == "changed"));
}

#[test]
fn it_ends_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ >{}.new; mv {0}.new {0}; sleep 1000", file.display());
    let begun = async {
        while !file.exists() {
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    let filter = async { drop(sh(&script, LONG).run(io::empty(), io::sink()).await) };
    smol::block_on(or(filter, begun));
    wait_until_gone(&file);
}
