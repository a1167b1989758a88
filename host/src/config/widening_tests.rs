//! What must never silently widen what the operator narrowed: files that vanish, folders of others, tables that say nothing.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::tests::System;

fn fault(system: &System) -> String {
    system.resolve("waga").map(|_| ()).expect_err("a fault")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_link_that_leads_nowhere_is_no_missing_file() {
    for name in ["agent.toml", "agent.d/a.toml"] {
        let system = System::new(&[]);
        symlink("/nonexistent/file", system.dir.path().join(name)).unwrap();
        assert_eq!(fault(&system), format!("@/{name}: is a link that leads nowhere"));
    }
    let system = System::new(&[]);
    fs::remove_dir(&system.places.agent_d).unwrap();
    symlink("/nonexistent/folder", &system.places.agent_d).unwrap();
    assert!(fault(&system).starts_with("@/agent.d: No such file"));
    // qemu-ga takes such a file for missing.
    let system = System::new(&[]);
    symlink("/nonexistent/file", &system.places.qemu_ga_conf).unwrap();
    assert!(system.resolve("waga").is_ok());
}

#[test]
fn folders_of_others_are_not_relied_on_even_if_nothing_is_in_them() {
    let system = System::new(&[]);
    mode(&system.places.agent_d, 0o777);
    assert!(fault(&system).starts_with("@/agent.d: others than its owner"));
    mode(&system.places.agent_d, 0o700);
    mode(system.dir.path(), 0o777);
    assert!(fault(&system).starts_with("@: others than its owner"));
    mode(system.dir.path(), 0o1777);
    assert!(system.resolve("waga").is_ok());
    if nix::unistd::geteuid().is_root() {
        // The owner of a sticky folder may remove what is not his.
        chown(system.dir.path(), Some(65534), None).unwrap();
        assert!(fault(&system).starts_with("@: belongs to user 65534"));
    }
}

#[test]
fn the_folder_that_a_link_leads_to_is_looked_at() {
    let system = System::new(&[]);
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("a"), "").unwrap();
    mode(&other.path().join("a"), 0o600);
    symlink(other.path().join("a"), system.dir.path().join("agent.d/a.toml")).unwrap();
    assert!(system.resolve("waga").is_ok());
    mode(other.path(), 0o777);
    assert!(fault(&system).contains(": others than its owner"));
}

#[test]
fn a_later_file_takes_back_what_an_earlier_one_asked_for() {
    let system = System::new(&[
        ("agent.toml", "[daemon]\ndaemonize = true\n"),
        ("agent.d/a.toml", "[daemon]\ndaemonize = false\n"),
    ]);
    assert!(!system.resolve("waga").unwrap().config.daemonize);
    assert!(system.resolve("waga -d").unwrap().config.daemonize);
}

#[test]
fn what_is_dumped_reads_back_when_channels_were_replaced() {
    let system = System::new(&[(
        "agent.toml",
        "[[channel]]\nmethod = 'isa-serial'\nname = 'ops'\n[policy.channel.ops]\nblock = ['guest-exec']\n",
    )]);
    let text = system.resolve("waga -m unix-listen -p /s").unwrap().dump().unwrap();
    assert!(text.starts_with("# [policy.channel.ops] is left out"), "{text}");
    fs::write(system.dir.path().join("dumped.toml"), &text).unwrap();
    let again = system.resolve("waga -c @/dumped.toml").unwrap().dump().unwrap();
    assert!(text.ends_with(&again));
    let system = System::new(&[("agent.toml", "[policy.channel.'']\nblock = ['guest-exec']\n")]);
    assert!(fault(&system).contains("there is no [[channel]] with name = \"\""));
}

/// Read as a key file, which knows no such groups, all of it would mean nothing.
#[test]
fn an_agent_toml_of_another_name_is_no_empty_qemu_ga_conf() {
    let system =
        System::new(&[("policy.conf", "# ours\n[policy]\nblock = ['guest-exec']\n"), ("empty", "# c\n")]);
    let fault = |line: &str| system.resolve(line).map(|_| ()).unwrap_err();
    assert_eq!(
        fault("waga -c @/policy.conf"),
        "@/policy.conf: has no [general] as qemu-ga.conf has; the name of an agent.toml has to end in .toml"
    );
    // To qemu-ga it is fine.
    assert!(system.resolve("qemu-ga -c @/policy.conf").is_ok() && system.resolve("waga -c @/empty").is_ok());
}

#[test]
fn paths_that_cannot_be_meant_are_faults() {
    let system = System::new(&[("agent.toml", "[[channel]]\nmethod = 'unix-listen'\npath = ''\n")]);
    assert_eq!(fault(&system), "@/agent.toml:3:8: a unix-listen channel needs a path");
}

#[test]
fn a_path_that_no_text_can_say_is_not_dumped_as_another() {
    let mut resolved = System::new(&[]).resolve("waga -m unix-listen -p s").unwrap();
    let path = <OsString as OsStringExt>::from_vec(b"/\xff".to_vec()).into();
    resolved.config.channels[0].endpoint = super::Endpoint::Unix(path, super::Access::default());
    assert!(resolved.dump().unwrap_err().to_string().contains("UTF-8"));
}
