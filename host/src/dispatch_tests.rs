//! What the audit says of commands that panic, hang or are refused from within.

use std::os::unix::net::UnixDatagram;

use smol::future::poll_once;
use waga_builtins::{Builtin, Command, Empty, Result};

use super::*;
use crate::audit::Audit;
use crate::log;
use crate::policy::{AllowList, Names, Origin, Rules};
use crate::wire::{Event, Framer};

struct Panics;

impl Command for Panics {
    const NAME: &'static str = "test-panics";
    type Args = Empty;
    type Return = Empty;

    async fn run(_: &Context, _: Empty) -> Result<Empty> {
        assert_eq!(1, 2, "secret");
        Ok(Empty {})
    }
}

struct Hangs;

impl Command for Hangs {
    const NAME: &'static str = "test-hangs";
    type Args = Empty;
    type Return = Empty;

    async fn run(_: &Context, _: Empty) -> Result<Empty> {
        smol::future::pending().await
    }
}

struct Refuses;

impl Command for Refuses {
    const NAME: &'static str = "test-refuses";
    type Args = Empty;
    type Return = Empty;

    async fn run(_: &Context, _: Empty) -> Result<Empty> {
        Err(Error::refused("secret"))
    }
}

static COMMANDS: [Builtin; 3] = [Builtin::of::<Panics>(), Builtin::of::<Hangs>(), Builtin::of::<Refuses>()];

fn request(text: &str) -> Request {
    match Framer::default().feed(format!("{text}\n").as_bytes()).1 {
        Some(Event::Message(message)) => Request::try_from(message).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The line of one request, polled once, from its outcome on.
fn line(command: &str, policy: Policy) -> String {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let output = log::Output::over(theirs, log::Kind::Audit);
    let settings = Settings::new(std::env::temp_dir());
    let dispatcher = Dispatcher::new(Registry::of(COMMANDS.iter()), policy, &settings, &Arc::default());
    let dispatcher = dispatcher.audited(Some(Audit::to(output)));
    let caller = Caller::Channel("test".into());
    let request = request(&format!(r#"{{"execute":"{command}"}}"#));
    let _ = smol::block_on(poll_once(dispatcher.serve(&caller, request)));
    ours.set_nonblocking(true).unwrap();
    let mut line = [0; 4096];
    let length = ours.recv(&mut line).unwrap();
    assert!(ours.recv(&mut [0]).is_err(), "one line a request");
    let line = std::str::from_utf8(&line[..length]).unwrap();
    let (head, outcome) = line.split_once("\"outcome\": ").unwrap();
    let described = format!("\"command\": \"{command}\", \"arguments\": [], \"values\": {{}}, ");
    assert!(head.ends_with(&described), "{line}");
    outcome.split(", \"duration-us\"").next().unwrap().to_owned()
}

#[test]
fn how_a_command_ended_is_told() {
    let all = Policy::default;
    assert_eq!(line("test-panics", all()), r#""panic", "class": "GenericError""#);
    assert_eq!(line("test-hangs", all()), r#""abandoned""#);
    assert_eq!(line("test-refuses", all()), r#""refused", "by": "limits", "class": "GenericError""#);
    assert_eq!(line("test-no-such", all()), r#""unknown", "class": "CommandNotFound""#);
    let none = AllowList { names: Names::default(), origin: Origin::option("-a") };
    let none = Policy::new(Rules { allow: vec![none], ..Rules::default() }, []);
    assert_eq!(line("test-hangs", none), r#""refused", "by": "policy", "class": "CommandNotFound""#);
}
