//! `waga call --help COMMAND`, and what is said when a name was mistyped: against waga, its extensions, and the original.

use std::process::Command;

use waga_tests::agent::Agent;

use crate::call::{call, client, printed, told, with_agents};
use crate::extension::{settled, setup};
use crate::{introspection, program};

/// What is printed about a command that the agent has.
fn about(agent: &Agent, words: &[&str]) -> String {
    printed(&call(&agent.socket(), words).unwrap())
}

/// Text in which it does not matter where lines end.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs the line that a page shows, as somebody who pastes it does; what it prints.
fn pasted(page: &str) -> String {
    let (_, lines) = page.split_once("\nTo call it:\n").unwrap();
    let (line, _) = lines.split_once("\nWith all it takes:").unwrap_or((lines, ""));
    let script = format!("waga() {{ '{}' \"$@\"; }}\n{line}", program().path().display());
    printed(&Command::new("sh").args(["-c", &script]).output().unwrap())
}

#[test]
fn the_agent_tells_what_its_command_takes_and_returns() {
    with_agents(|agent| {
        let page = about(agent, &["--help", "guest-file-open"]);
        assert_eq!(page, about(agent, &["guest-file-open", "--help"]));
        assert_eq!(page.starts_with("guest-file-open\n\n"), agent.is_waga(), "{page}");
        for part in
            ["\n  path: string\n", "\n  mode: string; optional\n", "\nResult: integer (file-handle)\n"]
        {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let line = format!("call --socket {} guest-file-open path=PATH", agent.socket().display());
        assert!(joined(&page).contains(&line), "{page}");
        assert!(page.lines().all(|line| line.chars().count() < 80 || line.contains("--socket")), "{page}");
        assert_eq!(pasted(&about(agent, &["--help", "guest-sync"])), "0\n");
        // What does not answer has nothing to show.
        assert!(
            about(agent, &["guest-shutdown", "-h"]).contains("\nResult: none; success is not answered\n")
        );
    });
}

#[test]
fn where_the_agent_does_not_say_this_waga_does_and_tells_so() {
    with_agents(|agent| {
        let agent = if agent.is_waga() {
            &program().setup().options(["-b", "waga-get-schema"]).start()
        } else {
            agent
        };
        let page = about(agent, &["--help", "guest-get-osinfo"]);
        let (title, rest) = page.split_once("\n\n").unwrap();
        let title = joined(title);
        let start = "guest-get-osinfo, as this waga has it; the agent did not say: waga-get-schema: CommandNotFound: ";
        assert!(title.starts_with(start), "{title}");
        assert!(rest.contains("\n  kernel-release: string; optional\n"), "{page}");
        assert!(rest.contains("--socket /"), "it can be pasted all the same: {page}");
    });
    let Some(mut nowhere) = client() else { return };
    let page = printed(&nowhere.args(["--help", "guest-ping"]).output().unwrap());
    assert!(
        joined(&page).starts_with(
            "guest-ping, as this waga has it; the agent did not say: none was named by --socket"
        )
    );
    assert!(page.ends_with("\nTo call it:\n  waga call --socket PATH guest-ping\n"), "{page}");
    let nobody = tempfile::tempdir().unwrap();
    let page = printed(&call(&nobody.path().join("s"), &["--help", "guest-ping"]).unwrap());
    assert!(joined(&page).contains("did not say: cannot connect to"), "{page}");
}

#[test]
fn a_command_that_nobody_has_is_told_with_the_nearest() {
    with_agents(|agent| {
        let wrong = |words: &[&str], code| {
            let (got, out, err) = told(&call(&agent.socket(), words).unwrap());
            assert_eq!((got, &*out), (Some(code), ""), "{err}");
            err
        };
        let err = wrong(&["--help", "guest-pign"], 2);
        assert!(
            err.starts_with("waga: the agent has no command 'guest-pign'; did you mean 'guest-ping'?\n"),
            "{err}"
        );
        assert!(!wrong(&["--help", "guest-acme-backup"], 2).contains("did you mean"));
        let not_found = "waga: guest-pign: CommandNotFound: The command guest-pign has not been found\n";
        assert_eq!(wrong(&["guest-pign"], 1), format!("{not_found}did you mean 'guest-ping'?\n"));
        assert_eq!(wrong(&["guest-acme-backup"], 1).lines().count(), 1);
        if !agent.is_waga() {
            // This waga has it; the agent that was asked has not.
            assert!(wrong(&["--help", "waga-get-stats"], 2).contains("the agent has no command"));
        }
    });
    let Some(mut nowhere) = client() else { return };
    let (code, out, err) = told(&nowhere.args(["--help", "guest-pign"]).output().unwrap());
    assert_eq!((code, &*out), (Some(2), ""), "{err}");
    assert!(
        err.contains("'guest-pign'; did you mean 'guest-ping'? (the agent did not say: none was named"),
        "{err}"
    );
}

/// The agent's own words stay what they are; the client adds what it knows.
#[test]
fn an_argument_that_was_mistyped_is_told_with_the_nearest() {
    with_agents(|agent| {
        for (words, error, hint) in [
            (
                &["guest-file-open", "pth=/secret"][..],
                "Parameter 'path' is missing",
                "there is no argument 'pth'; did you mean 'path'?",
            ),
            (
                &["guest-file-open", "path=/etc/hostname", "mdoe=r"],
                "Parameter 'mdoe' is unexpected",
                "there is no argument 'mdoe'; did you mean 'mode'?",
            ),
            (
                &["guest-file-seek", "{\"handle\": 1, \"offset\": 0, \"whense\": \"set\"}"],
                "Parameter 'whence' is missing",
                "there is no argument 'whense'; did you mean 'whence'?",
            ),
        ] {
            let (code, out, err) = told(&call(&agent.socket(), words).unwrap());
            assert_eq!((code, &*out), (Some(1), ""), "{err}");
            assert_eq!(err, format!("waga: {}: GenericError: {error}\n{hint}\n", words[0]));
        }
    });
}

#[test]
fn a_command_of_an_extension_is_told_as_well() {
    let Some(setup) = setup(&[("told", &introspection::told(), "")]) else { return };
    let agent = setup.start();
    settled(&agent, "told");
    let page = about(&agent, &["--help", "guest-test-double"]);
    let expected = "\
guest-test-double, added by the extension told

Doubles a number.

Arguments:
  number: integer from 0
      which one, überhaupt
  often: boolean; optional

Result: integer from 0

To call it:
";
    assert!(page.starts_with(expected), "{page}");
    assert!(joined(&page.replace('\\', " ")).contains("guest-test-double number=0 often=true"), "{page}");
    assert_eq!(pasted(&page), "0\n");
    let wrong = |words: &[&str]| told(&call(&agent.socket(), words).unwrap()).2;
    assert!(wrong(&["guest-test-doubel"]).ends_with("\ndid you mean 'guest-test-double'?\n"));
    assert!(
        wrong(&["guest-test-double", "nmber=1"])
            .ends_with("\nthere is no argument 'nmber'; did you mean 'number'?\n")
    );
    let help = wrong(&["guest-test-doubel", "--help"]);
    assert!(
        help.contains("the agent has no command 'guest-test-doubel'; did you mean 'guest-test-double'?"),
        "{help}"
    );
}

/// Of an extension's command nobody else knows.
#[test]
fn what_neither_knows_is_no_page() {
    let Some(setup) = setup(&[("told", &introspection::told(), "")]) else { return };
    let agent = setup.options(["-b", "waga-get-schema"]).start();
    settled(&agent, "told");
    let (code, out, err) = told(&call(&agent.socket(), &["--help", "guest-test-double"]).unwrap());
    assert_eq!((code, &*out), (Some(3), ""), "{err}");
    assert!(
        err.starts_with(
            "waga: guest-test-double: the agent has it and does not say what it takes (waga-get-schema: "
        ) && err.contains("has been disabled"),
        "{err}"
    );
}
