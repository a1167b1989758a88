//! The sample `agent.toml` and the examples.

use std::path::Path;

use super::agent_toml;
use super::tests::System;
use crate::registry::Registry;

/// The sample that everyone starts from: what it shows is right, and it shows every key.
#[test]
fn the_sample_shows_every_key_and_all_of_it_is_right() {
    let sample = include_str!("../../../agent.toml");
    assert!(agent_toml::parse(sample, Path::new("sample")).is_ok());
    // What is commented out is configuration if it begins a table or has a key and a value.
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(rest)
            if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
        {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    let full: String = sample.lines().map(|line| uncomment(line) + "\n").collect();
    let said = agent_toml::parse(&full, Path::new("sample")).unwrap();
    assert!(said.audit.is_some() && said.channel_rules.len() == 1 && said.rules.limits.exec.len() == 1);
    for table in [
        "",
        "[[channel]]",
        "[policy]",
        "[policy.exec]",
        "[policy.file]",
        "[log]",
        "[audit]",
        "[state]",
        "[daemon]",
        "[freeze]",
        "[extensions]",
        "[extension.x]",
    ] {
        // The fault names the keys.
        let error = agent_toml::parse(&format!("{table}\nno-such-key = 1\n"), Path::new("x"))
            .unwrap_err()
            .to_string();
        let keys: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        assert!(!keys.is_empty(), "{error}");
        for key in keys {
            let (entry, one, many) = (format!("{key} = "), format!("[{key}"), format!("[policy.{key}"));
            let shown = full
                .lines()
                .any(|line| line.starts_with(&entry) || line.contains(&one) || line.contains(&many));
            assert!(shown, "{table} {key} is not in agent.toml");
        }
    }
    for key in ["program", "args", "env"] {
        assert!(full.contains(&format!("{key} = ")));
    }
    // The defaults that it shows are the defaults; a further key of a table in one line is a fault that names them all.
    let mut shown = super::Extensions::default();
    shown.add(said.extensions).unwrap();
    let extension = &shown.list[0];
    // A time that is written is that of every call.
    let limits = super::CallLimits::default();
    assert_eq!(extension.limits, super::CallLimits { time_over: limits.time, ..limits });
    // But for the folders that `make run` has in its own.
    let default = super::Extensions::default();
    for folder in [&default.cache, &default.state] {
        assert!(full.contains(&format!("default {}\n", folder.display())));
    }
    assert_eq!(
        super::Extensions {
            list: Vec::new(),
            cache: default.cache.clone(),
            state: default.state.clone(),
            ..shown
        },
        default
    );
    for (table, key) in [("extensions", "compile"), ("extension.x", "limits")] {
        let text = format!("[{table}]\n{key} = {{ no-such-key = 1 }}\n");
        let error = agent_toml::parse(&text, Path::new("x")).unwrap_err().to_string();
        let line = full.lines().find(|line| line.starts_with(&format!("{key} = {{"))).unwrap();
        for key in error.split('`').skip(3).step_by(2) {
            assert!(line.contains(&format!("{key} = ")), "{key} is not in agent.toml");
        }
    }
}

#[test]
fn the_examples_are_right() {
    let registry = Registry::builtins();
    for text in [
        include_str!("../../../examples/backup.toml"),
        include_str!("../../../examples/monitoring.toml"),
        include_str!("../../../examples/two-channels.toml"),
        include_str!("../../../examples/extensions.toml"),
    ] {
        let system = System::new(&[("agent.toml", text)]);
        let config = system.config("waga");
        assert_eq!(
            config.doubts.len() + crate::check::warnings(&config.policy, &registry, |_| true).len(),
            0
        );
    }
}
