//! The examples whose languages bring their engines: both call commands of the agent by their types.

use serde_json::{Value, json};
use waga_tests::agent::Agent;

use super::engines::{fill, start};
use super::examples::example;
use super::hostile::in_step;
use super::{disabled, settled, told};

/// Of a busy machine, and an engine that is not optimised.
const MINUTE: &str = "limits = { cpu = '60s', time = '60s' }";

/// An agent with an example and its grant, one that has no grant, and one whose operator blocks the command that it is granted first, if
/// there is something to build it with. Compiled once for all.
fn with_and_without(name: &str, grant: &str) -> Option<[Agent; 3]> {
    let component = example(name)?;
    let lines = format!("{grant}\n{MINUTE}");
    if !fill(name, &component, &lines) {
        return None;
    }
    let first = grant.split('\'').nth(1).unwrap();
    let blocks = format!("{lines}\n[policy]\nblock = ['{first}']");
    let agents = [&lines, MINUTE, &blocks].map(|lines| start(name, &component, lines).unwrap());
    assert_eq!(settled(&agents[0], name)["state"], "ready");
    assert_eq!(settled(&agents[1], name)["state"], "refused");
    assert_eq!(settled(&agents[2], name)["state"], "ready");
    Some(agents)
}

/// An error of what it calls is its own, with its class.
fn passes_on_what_is_blocked(agent: &Agent, command: &str, blocked: &str) {
    let (class, desc) = agent.client().refused(command, json!({})).unwrap();
    let expected = format!("Command {blocked} has been disabled: the command is not allowed");
    assert_eq!((&*class, desc), ("CommandNotFound", expected));
}

/// The commands that it is granted.
fn calls(agent: &Agent, name: &str) -> Vec<String> {
    let grants: Vec<String> =
        serde_json::from_value(told(&mut agent.client(), name)["grants"].clone()).unwrap();
    grants.iter().filter_map(|grant| grant.strip_prefix("call ")).map(str::to_owned).collect()
}

#[test]
fn python_tells_which_filesystems_fill_up() {
    let Some([agent, without, blocking]) = with_and_without("disk-report", "commands = ['guest-get-fsinfo']")
    else {
        return;
    };
    const FULL: &str = "guest-acme-full-disks";
    let mut client = agent.client();
    let all = client.run(FULL, json!({"above": 0})).unwrap();
    let all = all.as_array().unwrap();
    let told = client.run("guest-get-fsinfo", json!({})).unwrap();
    let told: Vec<&Value> =
        told.as_array().unwrap().iter().filter(|it| it["used-bytes"].as_u64() > Some(0)).collect();
    assert_eq!(all.len(), told.len(), "{all:?} {told:?}");
    for disk in all {
        let same = told.iter().find(|it| it["mountpoint"] == disk["mountpoint"]).unwrap();
        let percent = 100.0 * same["used-bytes"].as_f64().unwrap() / same["total-bytes"].as_f64().unwrap();
        // Somebody may have written meanwhile.
        assert!((disk["used-percent"].as_f64().unwrap() - percent).abs() <= 2.0, "{disk} {same}");
        let (number, unit) = disk["free"].as_str().unwrap().split_once(' ').unwrap();
        assert!(
            number.parse::<f64>().is_ok() && ["bytes", "KiB", "MiB", "GiB", "TiB"].contains(&unit),
            "{disk}"
        );
    }
    assert!(all.is_sorted_by_key(|it| std::cmp::Reverse(it["used-percent"].as_u64())), "{all:?}");
    assert_eq!(client.run(FULL, json!({"above": 100})).unwrap(), json!([]));
    // What is absent is 80.
    let full = client.run(FULL, json!({})).unwrap();
    assert!(full.as_array().unwrap().iter().all(|it| it["used-percent"].as_u64() > Some(80)), "{full}");
    assert_eq!(calls(&agent, "disk-report"), ["guest-get-fsinfo"]);
    in_step(&agent);

    let reason = disabled(&mut without.client(), FULL);
    assert!(reason.contains("commands = [\"guest-get-fsinfo\"]"), "{reason}");
    passes_on_what_is_blocked(&blocking, FULL, "guest-get-fsinfo");
}

#[test]
fn javascript_tells_since_when_the_guest_runs() {
    let grant = "commands = ['guest-get-cpustats', 'guest-get-load']";
    let Some([agent, without, blocking]) = with_and_without("uptime", grant) else { return };
    const UPTIME: &str = "guest-acme-uptime";
    let mut client = agent.client();
    let told = client.run(UPTIME, json!({})).unwrap();
    let load = client.run("guest-get-load", json!({})).unwrap()["load1m"].as_f64().unwrap();
    let processors = client.run("guest-get-cpustats", json!({})).unwrap().as_array().unwrap().len();
    // It may have changed meanwhile.
    assert!((told["load"].as_f64().unwrap() - load / processors as f64).abs() < 5.0, "{told} {load}");
    assert!(told["busy-percent"].as_u64() <= Some(100), "{told}");
    let since = told["since"].as_str().unwrap();
    assert!(
        since.len() == "2026-11-28T18:00:00Z".len() && since.starts_with("20") && since.ends_with('Z'),
        "{told}"
    );

    // As the kernel counts it, but for a few percent.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let up = told["up"].as_str().unwrap();
    let (days, time) =
        up.split_once(" day").map_or(("0", up), |(days, rest)| (days, rest.rsplit(' ').next().unwrap()));
    let (hours, minutes) = time.split_once(':').unwrap();
    let [days, hours, minutes]: [f64; 3] = [days, hours, minutes].map(|number| number.parse().unwrap());
    let counted = ((days * 24.0 + hours) * 60.0 + minutes) * 60.0;
    assert!((counted - seconds).abs() < 120.0 + seconds * 0.05, "{up}, and it is {seconds} s");
    assert_eq!(calls(&agent, "uptime"), ["guest-get-cpustats", "guest-get-load"]);
    in_step(&agent);

    let reason = disabled(&mut without.client(), UPTIME);
    assert!(reason.contains("commands = [\"guest-get-cpustats\", \"guest-get-load\"]"), "{reason}");
    passes_on_what_is_blocked(&blocking, UPTIME, "guest-get-cpustats");
}
