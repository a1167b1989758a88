//! Caches that cannot be written to, cannot be trusted or are shared: extensions serve all the same, and nothing is run that others could
//! have written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use serde_json::json;
use waga_tests::agent::{Agent, Setup, left_out};
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, cache, settled, setup, told};

/// Answers with 7.
fn seven() -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-x: func() -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-x") (result i32) (i32.const 7))"#,
    )
}

fn compiled(agent: &Agent) -> usize {
    agent.log().matches("compiling").count()
}

/// It serves, compiles at each start, and says once why.
fn serves_without_a_cache(agent: Agent, expected: &str) {
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
    assert_eq!(told(&mut agent.client(), "x")["state"], "ready");
    let log = agent.log();
    assert_eq!(log.matches(expected).count(), 1, "{expected} is not in, once: {log}");
    assert_eq!(compiled(&agent), 1);
    in_step(&agent);
    let agent = agent.restart(Signal::SIGTERM);
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
    assert_eq!(compiled(&agent), 2);
    in_step(&agent);
}

/// The agent in a mount namespace in which its cache is a filesystem mounted so.
fn mounted(options: &str) -> Option<Setup> {
    let setup = setup(&[("x", &seven(), "")])?;
    if !Uid::effective().is_root() {
        left_out("a cache that is a filesystem of its own, which takes root");
        return None;
    }
    fs::create_dir(cache(setup.dir())).unwrap();
    fs::set_permissions(cache(setup.dir()), Permissions::from_mode(0o700)).unwrap();
    let mount = format!("mount -t tmpfs -o {options} tmpfs '{}'", cache(setup.dir()).display());
    Some(setup.script(&format!("exec unshare --mount sh -c \"{mount}\"' || exit 1; exec \"$@\"' sh \"$@\"")))
}

#[test]
fn a_cache_that_is_read_only_is_no_fault() {
    let Some(setup) = mounted("ro,mode=0700") else { return };
    serves_without_a_cache(
        setup.start(),
        "nothing is kept of what is compiled, so each start compiles it again: ",
    );
}

#[test]
fn a_cache_that_is_full_is_no_fault() {
    let Some(setup) = mounted("size=16k,mode=0700") else { return };
    serves_without_a_cache(
        setup.start(),
        "nothing is kept of what is compiled, so each start compiles it again: ",
    );
}

/// What is refused at the start is not looked at, nor written to.
fn doubtful(prepare: impl Fn(&Path), expected: &str) {
    let Some(setup) = setup(&[("x", &seven(), "")]) else { return };
    let path = cache(setup.dir());
    // What an honest agent has put there is not taken from there any more.
    let agent = setup.start();
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
    let before = fs::read_dir(&path).unwrap().count();
    assert!(before >= 3);
    prepare(&path);
    let agent = agent.restart(Signal::SIGTERM);
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
    let expected = format!("the cache is not used: {}: {expected}", path.display());
    assert!(agent.log().contains(&expected), "{expected} is not in {}", agent.log());
    assert_eq!(compiled(&agent), 2);
    assert_eq!(fs::read_dir(&path).map_or(before, Iterator::count), before);
    in_step(&agent);
}

#[test]
fn a_cache_of_others_is_not_used() {
    let mode = |mode| move |path: &Path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    doubtful(
        mode(0o777),
        "others than its owner may write to it (mode 0777); take that away with chmod go-w",
    );
    doubtful(
        mode(0o770),
        "others than its owner may write to it (mode 0770); take that away with chmod go-w",
    );
    doubtful(
        |path| {
            fs::remove_dir_all(path).unwrap();
            fs::write(path, "a file").unwrap();
        },
        "is no folder",
    );
    if Uid::effective().is_root() {
        let to_nobody =
            |path: &Path| chown(path, Some(Uid::from_raw(65534)), Some(Gid::from_raw(0))).unwrap();
        doubtful(to_nobody, "belongs to user 65534; it has to belong to root (chown)");
    } else {
        left_out("a cache of another user, which takes root");
    }
}

/// In a cache that is trusted, a file that is not.
#[test]
fn a_file_of_others_in_the_cache_is_not_used() {
    let Some(agent) = agent(&[("x", &seven(), "")]) else { return };
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
    let mut times = compiled(&agent);
    let mut agent = agent;
    for spoil in [
        |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap(),
        |path: &Path| {
            let moved = path.with_extension("moved");
            fs::rename(path, &moved).unwrap();
            std::os::unix::fs::symlink(&moved, path).unwrap();
        },
        |path: &Path| {
            fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        },
        |path: &Path| fs::remove_file(path).unwrap(),
    ] {
        let names = fs::read_dir(cache(agent.dir())).unwrap();
        let artifact =
            names.map(|it| it.unwrap().path()).find(|it| it.extension().is_some_and(|it| it == "cwasm"));
        spoil(&artifact.unwrap());
        agent = agent.restart(Signal::SIGTERM);
        assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), 7);
        times += 1;
        assert_eq!(compiled(&agent), times, "{}", agent.log());
    }
}

#[test]
fn two_agents_share_a_cache() {
    let components: Vec<(String, Vec<u8>)> = (0..6)
        .map(|number| {
            let wit = format!("package test:it; interface i {{ guest-test-n{number}: func() -> u32; }} world w {{ export i; }}");
            let wat = format!(r#"(func (export "test:it/i#guest-test-n{number}") (result i32) (i32.const {number}))"#);
            (format!("n{number}"), component(&wit, &wat))
        })
        .collect();
    let extensions: Vec<_> = components
        .iter()
        .map(|(name, bytes)| (name.as_str(), &bytes[..], "limits = { time = '30s' }"))
        .collect();
    let shared = tempfile::tempdir().unwrap();
    let one = || {
        let setup = setup(&extensions)?;
        let path = setup.dir().join("agent.toml");
        let text = fs::read_to_string(&path).unwrap();
        let own = cache(setup.dir()).display().to_string();
        fs::write(&path, text.replace(&own, &shared.path().join("cache").display().to_string())).unwrap();
        Some(setup)
    };
    let (Some(first), Some(second)) = (one(), one()) else { return };
    let check = |agent: &Agent| {
        for (number, (name, _)) in components.iter().enumerate() {
            settled(agent, name);
            assert_eq!(agent.client().run(&format!("guest-test-n{number}"), json!({})).unwrap(), number);
        }
    };
    // Started at once, each compiles as long as the other has not.
    let mut agents: Vec<Agent> = std::thread::scope(|scope| {
        let starts = [first, second].map(|setup| {
            scope.spawn(|| {
                let agent = setup.start();
                check(&agent);
                agent
            })
        });
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    // And afterwards neither does.
    for agent in &mut agents {
        let before = compiled(agent);
        agent.signal(Signal::SIGTERM);
        assert!(before <= components.len());
    }
    for agent in agents {
        let mut agent = agent;
        let (status, _) = agent.await_end();
        assert!(status.success());
    }
    let left = fs::read_dir(shared.path().join("cache")).unwrap();
    let names: Vec<_> = left.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    assert_eq!(names.len(), 3 * components.len(), "{names:?}");
    let Some(third) = one() else { return };
    let agent = third.start();
    check(&agent);
    assert_eq!(compiled(&agent), 0, "{}", agent.log());
}
