//! What may be granted, and what is refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use super::{Place, granted, text, with_own};
use crate::config::OwnPlace;

#[test]
fn links_in_what_is_granted_are_followed_once() {
    let place = Place::new();
    place.file("real/x", "one");
    place.file("real/y", "two");
    symlink("real", place.at("link")).unwrap();
    symlink("x", place.at("real/to")).unwrap();
    let files = granted(&[&place.at("link"), &place.at("link/to")], &[]);
    files.open().unwrap();
    assert_eq!(text(&files, &place.at("link/y")).as_deref(), Ok("two"));
    assert_eq!(text(&files, &place.at("link/to")).as_deref(), Ok("one"));
    assert_eq!(text(&files, &place.at("real/y")), Err(Errno::NOENT));
    fs::remove_file(place.at("real/to")).unwrap();
    symlink("y", place.at("real/to")).unwrap();
    assert_eq!(text(&files, &place.at("link/to")).as_deref(), Ok("one"));
}

#[test]
fn what_must_not_be_granted_is_refused_with_the_way_out() {
    let place = Place::new();
    let own = [
        OwnPlace {
            path: place.at("etc/waga").into(),
            what: "its configuration",
            whole: true,
            is_program: false,
        },
        OwnPlace { path: place.at("run").into(), what: "its state", whole: false, is_program: false },
        OwnPlace {
            path: place.file("log/waga.log", "").into(),
            what: "its log",
            whole: false,
            is_program: false,
        },
    ];
    for name in ["etc/waga", "etc/acme", "shared/in", "run/acme", "open/in"] {
        fs::create_dir_all(place.at(name)).unwrap();
    }
    place.file("etc/waga/agent.toml", "");
    fs::set_permissions(place.at("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.at("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    place.file("shared/file", "");
    symlink("/proc", place.at("proc")).unwrap();
    symlink(place.at("etc/waga"), place.at("innocent")).unwrap();
    let refused = |path: &str| with_own(&[path], &[], &own).open();
    for (path, reason) in [
        ("/proc".to_owned(), "is proc, the kernel's: grant other folders, or single files of it"),
        ("/sys".to_owned(), "is sysfs, the kernel's"),
        ("/proc/sys/kernel".to_owned(), "is in a filesystem of the kernel's: grant single files of it"),
        ("/sys/class".to_owned(), "is in a filesystem of the kernel's"),
        ("/proc/self/status".to_owned(), "belongs to a process"),
        ("/proc/thread-self/mem".to_owned(), "belongs to a process"),
        ("/proc/1/environ".to_owned(), "belongs to a process"),
        ("/proc/self/".to_owned(), "belongs to a process"),
        ("/proc/mounts".to_owned(), "belongs to a process"),
        ("/proc/kcore".to_owned(), "or is the kernel's memory or log: no extension is granted any of these"),
        ("/proc/kmsg".to_owned(), "belongs to a process, or is the kernel's"),
        ("/dev/null".to_owned(), "is neither a regular file nor a folder"),
        (place.at("proc"), "is proc, the kernel's"),
        (place.at("proc/self/mem"), "belongs to a process"),
        (place.at("etc/waga"), "is the agent's own, its configuration: no extension is granted that"),
        (place.at("etc/waga/agent.toml"), "is in what is the agent's own, its configuration"),
        (place.at("innocent/agent.toml"), "is in what is the agent's own, its configuration"),
        (place.at("etc"), "holds what is the agent's own, its configuration"),
        (place.at("run"), "is the agent's own, its state"),
        (place.at("log"), "holds what is the agent's own, its log"),
        (place.at("log/waga.log"), "is the agent's own, its log"),
        (place.at("shared/file"), "where others may make files, too: grant a folder that is there already"),
        (place.at("shared/none"), "where others may make files, too"),
        (place.at("shared/none/"), "where others may make files, too"),
        (place.at("open/in"), "is below a folder that others may write to; "),
    ] {
        let reasons = refused(&path).expect_err(&path);
        assert!(
            reasons.starts_with(&format!("read \"{}\" ", path.trim_end_matches('/'))),
            "{path}: {reasons}"
        );
        assert!(reasons.contains(reason), "{path}: {reasons}");
        let files = with_own(&[&path], &[], &own);
        assert!(matches!(text(&files, &path), Err(Errno::ACCESS)), "{path}");
    }
    for path in [
        "/proc/meminfo",
        "/proc/sys/kernel/hostname",
        &place.at("etc/acme"),
        &place.at("run/acme"),
        &place.at("shared/in"),
    ] {
        assert_eq!(refused(path), Ok(()), "{path}");
    }
    let several = with_own(&["/proc", "/proc/meminfo"], &["/sys"], &own).open().unwrap_err();
    assert!(
        several.contains("read \"/proc\" is proc") && several.contains("; write \"/sys\" is sysfs"),
        "{several}"
    );
    // A tree in which procfs is mounted: as this machine's root.
    let above = granted(&["/"], &[]).open().unwrap_err();
    assert!(above.contains("is everything"), "{above}");
}

/// What the agent runs may be read, and not be written: who writes to it is root.
#[test]
fn a_program_that_is_run_is_not_granted_for_writing() {
    let place = Place::new();
    let program = place.file("tools/tool", "");
    let own =
        [OwnPlace { path: program.into(), what: "a program that runs", whole: false, is_program: true }];
    for path in [place.at("tools/tool"), place.at("tools")] {
        with_own(&[&path], &[], &own).open().unwrap();
        let refused = with_own(&[], &[&path], &own).open().unwrap_err();
        assert!(
            refused.contains("what is the agent's own, a program that runs")
                || refused.contains("is the agent's own"),
            "{refused}"
        );
    }
    fs::create_dir_all(place.at("other")).unwrap();
    with_own(&[], &[&place.at("other")], &own).open().unwrap();
}

/// Counts what is logged.
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// It was not there when the others were looked at. An extension could fill the log with it.
#[test]
fn what_comes_about_and_must_not_be_granted_is_told_once() {
    let place = Place::new();
    let path = place.at("later");
    let files = granted(&[&format!("{path}/")], &[]);
    files.open().unwrap();
    assert_eq!(text(&files, &path).unwrap_err(), Errno::NOENT);
    symlink("/proc", &path).unwrap();
    let lines = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::with_default(Lines(lines.clone()), || {
        for _ in 0..100 {
            assert_eq!(text(&files, &path).unwrap_err(), Errno::ACCESS);
        }
    });
    assert_eq!(lines.load(Ordering::Relaxed), 1);
}
