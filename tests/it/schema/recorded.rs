//! Replies of machines unlike this one, with every member that a result may have: so a member that WIT spells otherwise than the protocol
//! is noticed wherever the tests run.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::replies::judge;
use super::schemas;

fn recorded(command: &str) -> Option<Value> {
    let address = json!({
        "pci-controller": {"domain": 0, "bus": 0, "slot": 5, "function": 0},
        "bus-type": "scsi", "bus": 0, "target": 1, "unit": 2,
        "serial": "0QEMU_QEMU_HARDDISK_drive-scsi0", "dev": "/dev/sda",
    });
    let on_s390 = json!({
        "pci-controller": {"domain": -1, "bus": -1, "slot": -1, "function": -1},
        "bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "dev": "/dev/vda",
        "ccw-address": {"cssid": 0, "ssid": 0, "subchno": 1, "devno": 65034},
    });
    Some(match command {
        "guest-get-timezone" => json!({"zone": "NST", "offset": -12_600}),
        "guest-network-get-interfaces" => json!([
            {"name": "tun0", "hardware-address": "00:00:00:00:00:00"},
            {
                "name": "eth0",
                "hardware-address": "52:54:00:12:34:56",
                "ip-addresses": [
                    {"ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24},
                    {"ip-address": "fe80::5054:ff:fe12:3456", "ip-address-type": "ipv6", "prefix": 64},
                ],
                "statistics": {
                    "rx-bytes": u64::MAX, "rx-packets": 1, "rx-errs": 2, "rx-dropped": 3,
                    "tx-bytes": 4, "tx-packets": 5, "tx-errs": 6, "tx-dropped": 7,
                },
            },
        ]),
        "guest-network-get-route" => json!([
            {
                "iface": "eth0", "destination": "0.0.0.0", "metric": -6, "gateway": "10.0.2.2", "mask": "0.0.0.0", "irtt": 0,
                "flags": 3, "refcnt": 0, "use": -1, "window": 0, "mtu": 1500, "version": 4,
            },
            {
                "iface": "lo", "destination": "::1", "metric": 256, "flags": 2_149_580_801_u64, "refcnt": 4, "use": 0, "version": 6,
                "source": "::", "desprefixlen": "128", "srcprefixlen": "0", "nexthop": "::",
            },
        ]),
        "guest-get-vcpus" => json!([{"logical-id": 0, "online": true, "can-offline": false}]),
        "guest-get-cpustats" => json!([{
            "type": "linux", "cpu": 1, "user": 10, "nice": 20, "system": 30, "idle": 40, "iowait": 50, "irq": 60, "softirq": 70,
            "steal": 80, "guest": 90, "guestnice": 100,
        }]),
        "guest-get-fsinfo" => json!([
            {"name": "8:1", "mountpoint": "/mnt", "type": "xfs", "disk": []},
            {
                "name": "dm-0", "mountpoint": "/", "type": "ext4", "used-bytes": 1, "total-bytes": 2, "total-bytes-privileged": 3,
                "disk": [address, on_s390],
            },
        ]),
        "guest-get-disks" => json!([
            {"name": "/dev/sda1", "partition": true, "dependencies": ["/dev/sda"]},
            {"name": "/dev/dm-0", "partition": false, "dependencies": ["/dev/sda1"], "alias": "vg-root"},
            {"name": "/dev/sda", "partition": false, "dependencies": [], "address": address},
            {"name": "/dev/vda", "partition": false, "dependencies": [], "address": on_s390},
            {"name": "/dev/nvme0n1", "partition": false, "dependencies": [], "smart": {
                "type": "nvme", "critical-warning": 0, "temperature": 323, "available-spare": 100, "available-spare-threshold": 10,
                "percentage-used": 3,
                "data-units-read-lo": 1, "data-units-read-hi": 2, "data-units-written-lo": 3, "data-units-written-hi": 4,
                "host-read-commands-lo": 5, "host-read-commands-hi": 6, "host-write-commands-lo": 7, "host-write-commands-hi": 8,
                "controller-busy-time-lo": 9, "controller-busy-time-hi": 10, "power-cycles-lo": 11, "power-cycles-hi": 12,
                "power-on-hours-lo": 13, "power-on-hours-hi": 14, "unsafe-shutdowns-lo": 15, "unsafe-shutdowns-hi": 16,
                "media-errors-lo": 17, "media-errors-hi": 18,
                "number-of-error-log-entries-lo": u64::MAX, "number-of-error-log-entries-hi": 20,
            }},
        ]),
        "guest-get-diskstats" => json!([{"name": "vda", "major": 254, "minor": 0, "stats": {
            "read-ios": 1, "read-merges": 2, "read-sectors": 3, "read-ticks": 4,
            "write-ios": 5, "write-merges": 6, "write-sectors": 7, "write-ticks": 8,
            "ios-pgr": 9, "total-ticks": 10, "weight-ticks": 11,
            "discard-ios": 12, "discard-merges": 13, "discard-sectors": 14, "discard-ticks": 15,
            "flush-ios": 16, "flush-ticks": 17,
        }}]),
        "guest-fstrim" => json!({"paths": [
            {"path": "/", "trimmed": 4096, "minimum": -1},
            {"path": "/boot", "error": "trim not supported"},
        ]}),
        "guest-get-memory-blocks" => json!([{"phys-index": 32, "online": true, "can-offline": true}]),
        "guest-set-memory-blocks" => json!([
            {"phys-index": 1, "response": "success"},
            {"phys-index": 9999, "response": "not-found", "error-code": 2},
            {"phys-index": 2, "response": "operation-not-supported"},
            {"phys-index": 0, "response": "operation-failed", "error-code": 22},
        ]),
        "guest-exec-status" => json!({
            "exited": true, "exitcode": 44, "signal": 9, "out-data": "bzEK", "out-truncated": false, "err-data": "", "err-truncated": true,
        }),
        "guest-get-osinfo" => json!({
            "kernel-release": "6.12.48", "kernel-version": "#1 SMP", "machine": "x86_64",
            "id": "fedora", "name": "Fedora Linux", "pretty-name": "Fedora Linux 42 (Server)", "version": "42 (Server)",
            "version-id": "42", "variant": "Server", "variant-id": "server",
        }),
        "guest-get-users" => json!([{"user": "alice", "domain": "EXAMPLE", "login-time": 1_700_000_000.25}]),
        "waga-get-freeze-report" => json!({
            "status": "thawed", "begun-at": 1_700_000_000_000_000_000_i64, "frozen-at": 1, "thawed-at": 2, "thawed-by": "deadline",
            "error": "the hook failed",
            "filesystems": [{
                "mountpoint": "/", "type": "ext4", "state": "failed", "reason": "in use", "freeze-time": 1, "thaw-time": 2,
            }],
            "hooks": [
                {"hook": "/etc/qemu/fsfreeze-hook", "action": "freeze", "time": 5, "error": "exit status 1"},
                {"hook": "/usr/lib/waga/db.wasm", "extension": "db", "action": "thaw", "time": 6},
            ],
        }),
        "waga-get-extensions" => json!([{
            "name": "memory-usage", "state": "refused", "reason": "no such file", "source": "/usr/lib/waga/memory-usage.wasm",
            "digest": "00ff", "runtime": "pulley",
            "pack": {
                "name": "memory-usage", "version": "1.0.0", "publisher": "waga", "digest": "00ff", "signer": "acme", "key": "RWQ",
            },
            "commands": [
                {"name": "guest-get-memory-usage", "mode": "add", "enabled": true},
                {"name": "guest-acme-swap", "mode": "wrap", "enabled": false, "reason": "it failed", "paused-ms": 1000},
            ],
            "grants": ["waga:extension/log@1.0.0", "exec /bin/true", "call guest-get-load", "env LANG"],
            "faults": ["a.js:1: SyntaxError: unexpected token"],
            "freeze-hooks": false, "while-frozen": true, "on-failure": "builtin-always",
            "limits": {
                "cpu-ms": 100, "time-ms": 2000, "memory": 1, "message": 2, "host-calls": 3, "concurrency": 4, "log": 5,
                "state": 6,
            },
            "calls": 1, "failures": 2, "running": 3, "last-error": "it trapped", "last-error-seconds": 4, "last-call-seconds": 5,
            "cpu-us": 6, "wall-us": 7, "max-wall-us": 8,
        }]),
        "waga-get-schema" => json!([{
            "name": "guest-acme-x", "docs": "Does it.", "arguments": {}, "result": {}, "extension": "acme", "note": "Or not.",
        }]),
        "waga-get-stats" => json!({
            "version": "0.1.0", "uptime-seconds": 1,
            "channels": [{
                "name": "virtio-serial", "clients": 1, "requests": 2, "errors": 3, "refused": 4, "malformed": 5, "idle-ms": 6,
            }],
            "commands": [{
                "name": "guest-ping", "calls": 1, "running": 2, "failures": 3, "refused": 4, "total-us": 5, "longest-us": 6,
            }],
            "unknown-commands": 2, "log-lines-lost": 3, "audit-lines-lost": 4, "frozen": true, "open-files": 5, "running-programs": 6,
            "process": {"resident": 1, "peak-resident": 2, "threads": 3, "descriptors": 4},
            "extensions": {"declared": 1, "ready": 2, "calls": 3, "failures": 4, "running": 5, "cpu-us": 6},
        }),
        _ => return None,
    })
}

/// The names of members at any depth, and whether any may be absent.
fn described(schema: &Value, names: &mut BTreeSet<String>) -> bool {
    let mut may_be_absent = false;
    match schema {
        Value::Array(elements) => {
            for element in elements {
                may_be_absent |= described(element, names);
            }
        }
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                if keyword == "properties" {
                    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
                    for (name, member) in value.as_object().unwrap() {
                        may_be_absent |= !required.contains(&json!(name)) | described(member, names);
                        names.insert(name.clone());
                    }
                } else {
                    may_be_absent |= described(value, names);
                }
            }
        }
        _ => {}
    }
    may_be_absent
}

fn told(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| told(element, names)),
        Value::Object(members) => {
            for (name, member) in members {
                names.insert(name.clone());
                told(member, names);
            }
        }
        _ => {}
    }
}

#[test]
fn every_member_that_may_be_absent_is_spelt_as_the_protocol_has_it() {
    for (command, schema) in &schemas() {
        let mut described_names = BTreeSet::new();
        let may_be_absent = described(&schema["result"], &mut described_names);
        let recorded = recorded(command);
        assert_eq!(
            recorded.is_some(),
            may_be_absent,
            "{command}: a reply with every member is wanted, if some may be absent"
        );
        let Some(recorded) = recorded else { continue };
        judge(command, &recorded);
        let mut told_names = BTreeSet::new();
        told(&recorded, &mut told_names);
        assert_eq!(told_names, described_names, "{command}");
    }
}
