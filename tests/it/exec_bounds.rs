//! The bounds of guest-exec: 16 MiB a stream, thousands of children that nobody asks about, no zombie.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::exec::{ended, run};
use crate::{each, waga};

#[test]
fn sixteen_mebibytes_of_a_stream_are_kept() {
    each(|program| {
        let agent = program.setup().quiet().start();
        let mut client = agent.client();
        for (size, truncated) in [(16 << 20, false), ((16 << 20) + 1, true), (20 << 20, true)] {
            let write =
                json!({"path": "head", "arg": ["-c", size.to_string(), "/dev/zero"], "capture-output": true});
            let status = run(&mut client, write);
            assert_eq!(
                (&status["exitcode"], &status["out-truncated"]),
                (&json!(0), &json!(truncated)),
                "{size} bytes"
            );
            let data = STANDARD.decode(status["out-data"].as_str().unwrap()).unwrap();
            assert!(
                data.len() == size.min(16 << 20) && data.iter().all(|&byte| byte == 0),
                "{} of {size}",
                data.len()
            );
        }
    });
}

#[test]
fn each_stream_has_its_own_bound() {
    each(|program| {
        let agent = program.setup().quiet().start();
        let mut client = agent.client();
        let script = "head -c 16777216 /dev/zero; head -c 16777217 /dev/zero >&2";
        let status = run(&mut client, json!({"path": "sh", "arg": ["-c", script], "capture-output": true}));
        assert_eq!((&status["out-truncated"], &status["err-truncated"]), (&json!(false), &json!(true)));
    });
}

#[test]
fn thousands_of_children_that_nobody_asks_about() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let exec = json!({"path": "/bin/echo", "arg": ["hello"], "capture-output": true});
    run(&mut client, exec.clone());
    let (memory, descriptors) = (agent.memory("VmRSS"), agent.descriptors());
    let mut pids = Vec::new();
    for _ in 0..3000 {
        pids.push(client.run("guest-exec", exec.clone()).unwrap()["pid"].clone());
    }
    agent.until("no zombie", |agent| agent.children().is_empty());
    agent.until("no pipe", |agent| agent.descriptors() <= descriptors);
    let grown = agent.memory("VmRSS").saturating_sub(memory);
    assert!(grown < 8 << 20, "{} KiB for 3,000 records", grown >> 10);
    for pid in [&pids[0], &pids[1500], &pids[2999]] {
        assert_eq!(ended(&mut client, pid)["out-data"], "aGVsbG8K");
    }
}

#[test]
fn output_that_nobody_asks_for_goes_oldest_first() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let write =
        json!({"path": "head", "arg": ["-c", (8 << 20).to_string(), "/dev/zero"], "capture-output": true});
    let idle = agent.memory("VmRSS");
    let mut pids = Vec::new();
    for _ in 0..20 {
        pids.push(client.run("guest-exec", write.clone()).unwrap()["pid"].clone());
        agent.until("one after the other", |agent| agent.children().is_empty());
    }
    let held = agent.memory("VmRSS").saturating_sub(idle);
    assert!(held < 96 << 20, "{} MiB of the 160 that were written", held >> 20);
    let oldest = ended(&mut client, &pids[0]);
    assert_eq!((&oldest["exitcode"], &oldest["out-truncated"]), (&json!(0), &json!(true)), "its output went");
    let newest = ended(&mut client, &pids[19]);
    assert_eq!(
        (newest["out-data"].as_str().unwrap().len(), &newest["out-truncated"]),
        ((8_usize << 20).div_ceil(3) * 4, &json!(false))
    );
}

#[test]
fn children_run_side_by_side() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let sleep = json!({"path": "cat", "arg": ["go"], "capture-output": true});
    nix::unistd::mkfifo(&agent.dir().join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pids: Vec<_> =
        (0..40).map(|_| client.run("guest-exec", sleep.clone()).unwrap()["pid"].clone()).collect();
    for pid in &pids {
        assert_eq!(client.run("guest-exec-status", json!({"pid": pid})).unwrap(), json!({"exited": false}));
    }
    assert_eq!(agent.children().len(), 40);
    // All wait for a writer; one that comes and goes lets them go.
    let mut left = pids;
    while !left.is_empty() {
        drop(std::fs::File::options().write(true).custom_nonblock().open(agent.dir().join("go")));
        left.retain(|pid| client.run("guest-exec-status", json!({"pid": pid})).unwrap()["exited"] != true);
    }
}

/// `O_NONBLOCK`: a writer must not wait for a reader that is gone already.
trait Nonblock {
    fn custom_nonblock(&mut self) -> &mut Self;
}

impl Nonblock for std::fs::OpenOptions {
    fn custom_nonblock(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(nix::libc::O_NONBLOCK)
    }
}
