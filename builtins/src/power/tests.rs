//! Which way is taken, in systems made up of scripts and files. Nothing here can reach the machine's own power.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustix::io::Errno;
use smol::Timer;
use tempfile::TempDir;

use super::shutdown::{Mode, shut_down};
use super::suspend::{Sleep, suspend};
use super::*;
use crate::context::{Caller, test_agent};

/// A system below a temporary folder, and what its programs were asked.
struct MadeUp(TempDir);

impl MadeUp {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["sbin", "bin", "run/systemd", "sys/power"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        Self(root)
    }

    fn systemd(self) -> Self {
        fs::create_dir(self.0.path().join("run/systemd/system")).unwrap();
        self
    }

    /// A program that writes down how it was called, then does as the script says.
    fn program(self, path: &str, script: &str) -> Self {
        let (file, log) = (self.0.path().join(path), self.0.path().join("log"));
        let script = format!("#!/bin/sh\necho {path} $* >>{}\n{script}\n", log.display());
        // Written by a process of its own: a child that another test has just forked may hold our descriptors for a moment, and what is
        // open for writing cannot be run.
        let install = Helper::new(
            "sh",
            &["-c", "rm -f \"$0\"; cat >\"$0\"; chmod 755 \"$0\"", &file.to_string_lossy()],
            LIMIT,
        );
        in_context(|cx| async move { install.input(script).run(&cx.agent).await }).unwrap();
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        fs::write(self.0.path().join(path), text).unwrap();
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap_or_default()
    }

    fn system(&self, reboot: fn(Mode) -> io::Result<()>) -> System {
        let (root, path) = (self.0.path().to_owned(), vec![self.0.path().join("bin")]);
        System { root, path, reboot, limit: LIMIT }
    }

    /// What came of it, what the programs were asked, and the error's text without the path of the folder.
    fn told(&self, result: Result<()>) -> (String, String) {
        let told = result.map_or_else(|error| error.desc, |()| "done".to_owned());
        (told.replace(&format!("{}/", self.0.path().display()), "/"), self.read("log"))
    }

    fn shut_down(&self, mode: Mode, reboot: fn(Mode) -> io::Result<()>) -> (String, String) {
        self.told(in_context(|cx| async move { shut_down(&cx, self.system(reboot), mode).await }))
    }

    fn suspend(&self, sleep: Sleep) -> (String, String) {
        self.told(in_context(|cx| async move { suspend(&cx, self.system(unused), sleep).await }))
    }
}

fn in_context<T, F: Future<Output = T>>(act: impl FnOnce(Context) -> F) -> T {
    let (agent, executor) = test_agent();
    let cx = Context { agent, caller: Caller::Channel("test".into()), limits: Arc::default() };
    smol::block_on(executor.run(act(cx)))
}

fn unused(mode: Mode) -> io::Result<()> {
    panic!("the kernel is told {mode:?}")
}

fn refuses(_: Mode) -> io::Result<()> {
    Err(Errno::PERM.into())
}

fn pair(told: &str, log: &str) -> (String, String) {
    (told.to_owned(), log.to_owned())
}

#[test]
fn a_running_systemd_is_asked_first() {
    let system = MadeUp::new().systemd().program("bin/systemctl", "").program("sbin/poweroff", "");
    let expected = pair("done", "bin/systemctl --no-ask-password -i poweroff\n");
    assert_eq!(system.shut_down(Mode::PowerOff, unused), expected);
    let expected = pair("done", "sbin/poweroff\n");
    let system = MadeUp::new().program("bin/systemctl", "").program("sbin/poweroff", "");
    assert_eq!(system.shut_down(Mode::PowerOff, unused), expected, "it is installed, but does not run");
}

#[test]
fn the_usual_programs_follow() {
    for (mode, verb, option) in
        [(Mode::PowerOff, "poweroff", "-P"), (Mode::Halt, "halt", "-H"), (Mode::Reboot, "reboot", "-r")]
    {
        let named = format!("sbin/{verb}");
        let system = MadeUp::new().program(&named, "");
        assert_eq!(system.shut_down(mode, unused), pair("done", &format!("{named}\n")));
        let shutdown = format!("sbin/shutdown -h {option} +0 hypervisor initiated shutdown\n");
        let system = MadeUp::new().program("sbin/shutdown", "");
        assert_eq!(system.shut_down(mode, unused), pair("done", &shutdown));
        let system = MadeUp::new().program(&named, "exit 1").program("sbin/shutdown", "");
        assert_eq!(system.shut_down(mode, unused), pair("done", &format!("{named}\n{shutdown}")));
    }
}

#[test]
fn the_kernel_is_last() {
    fn as_told(mode: Mode) -> io::Result<()> {
        assert_eq!(mode, Mode::Halt);
        Ok(())
    }
    assert_eq!(MadeUp::new().shut_down(Mode::Halt, as_told), pair("done", ""));
    let system = MadeUp::new().program("sbin/halt", "exit 1");
    assert_eq!(system.shut_down(Mode::Halt, as_told), pair("done", "sbin/halt\n"));
    // A systemd without programs.
    assert_eq!(MadeUp::new().systemd().shut_down(Mode::Halt, as_told), pair("done", ""));
}

/// A host that sends it and leaves.
#[test]
fn what_has_begun_goes_on_without_its_client() {
    let made_up = MadeUp::new()
        .program("sbin/poweroff", "until test -e $0.go; do sleep 0.01; done; exit 1")
        .program("sbin/shutdown", "");
    let system = made_up.system(unused);
    in_context(|cx| async move {
        let request = wholly(&cx, move |cx| async move { shut_down(&cx, system, Mode::PowerOff).await });
        let begun = async {
            while made_up.read("log").is_empty() {
                Timer::after(Duration::from_millis(5)).await;
            }
            Ok(Empty {})
        };
        smol::future::or(request, begun).await.unwrap();
        let made_up = made_up.file("sbin/poweroff.go", "");
        while !made_up.read("log").contains("sbin/shutdown") {
            Timer::after(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn an_error_tells_what_failed() {
    let refused = MadeUp::new().shut_down(Mode::Reboot, refuses);
    assert_eq!(refused, pair("failed to shutdown: Operation not permitted", ""));
    let system = MadeUp::new().program("sbin/reboot", "echo no such luck; exit 1");
    let expected = pair("child process has failed to shutdown: no such luck\n", "sbin/reboot\n");
    assert_eq!(system.shut_down(Mode::Reboot, refuses), expected);
}

/// It may be at it already: the kernel would cut that short.
#[test]
fn a_systemd_that_refuses_has_the_last_word() {
    let system = MadeUp::new().systemd().program("bin/systemctl", "exit 1");
    let log = "bin/systemctl --no-ask-password -i poweroff\n";
    let expected = pair("child process has failed to shutdown: exit status 1", log);
    assert_eq!(system.shut_down(Mode::PowerOff, unused), expected);
    let system = system.program("bin/systemctl", "kill -9 $$");
    let told = system.shut_down(Mode::PowerOff, unused).0;
    assert_eq!(told, "child process has terminated abnormally", "what it could still say is not known");
    // Nor does it lose that because another program cannot even be started.
    let system = system.file("sbin/shutdown", "#!/nonexistent\n");
    fs::set_permissions(system.0.path().join("sbin/shutdown"), PermissionsExt::from_mode(0o755)).unwrap();
    let told = system.shut_down(Mode::PowerOff, unused).0;
    let expected =
        "child process has failed to shutdown: failed to exec '/sbin/shutdown': No such file or directory\n";
    assert_eq!(told, expected);
}

#[test]
fn modes_are_qemu_gas() {
    assert_eq!(Mode::of(None).unwrap(), Mode::PowerOff);
    assert_eq!(Mode::of(Some("powerdown")).unwrap(), Mode::PowerOff);
    assert_eq!(Mode::of(Some("halt")).unwrap(), Mode::Halt);
    assert_eq!(Mode::of(Some("reboot")).unwrap(), Mode::Reboot);
    for wrong in ["", "poweroff", "Halt", "halt\0"] {
        let desc = Mode::of(Some(wrong)).unwrap_err().desc;
        assert_eq!(desc, "mode is invalid (valid values are: halt|powerdown|reboot");
    }
}

#[test]
fn sleep_is_systemds_then_of_pm_utils_then_the_kernels() {
    for (sleep, verb, question, program) in [
        (Sleep::Disk, "hibernate", "--hibernate", "pm-hibernate"),
        (Sleep::Ram, "suspend", "--suspend", "pm-suspend"),
        (Sleep::Hybrid, "hybrid-sleep", "--suspend-hybrid", "pm-suspend-hybrid"),
    ] {
        let (asked, done) = (format!("bin/pm-is-supported {question}\n"), format!("bin/{program}\n"));
        let pm_utils =
            || MadeUp::new().program("bin/pm-is-supported", "").program(&format!("bin/{program}"), "");
        let systemctl = format!("bin/systemctl --no-ask-password -i {verb}\n");
        let system = pm_utils().systemd().program("bin/systemctl", "");
        assert_eq!(system.suspend(sleep), pair("done", &systemctl));
        let system = pm_utils().systemd().program("bin/systemctl", "exit 1");
        assert_eq!(system.suspend(sleep), pair("done", &format!("{systemctl}{asked}{done}")));
        assert_eq!(pm_utils().suspend(sleep), pair("done", &format!("{asked}{done}")));
        let system = pm_utils()
            .program("bin/pm-is-supported", "exit 1")
            .file("sys/power/state", "freeze mem disk\n")
            .file("sys/power/disk", "[platform] shutdown suspend\n");
        assert_eq!(system.suspend(sleep), pair("done", &asked));
        assert_eq!(system.read("sys/power/state"), if sleep == Sleep::Ram { "mem" } else { "disk" });
    }
}

/// It may have put the guest to sleep, and the writing of an image may have taken that long.
#[test]
fn sleep_is_not_begun_again_after_one_that_took_too_long() {
    for (system, asked) in [
        (MadeUp::new().systemd().program("bin/systemctl", "exec sleep 1000"), "bin/systemctl"),
        (MadeUp::new().program("bin/pm-suspend-hybrid", "exec sleep 1000"), "bin/pm-suspend-hybrid"),
    ] {
        let made_up = system
            .program("bin/pm-is-supported", "")
            .file("sys/power/state", "mem disk\n")
            .file("sys/power/disk", "[platform] suspend\n");
        let system = System { limit: Duration::from_secs(3), ..made_up.system(unused) };
        let ended = in_context(|cx| async move { suspend(&cx, system, Sleep::Hybrid).await });
        let desc = ended.unwrap_err().desc;
        let expected = "child process has failed to suspend: it was killed, for it had not ended after 3s";
        assert_eq!(desc, expected);
        assert!(made_up.read("log").lines().last().unwrap().starts_with(asked), "{}", made_up.read("log"));
        assert_eq!(made_up.read("sys/power/state"), "mem disk\n");
    }
}

#[test]
fn sleep_in_both_places_leaves_that_on_disk_as_it_was() {
    let system = MadeUp::new()
        .file("sys/power/state", "mem disk\n")
        .file("sys/power/disk", "platform [shutdown] reboot suspend test_resume \n");
    assert_eq!(system.suspend(Sleep::Hybrid), pair("done", ""));
    assert_eq!((system.read("sys/power/state"), system.read("sys/power/disk")), pair("disk", "shutdown"));
}

#[test]
fn sleep_that_there_is_not_is_told() {
    let unsupported = pair("the requested suspend mode is not supported by the guest", "");
    for sleep in [Sleep::Disk, Sleep::Ram, Sleep::Hybrid] {
        assert_eq!(MadeUp::new().suspend(sleep), unsupported);
        assert_eq!(MadeUp::new().file("sys/power/state", "freeze\n").suspend(sleep), unsupported);
    }
    let system = MadeUp::new().file("sys/power/state", "disk\n").file("sys/power/disk", "[disabled]\n");
    assert_eq!(system.suspend(Sleep::Hybrid), unsupported);
    let system = MadeUp::new().systemd().program("bin/systemctl", "echo masked; exit 1");
    let log = "bin/systemctl --no-ask-password -i suspend\n";
    let expected = pair("child process has failed to suspend: masked\n", log);
    assert_eq!(system.suspend(Sleep::Ram), expected, "what was tried and failed is told");
}
