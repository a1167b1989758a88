//! What files and options come to, from files in a folder of the test's own.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;
use waga_builtins::Caller;

use super::*;
use crate::cli::{self, Wish};
use crate::policy::Reason;
use crate::registry::Registry;

/// A system with these files.
pub(super) struct System {
    pub(super) dir: TempDir,
    pub(super) places: Places,
}

impl System {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::create_dir(place("agent.d")).unwrap();
        for (name, text) in files {
            fs::write(place(name), text).unwrap();
            fs::set_permissions(place(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        fs::set_permissions(place("agent.d"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let places = Places {
            agent_toml: place("agent.toml"),
            agent_d: place("agent.d"),
            qemu_ga_conf: place("qemu-ga.conf"),
        };
        Self { dir, places }
    }

    /// `@` in the line stands for the folder.
    pub(super) fn resolve(&self, line: &str) -> Result<Resolved, String> {
        let line = line.replace('@', self.dir.path().to_str().unwrap());
        let cli = match cli::parse(line.split(' ').map(Into::into)).unwrap() {
            Wish::Run(cli) | Wish::DumpConf(cli) => cli,
            other => panic!("{other:?}"),
        };
        Config::load(&cli, &self.places)
            .map_err(|error| error.to_string().replace(self.dir.path().to_str().unwrap(), "@"))
    }

    pub(super) fn config(&self, line: &str) -> Config {
        self.resolve(line).unwrap().config
    }
}

/// Why a command is on or off, as the operator reads it.
fn why(system: &System, config: &Config, channel: &str, command: &str) -> String {
    let registry = Registry::builtins();
    let verdict =
        config.policy.verdict(registry.find(command).unwrap(), &Caller::Channel(channel.into()), false);
    let origin = match verdict.reason {
        Reason::Blocked(origin) | Reason::Allowed(origin) | Reason::NotAllowed(origin) => origin.to_string(),
        Reason::Default | Reason::OffByDefault | Reason::Frozen => "default".into(),
    };
    let state = if verdict.is_allowed() { "on" } else { "off" };
    format!("{state} {origin}").replace(system.dir.path().to_str().unwrap(), "@")
}

fn channels(config: &Config) -> Vec<String> {
    config.channels.iter().map(|channel| format!("{} {}", channel.name, channel.endpoint)).collect()
}

#[test]
fn without_anything_it_is_qemu_gas_default() {
    let system = System::new(&[]);
    for name in ["waga", "qemu-ga"] {
        let config = system.config(name);
        assert_eq!(channels(&config), ["virtio-serial /dev/virtio-ports/org.qemu.guest_agent.0"]);
        assert_eq!(
            (config.state_dir.as_path(), config.pid_file.as_path()),
            (Path::new("/var/run"), Path::new("/var/run/qemu-ga.pid"))
        );
        assert_eq!((config.policy, config.log, config.audit), (Policy::default(), Log::default(), None));
        assert_eq!((config.files, config.daemonize, config.freeze.hook), (vec![], false, None));
    }
}

#[test]
fn sources_are_read_in_order_and_later_ones_win() {
    let system = System::new(&[
        (
            "agent.toml",
            "[state]\ndir = '/1'\n[daemon]\npidfile = '/1'\n[log]\nfile = '/1'\n[[channel]]\nmethod = 'isa-serial'\nname = 'line'\n",
        ),
        ("agent.d/20.toml", "[daemon]\npidfile = '/3'\n[audit]\n"),
        (
            "agent.d/10.toml",
            "[daemon]\npidfile = '/2'\n[[channel]]\nmethod = 'vsock-listen'\npath = '1:2'\nretry-path = true\n",
        ),
        ("agent.d/30.toml.rpmsave", "x"),
        ("agent.d/.40.toml", "x"),
        ("qemu-ga.conf", "[general]\nlogfile=/4\nverbose=true\n"),
    ]);
    let config = system.config("waga -t /5");
    let files: Vec<_> = config
        .files
        .iter()
        .map(|file| file.strip_prefix(system.dir.path()).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["agent.toml", "agent.d/10.toml", "agent.d/20.toml", "qemu-ga.conf"]);
    assert_eq!(config.pid_file, Path::new("/3"));
    assert_eq!(config.log, Log { target: Target::File("/4".into()), verbose: true });
    assert_eq!(config.state_dir, Path::new("/5"));
    assert_eq!(config.audit, Some(Audit { target: Target::Auto }));
    assert_eq!(channels(&config), ["line /dev/ttyS0", "vsock-listen 1:2"]);
    assert_eq!(config.channels.iter().map(|channel| channel.retry).collect::<Vec<_>>(), [false, true]);
    // Under the other name none of ours is read.
    let config = system.config("qemu-ga");
    assert_eq!((config.files.len(), config.pid_file.as_path()), (1, Path::new("/var/run/qemu-ga.pid")));
}

#[test]
fn a_named_file_is_the_only_one() {
    let system = System::new(&[
        ("agent.toml", "[state]\ndir = '/1'\n"),
        ("qemu-ga.conf", "[general]\npidfile=/1\n"),
        ("other.toml", "[log]\nfile = '/2'\n"),
        ("other.conf", "[general]\nlogfile=/3\n"),
    ]);
    let config = system.config("waga -c @/other.toml");
    assert_eq!((config.files.len(), config.log.target), (1, Target::File("/2".into())));
    assert_eq!(
        (config.state_dir.as_path(), config.pid_file.as_path()),
        (Path::new("/var/run"), Path::new("/var/run/qemu-ga.pid"))
    );
    assert_eq!(system.config("waga -c @/other.conf").log.target, Target::File("/3".into()));
    assert_eq!(system.config("qemu-ga -c @/other.conf").log.target, Target::File("/3".into()));
    // To qemu-ga a file is a key file, whatever it is called.
    assert!(system.resolve("qemu-ga -c @/other.toml").is_ok());
    for name in ["waga -c @/no.toml", "waga -c @/no.conf", "qemu-ga -c @/no"] {
        assert!(system.resolve(name).unwrap_err().ends_with(": there is no such file"));
    }
}

#[test]
fn options_replace_channels_and_lists_add_up() {
    let system = System::new(&[
        (
            "agent.toml",
            "[[channel]]\nmethod = 'isa-serial'\n[policy]\nallow = ['guest-ping', 'guest-info', 'guest-exec']\nblock = ['guest-exec']\n",
        ),
        ("agent.d/a.toml", "[policy]\nblock = [\n  'guest-sync',\n]\n"),
        ("qemu-ga.conf", "[general]\nallow-rpcs=guest-ping\nblock-rpcs=guest-get-time\n"),
    ]);
    let config = system.config("waga -m unix-listen -p s -a guest-info -b guest-get-load -r");
    assert_eq!(channels(&config), ["unix-listen s"]);
    assert!(config.channels[0].retry);
    for (command, expected) in [
        ("guest-ping", "on @/qemu-ga.conf:2: allow-rpcs"),
        ("guest-info", "on --allow-rpcs (-a)"),
        ("guest-exec", "off @/agent.toml:5:10: [policy] block"),
        ("guest-sync", "off @/agent.d/a.toml:3:3: [policy] block"),
        ("guest-get-time", "off @/qemu-ga.conf:3: block-rpcs"),
        ("guest-get-load", "off --block-rpcs (-b)"),
        ("guest-get-osinfo", "off @/qemu-ga.conf:2: allow-rpcs"),
    ] {
        assert_eq!(why(&system, &config, "unix-listen", command), expected, "{command}");
    }
}

#[test]
fn a_channel_may_be_given_less() {
    let system = System::new(&[(
        "agent.toml",
        "[[channel]]\nmethod = 'virtio-serial'\n[[channel]]\nmethod = 'unix-listen'\nname = 'backup'\npath = 's'\nmode = '0660'\nowner = 'root'\ngroup = 0\n\
         [policy]\nblock = ['guest-exec']\n[policy.channel.backup]\nallow = ['guest-ping', 'guest-exec']\n",
    )]);
    let config = system.config("waga");
    assert_eq!(why(&system, &config, "virtio-serial", "guest-info"), "on default");
    assert_eq!(
        why(&system, &config, "backup", "guest-info"),
        "off @/agent.toml:13:9: [policy.channel.backup] allow"
    );
    assert_eq!(
        why(&system, &config, "backup", "guest-ping"),
        "on @/agent.toml:13:10: [policy.channel.backup] allow"
    );
    assert_eq!(why(&system, &config, "backup", "guest-exec"), "off @/agent.toml:11:10: [policy] block");
    let access = Access { mode: Some(0o660), owner: Some(0), group: Some(0) };
    assert_eq!(config.channels[1].endpoint, Endpoint::Unix("s".into(), access));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_way_out() {
    for (text, expected) in [
        (
            "[polcy]",
            "@/agent.toml:1:2: unknown field `polcy`, expected one of `channel`, `policy`, `log`, `audit`, `state`, `daemon`, `freeze`, `extensions`, `extension`; did you mean `policy`?",
        ),
        (
            "[policy]\nblok = []",
            "@/agent.toml:2:1: unknown field `blok`, expected one of `allow`, `block`, `enable`, `exec`, `file`, `channel`; did you mean `block`?",
        ),
        ("\n\nchannel = 5", "@/agent.toml:3:11: "),
        ("[policy\n", "@/agent.toml:1:8: "),
        ("[state]\ndir = 5", "@/agent.toml:2:7: invalid type: integer `5`, expected "),
        (
            "[[channel]]\nmethod = 'virtio-seral'",
            "@/agent.toml:2:10: unknown channel method 'virtio-seral': use one of virtio-serial, isa-serial, unix-listen, vsock-listen; did you mean 'virtio-serial'?",
        ),
        ("[[channel]]\npath = 'x'", "@/agent.toml:1:1: missing field `method`"),
        ("[[channel]]\nmethod = 'unix-listen'", "@/agent.toml:2:10: a unix-listen channel needs a path"),
        ("[[channel]]\nmethod = 'vsock-listen'\npath = 'x'", "@/agent.toml:3:8: 'x' is no vsock address"),
        (
            "[[channel]]\nmethod = 'unix-listen'\npath = 's'\nmode = '999'",
            "@/agent.toml:4:8: '999' is no mode",
        ),
        (
            "[[channel]]\nmethod = 'unix-listen'\npath = 's'\nowner = 'nobody-of-this-name'",
            "@/agent.toml:4:9: there is no user 'nobody-of-this-name'",
        ),
        (
            "[[channel]]\nmethod = 'isa-serial'\ngroup = 'root'",
            "@/agent.toml:3:9: 'group' is for unix-listen channels",
        ),
        (
            "[log]\ntarget = 'jurnal'",
            "@/agent.toml:2:10: unknown target 'jurnal': use one of auto, stderr, syslog, journal, file; did you mean 'journal'?",
        ),
        ("[log]\ntarget = 'file'", "@/agent.toml:2:10: target = \"file\" needs the key 'file'"),
        ("[audit]\ntarget = 'syslog'\nfile = 'x'", "@/agent.toml:3:8: a file is for target = \"file\" only"),
        ("[policy]\nblock = ['']", "@/agent.toml:2:10: a command has a name"),
        ("[policy.exec]\nallow = [{ program = 'ls' }]", "@/agent.toml:2:10: "),
        ("[policy.exec]", "@/agent.toml:1:1: missing field `allow`"),
        ("[policy.file]\nread = ['/ok', 'var']", "@/agent.toml:2:16: 'var' is not an absolute path"),
        ("[policy.file]\nread = []\nwrite = ['/a/../b']", "@/agent.toml:3:10: '/a/../b' contains '..'"),
        (
            "[policy.channel.bakup]\nblock = []\n[[channel]]\nmethod = 'isa-serial'\nname = 'backup'",
            "@/agent.toml:1:17: [policy.channel.bakup]: there is no [[channel]] with name = \"bakup\"; did you mean 'backup'?",
        ),
        (
            "[freeze]\ndeadlin = '1m'",
            "@/agent.toml:2:1: unknown field `deadlin`, expected one of `hook`, `hook-timeout`, `deadline`, `exclude`; did you mean `deadline`?",
        ),
        (
            "[freeze]\ndeadline = '10'",
            "@/agent.toml:2:12: '10' is no time: write \"90s\", \"10m\" or \"1h 30m\" or \"off\"",
        ),
        ("[freeze]\nhook-timeout = '0s'", "@/agent.toml:2:16: '0s' is no time: write \"90s\""),
        ("[freeze]\nexclude = ['/a', 'b']", "@/agent.toml:2:11: 'b' is no mount point"),
    ] {
        let error = System::new(&[("agent.toml", text)]).resolve("waga -m unix-listen -p s").unwrap_err();
        assert!(error.starts_with(expected), "{text}\n{error}\nexpected {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = |line: &str| System::new(&[]).resolve(line).unwrap_err();
    assert_eq!(
        error("waga -m unix-lisen -p s"),
        "unknown channel method 'unix-lisen': use one of virtio-serial, isa-serial, unix-listen, vsock-listen; did you mean 'unix-listen'?"
    );
    assert_eq!(error("waga -m unix-listen"), "a unix-listen channel needs a path");
}

#[test]
fn what_is_dumped_reads_back_to_the_same() {
    let system = System::new(&[(
        "agent.toml",
        "[[channel]]\nmethod = 'unix-listen'\npath = 's'\nmode = '0600'\nname = 'b'\n[policy]\nallow = ['x', 'y']\nblock = ['z']\nenable = ['e']\n\
         [policy.exec]\nallow = [{ program = '/bin/ls', args = ['-l'], env = ['LANG=C'] }]\n[policy.file]\nread = ['/var/log']\n\
         [policy.channel.b]\nblock = ['y']\nenable = ['waga-reload']\n[log]\ntarget = 'journal'\nverbose = true\n[audit]\nfile = '/a'\n[freeze]\nhook = '/h'\nhook-timeout = '90s'\ndeadline = '1h 10m'\nexclude = ['/srv/*']\n",
    )]);
    let before = system.resolve("waga -b w").unwrap();
    let text = before.dump().unwrap();
    fs::write(system.dir.path().join("dumped.toml"), &text).unwrap();
    let after = system.resolve("waga -c @/dumped.toml").unwrap();
    assert_eq!(after.dump().unwrap(), text);
    let (before, after) = (before.config, after.config);
    assert_eq!(
        (after.channels, after.log, after.audit, after.freeze),
        (before.channels, before.log, before.audit, before.freeze)
    );
    let enabled = |policy: &Policy| {
        let mut names: Vec<_> = policy.enabled().map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(enabled(&before.policy), ["e", "waga-reload"]);
    assert_eq!(enabled(&after.policy), enabled(&before.policy));
    for channel in ["b", "other"] {
        let registry = Registry::builtins();
        for slot in registry.slots() {
            let caller = Caller::Channel(channel.into());
            let verdicts = [&before.policy, &after.policy].map(|policy| {
                let verdict = policy.verdict(slot, &caller, false);
                (verdict.is_allowed(), verdict.limits.clone())
            });
            assert_eq!(verdicts[0], verdicts[1], "{}", slot.name);
        }
    }
}

#[test]
fn what_no_single_file_can_say_is_dumped_as_nothing_allowed() {
    let limit = |program: &str| format!("[policy.exec]\nallow = [{{ program = '{program}' }}]\n");
    let system = System::new(&[("agent.toml", &limit("/bin/ls")), ("agent.d/a.toml", &limit("/bin/cat"))]);
    let text = system.resolve("waga").unwrap().dump().unwrap();
    assert!(
        text.starts_with("# [policy.exec]: 2 files each limit it") && text.contains("allow = []"),
        "{text}"
    );
}

#[test]
fn qemu_gas_dump_is_qemu_gas() {
    let system =
        System::new(&[("qemu-ga.conf", "[general]\nblock-rpcs=a,b\nstatedir=/a\\sb\nfsfreeze-hook=/h\n")]);
    let text = system.resolve("qemu-ga -b c,d -l log -v -m isa-serial").unwrap().dump().unwrap();
    let expected = "[general]\ndaemon=false\nmethod=isa-serial\npath=/dev/ttyS0\nlogfile=log\npidfile=/var/run/qemu-ga.pid\n\
                    fsfreeze-hook=/h\nstatedir=/a b\nverbose=true\nretry-path=false\nblock-rpcs=b,a,d,c\nallow-rpcs=";
    assert_eq!(text, expected);
}

#[test]
fn a_file_that_others_may_write_is_not_read() {
    let system = System::new(&[("agent.toml", ""), ("agent.d/x.toml", "")]);
    let open = |name: &str, mode| {
        fs::set_permissions(system.dir.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
    };
    assert!(system.resolve("waga").is_ok());
    open("agent.d/x.toml", 0o622);
    assert!(system.resolve("waga").unwrap_err().starts_with("@/agent.d/x.toml: others than its owner"));
    open("agent.d/x.toml", 0o644);
    open("agent.d", 0o777);
    assert!(system.resolve("waga").unwrap_err().starts_with("@/agent.d: others than its owner"));
    // Under the other name it is none of our business.
    assert!(system.resolve("qemu-ga").is_ok());
}

/// Bits of configuration, right and wrong, to be shuffled.
const BITS: &[&str] = &[
    "[[channel]]\n",
    "method = \"unix-listen\"\n",
    "path = \"s\"\n",
    "name = \"x\"\n",
    "mode = \"0600\"\n",
    "owner = 0\n",
    "[policy]\n",
    "allow = [\"guest-ping\"]\n",
    "block = []\n",
    "[policy.exec]\n",
    "allow = [{ program = \"/bin/ls\", args = [\"**\"] }]\n",
    "[policy.file]\n",
    "read = [\"/tmp\"]\n",
    "write = [\"relative\"]\n",
    "[policy.channel.x]\n",
    "[log]\n",
    "target = \"file\"\n",
    "file = \"f\"\n",
    "verbose = true\n",
    "[audit]\n",
    "[extensions]\n",
    "stack = '1MiB'\n",
    "compile = { memory = 1073741824, time = '1h' }\n",
    "[extension.b]\n",
    "module = 'm'\n",
    "[extension.a]\nmodule = '/m'\nadd = ['guest-acme-a', 'guest-acme-b']\n",
    "config = { date = 1979-05-27, list = [1.5, { x = '' }], 'odd key' = [[]] }\n",
    "limits = { cpu = '1s 1ns', concurrency = 8, log = 0 }\n",
    "[extension.b.config.x]\n",
    "wrap = []\n",
    "[state]\n",
    "dir = \"/\"\n",
    "[daemon]\n",
    "\u{0}",
    "é = 1\n",
    "[",
    "\"",
    "'''",
    "= \n",
    "a.b.c = {}\n",
    "0x\n",
    "[general]\n",
    "verbose=1\n",
];

proptest! {
    #[test]
    fn any_file_is_read_or_refused_with_its_place(bits in prop::collection::vec(prop::sample::select(BITS), 0..12), noise in "\\PC{0,8}") {
        oracle::check(&(bits.concat() + &noise));
    }
}

#[test]
#[cfg(not(feature = "extensions"))]
fn what_this_build_cannot_do_is_a_fault() {
    let system =
        System::new(&[("agent.toml", "[extensions]\nstack = '1MiB'\n[extension.x]\nmodule = 'x'\n")]);
    let error = system.resolve("waga").unwrap_err();
    assert_eq!(error, "@/agent.toml:3:12: this build of waga runs no extensions");
}

#[test]
fn what_is_off_by_default_is_on_by_any_file_that_says_so() {
    let files = [
        ("agent.toml", "[policy]\nenable = ['waga-reload']\n"),
        ("agent.d/a.toml", "[policy]\nenable = ['waga-reload']\n"),
    ];
    let on = |files: &[(&str, &str)]| {
        let system = System::new(files);
        let config = system.config("waga");
        why(&system, &config, "virtio-serial", "waga-reload")
    };
    assert_eq!(on(&[]), "off default");
    assert_eq!(on(&files), "on @/agent.toml:2:11: [policy] enable");
    assert_eq!(on(&files[1..]), "on @/agent.d/a.toml:2:11: [policy] enable");
    let blocked = [files[0], ("agent.d/b.toml", "[policy]\nblock = ['waga-reload']\n")];
    assert_eq!(on(&blocked), "off @/agent.d/b.toml:2:10: [policy] block");
}
