//! `fs-usage`: against `df` of this machine, and with filesystems that it has not.

use std::process::Command;

use serde_json::{Value, json};
use toml::Table;
use waga_tests::agent::Agent;

use super::super::laying::says;
use super::super::{failure, told};
use super::{config, script, started, table, with};

const USAGE: &str = "guest-get-fs-usage";

/// Filesystems that are all that the agent knows of: on each, of 1000 bytes, root has 100 for itself.
fn filesystems(all: &[(&str, &str, u64)]) -> Vec<u8> {
    let all = all.iter().map(|(mountpoint, fs_type, used)| {
        json!({"name": "vdx", "mountpoint": mountpoint, "type": fs_type, "disk": [],
            "used-bytes": used, "total-bytes": 900, "total-bytes-privileged": 1000})
    });
    let mut all: Vec<Value> = all.collect();
    all.push(json!({"name": "dead", "mountpoint": "/mnt/dead", "type": "ext4", "disk": []}));
    says("guest-get-fsinfo", &Value::Array(all).to_string())
}

/// With a configuration and these programs in the agent's folder, over filesystems that it has not.
fn agent(settings: Value, programs: &[(&str, &str)]) -> Option<Agent> {
    let below = filesystems(&[
        ("/", "ext4", 450),
        ("/srv/my data", "xfs", 800),
        ("/srv/full", "ext4", 899),
        ("/snap/x", "squashfs", 900),
    ]);
    let mut own = table("fs-usage");
    own.insert("config".into(), config(settings));
    let over = "override = ['guest-get-fsinfo']\ncommands = ['guest-get-host-name']";
    let setup = with(&[("fs-usage", own)], &[("below", &below, over)])?;
    let dir = setup.dir().to_owned();
    programs.iter().for_each(|(name, text)| script(&dir.join(name), text));
    let path = dir.join("agent.toml");
    let mut text: Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let own = text["extension"]["fs-usage"].as_table_mut().unwrap();
    for (name, at) in [("df", 0), ("cat", 1)] {
        if programs.iter().any(|(known, _)| *known == name) {
            let program = toml::Value::String(dir.join(name).to_str().unwrap().into());
            own["exec"][at]["program"] = program.clone();
            own["config"].as_table_mut().unwrap().insert(name.into(), program);
        }
    }
    std::fs::write(&path, text.to_string()).unwrap();
    Some(started(setup, &["fs-usage"]))
}

fn mountpoints(report: &Value) -> Vec<(&str, &str)> {
    let all = report["filesystems"].as_array().unwrap().iter();
    all.map(|it| (it["mountpoint"].as_str().unwrap(), it["level"].as_str().unwrap())).collect()
}

#[test]
fn it_tells_what_df_tells() {
    let Some(setup) = with(&[("fs-usage", table("fs-usage"))], &[]) else { return };
    let agent = started(setup, &["fs-usage"]);
    let mut client = agent.client();
    let report = client.run(USAGE, json!({})).unwrap();
    assert_eq!(report["unknown"], json!([]));
    for filesystem in report["filesystems"].as_array().unwrap() {
        let mountpoint = filesystem["mountpoint"].as_str().unwrap();
        let columns = "--output=size,used,avail,pcent,itotal,iused,iavail";
        let output = Command::new("df").args(["-B1", columns, mountpoint]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        // Somebody may have written meanwhile.
        let near = |key: &str, word: &str, by: f64| {
            let (one, other) =
                (filesystem[key].as_f64().unwrap(), word.trim_end_matches('%').parse::<f64>().unwrap());
            assert!((one - other).abs() <= by, "{key}: {text}{filesystem}");
        };
        let some = 256.0 * 1024.0 * 1024.0;
        for (key, word, by) in [
            ("total-bytes", words[0], 0.0),
            ("used-bytes", words[1], some),
            ("available-bytes", words[2], some),
            ("used-percent", words[3], 1.0),
        ] {
            near(key, word, by);
        }
        if words[4] != "0" && words[4] != "-" {
            for (key, word, by) in
                [("inodes", words[4], 0.0), ("inodes-used", words[5], 1e4), ("inodes-free", words[6], 1e4)]
            {
                near(key, word, by);
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let there = format!(" {} ", mountpoint.replace(' ', "\\040"));
        let options = mounts.lines().rfind(|line| line.contains(&there)).unwrap().split(' ').nth(3).unwrap();
        assert_eq!(filesystem["read-only"], options.split(',').any(|option| option == "ro"), "{filesystem}");
        // By its name it is the same.
        let one = client.run(USAGE, json!({"mountpoint": mountpoint})).unwrap();
        assert_eq!(mountpoints(&one), [(mountpoint, filesystem["level"].as_str().unwrap())]);
    }
    let none = failure(&mut client, USAGE, json!({"mountpoint": "/no/such"}));
    assert_eq!(none, "no filesystem of a disk is mounted at '/no/such'");
    let grants = told(&mut client, "fs-usage")["grants"].clone();
    for grant in ["call guest-get-fsinfo", "exec /usr/bin/df -P -i -l", "exec /usr/bin/cat /proc/self/mounts"]
    {
        assert!(grants.as_array().unwrap().contains(&json!(grant)), "{grants}");
    }
}

const DF: &str = r#"[ "$*" = '-P -i -l' ] || exit 9
cat <<.
Filesystem Inodes IUsed IFree IUse% Mounted on
/dev/mapper/a-root 100 95 5 95% /elsewhere
/dev/vdb 0 0 0 - /srv/my data
/dev/vdc 100 1 99 1% /srv/full
.
echo 'df: /run/user: Permission denied' >&2
exit 1"#;
const CAT: &str = r"[ $1 = /proc/self/mounts ] || exit 9
printf '%s\n' '/dev/mapper/a-root / ext4 rw 0 0' '/dev/vdb /srv/my\040data xfs ro,noatime 0 0' '/dev/vdc /srv/full ext4 rw,errors=remount-ro 0 0'";

#[test]
fn the_worst_comes_first_and_inodes_count() {
    let settings = json!({"warning": 70, "critical": 95, "mounts": [{"mount": "/srv/my *", "warning": 89}]});
    let Some(agent) = agent(settings, &[("df", DF), ("cat", CAT)]) else { return };
    let mut client = agent.client();
    let report = client.run(USAGE, json!({})).unwrap();
    assert_eq!(report["level"], "critical");
    assert_eq!(report["unknown"], json!(["/mnt/dead (ext4) does not tell its sizes"]));
    // The second is half empty, and has next to no inodes left.
    let expected = [("/srv/full", "critical"), ("/", "critical"), ("/srv/my data", "warning")];
    assert_eq!(mountpoints(&report), expected);
    assert_eq!(
        report["filesystems"][1],
        json!({"mountpoint": "/", "device": "vdx", "type": "ext4", "level": "critical", "total-bytes": 1000,
            "used-bytes": 450, "free-bytes": 550, "available-bytes": 450, "used-percent": 50, "inodes": 100,
            "inodes-used": 95, "inodes-free": 5, "inodes-used-percent": 95, "read-only": false})
    );
    assert_eq!(report["filesystems"][2]["read-only"], true);
    assert_eq!(report["filesystems"][2].get("inodes"), None);
    let critical = client.run(USAGE, json!({"at-least": "critical"})).unwrap();
    assert_eq!(mountpoints(&critical), expected[..2]);
    // What is left out is told to whoever asks for it.
    let snap = client.run(USAGE, json!({"mountpoint": "/snap/x"})).unwrap();
    assert_eq!(mountpoints(&snap), [("/snap/x", "critical")]);
}

#[test]
fn what_programs_do_not_tell_is_absent_and_the_rest_is_told() {
    let broken = [("df", "echo 'df: no such option' >&2; exit 1"), ("cat", "kill -9 $$")];
    let Some(broken) = agent(json!({}), &broken) else { return };
    let report = broken.client().run(USAGE, json!({})).unwrap();
    assert_eq!(report["filesystems"].as_array().unwrap().len(), 3, "{report}");
    let unknown = report["unknown"].as_array().unwrap();
    assert!(unknown[0].as_str().unwrap().ends_with("/df' fails and says: df: no such option"), "{unknown:?}");
    assert!(unknown[1].as_str().unwrap().ends_with("/cat' fails and says: nothing"), "{unknown:?}");
    assert!(report["filesystems"].as_array().unwrap().iter().all(|it| it.get("inodes").is_none()));

    let missing = json!({"df": "/usr/bin/no-df", "read-only": false});
    let Some(missing) = agent(missing, &[]) else { return };
    let report = missing.client().run(USAGE, json!({})).unwrap();
    assert_eq!(report["unknown"][0], "the key exec does not grant '/usr/bin/no-df'");
    assert_eq!(report["filesystems"][0].get("read-only"), None);

    let Some(wrong) = agent(json!({"warning": 95}), &[]) else { return };
    assert_eq!(
        failure(&mut wrong.client(), USAGE, json!({})),
        "config: warning = 95 and critical = 90: they are percentages, and the first is no larger"
    );
}
