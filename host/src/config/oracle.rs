//! What holds for any text in the place of a configuration file, right or wrong: for property tests and for fuzzing.

use std::path::Path;

use super::{Sources, agent_toml, qemu_ga_conf};
use crate::cli::{Cli, Name};

/// Reads it as either kind of file, which must end in a meaning or in a fault with its place. A meaning, dumped, reads back to the same.
///
/// # Panics
/// It does not hold.
pub fn check(text: &str) {
    let path = Path::new("file");
    match agent_toml::parse(text, path) {
        Ok(said) => {
            let sources = Sources { ours: vec![said], ..Sources::default() };
            reads_back(sources, Name::Waga, |dumped| {
                let said =
                    agent_toml::parse(dumped, path).unwrap_or_else(|error| panic!("{error}:\n{dumped}"));
                Sources { ours: vec![said], ..Sources::default() }
            });
        }
        Err(error) => {
            let mut parts =
                error.to_string().splitn(4, ':').map(str::to_owned).collect::<Vec<_>>().into_iter();
            assert_eq!(parts.next().as_deref(), Some("file"), "{error}");
            let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
            let (line, column) = (number(), number());
            assert!(line.is_some_and(|line| (1..=text.split('\n').count()).contains(&line)), "{error}");
            assert!(column.is_some_and(|column| column >= 1), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    if let Ok(said) = qemu_ga_conf::parse(text, path) {
        let sources = Sources { qemu_ga: said, ..Sources::default() };
        reads_back(sources, Name::QemuGa, |dumped| {
            let said = qemu_ga_conf::parse(dumped, path).unwrap_or_else(|error| panic!("{error}:\n{dumped}"));
            Sources { qemu_ga: said, ..Sources::default() }
        });
    }
}

/// Lists are dumped backwards by qemu-ga, so what is compared is the dump of the dump of the dump.
fn reads_back(sources: Sources, name: Name, parse: impl Fn(&str) -> Sources) {
    let dump = |sources: Sources| {
        let resolved = sources.resolve(&Cli { name, ..Cli::default() }).ok()?;
        // Paths that are not UTF-8 cannot come from a text.
        Some(resolved.dump().unwrap_or_else(|error| panic!("{error}")))
    };
    let Some(first) = dump(sources) else { return };
    let second = dump(parse(&first)).unwrap_or_else(|| panic!("what was dumped makes no sense:\n{first}"));
    let third = dump(parse(&second)).unwrap_or_else(|| panic!("what was dumped makes no sense:\n{second}"));
    assert_eq!(first, third);
    if name == Name::Waga {
        assert_eq!(first, second);
    }
}
