//! Passwords and ssh keys in a real guest: what is in its files afterwards, and what is not, whatever a user has planted at home.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{self, Disk, Guest, Image};

use crate::{image, in_guest, only_waga, step};

/// Debian's, whose hash busybox's `mkpasswd` then finds again on its own.
const CHPASSWD: &str = "/usr/sbin/chpasswd";
/// Where PAM looks in Debian 12, and in 13. On a whole system both are the same place, in these guests they are not.
pub(crate) const PAM: [&str; 2] =
    ["/lib/x86_64-linux-gnu/security/pam_unix.so", "/usr/lib/x86_64-linux-gnu/security/pam_unix.so"];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
alice:x:1000:1000::/home/alice:/bin/sh
bob:x:1001:1001::/home/bob:/bin/sh
carol:x:1002:1002::/home/carol:/bin/sh
dave:x:1003:1003::/home/gone:/bin/sh
erin:x:1004:1004::/home/small:/bin/sh
";
const GROUP: &str = "root:x:0:\nalice:x:1000:\nbob:x:1001:\ncarol:x:1002:\ndave:x:1003:\nerin:x:1004:\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nalice:!:19000:0:99999:7:::\nbob:!:19000:0:99999:7:::\n";

const ADD: &str = "guest-ssh-add-authorized-keys";
const REMOVE: &str = "guest-ssh-remove-authorized-keys";
const GET: &str = "guest-ssh-get-authorized-keys";

/// A guest with users, whose homes are on a disk.
pub(crate) fn inhabited() -> Image {
    image()
        .file("/etc/passwd", 0o644, PASSWD)
        .file("/etc/group", 0o644, GROUP)
        .file("/etc/shadow", 0o640, SHADOW)
        .disk(Disk::ext4(16, "/home"))
}

/// Makes the homes; init does not know of users.
fn furnish(guest: &Guest) -> Result<()> {
    guest
        .shell("for name in alice bob; do mkdir -m 755 /home/$name && chown $name:$name /home/$name; done")?;
    guest.shell("mkdir -m 755 /home/carol /home/small")?;
    Ok(())
}

/// The same with the program that sets passwords; the error is that this machine does not have it.
pub(crate) fn with_passwords() -> Result<Image> {
    for file in [CHPASSWD, PAM[0], PAM[1]] {
        ensure!(Path::new(file).exists(), "{file} is not on this machine");
    }
    Ok(inhabited()
        .program(CHPASSWD)
        .program(PAM[0])
        .program(PAM[1])
        .file("/etc/pam.d/chpasswd", 0o644, "password required pam_unix.so sha512\n")
        .file("/etc/login.defs", 0o644, "ENCRYPT_METHOD SHA512\n"))
}

#[test]
fn passwords_are_set() -> Result<()> {
    let image = match with_passwords() {
        Ok(image) => image,
        Err(missing) => return vm::left_out(missing),
    };
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("a password", || password(agent, guest))?;
        step("a hash", || hash(agent, guest))?;
        step("passwords that are not set", || refused(agent, guest))?;
        if only_waga("a password is nowhere but in the program's input") {
            step("a password is nowhere but in the program's input", || nowhere_else(agent, guest))?;
            step("without the program", || without(agent, guest))?;
        }
        Ok(())
    })
}

fn set(agent: &mut Client, user: &str, password: &str, crypted: bool) -> Result<()> {
    let arguments = json!({"username": user, "password": STANDARD.encode(password), "crypted": crypted});
    ensure!(agent.run("guest-set-user-password", arguments)? == json!({}));
    Ok(())
}

/// What stands in the shadow file.
fn field(guest: &Guest, user: &str) -> Result<String> {
    guest.shell(&format!("grep ^{user}: /etc/shadow | cut -d: -f2"))
}

/// A hash made of this password by another program than the one that set it is the one that was set.
pub(crate) fn verifies(guest: &Guest, user: &str, password: &str) -> Result<()> {
    let field = field(guest, user)?;
    let parts: Vec<&str> = field.split('$').collect();
    let ["", "6", salt, _] = parts[..] else { anyhow::bail!("no hash of SHA-512: {field}") };
    let quoted = password.replace('\'', r"'\''");
    let again = guest.shell(&format!("busybox mkpasswd -m sha512 -S '{salt}' '{quoted}'"))?;
    ensure!(again == field, "{again} is not {field}");
    Ok(())
}

fn password(agent: &mut Client, guest: &Guest) -> Result<()> {
    for password in ["tulip", "with: colon, 'quotes', $dollar and \\ backslash", "Grüße"] {
        set(agent, "alice", password, false)?;
        verifies(guest, "alice", password)?;
    }
    set(agent, "root", "another", false)?;
    verifies(guest, "root", "another")?;
    verifies(guest, "alice", "Grüße")?;
    ensure!(verifies(guest, "alice", "another").is_err(), "any password would do");
    ensure!(field(guest, "bob")? == "!");
    Ok(())
}

fn hash(agent: &mut Client, guest: &Guest) -> Result<()> {
    let hash = guest.shell("busybox mkpasswd -m sha512 -S saltsalt daffodil")?;
    set(agent, "bob", &hash, true)?;
    ensure!(field(guest, "bob")? == hash);
    verifies(guest, "bob", "daffodil")?;
    set(agent, "bob", "!locked", true)?;
    ensure!(field(guest, "bob")? == "!locked");
    Ok(())
}

fn refused(agent: &mut Client, guest: &Guest) -> Result<()> {
    let before = guest.shell("cat /etc/shadow")?;
    for (user, password, crypted, reason) in [
        ("nonexistent", "tulip", false, "child process has failed to set user password"),
        ("nonexistent", "$6$x$y", true, "child process has failed to set user password"),
        ("", "tulip", false, "child process has failed to set user password"),
        ("alice", "tulip\nroot:tulip", false, "forbidden characters in raw password"),
        ("alice", "tulip\nroot:$6$x$y", true, "forbidden characters in raw password"),
        ("alice:tulip\nroot", "x", false, "forbidden characters in username"),
        ("alice:x", "tulip", true, "forbidden characters in username"),
    ] {
        let arguments = json!({"username": user, "password": STANDARD.encode(password), "crypted": crypted});
        let (class, desc) = agent.refused("guest-set-user-password", arguments)?;
        ensure!(class == "GenericError" && desc.starts_with(reason), "{user:?}: {desc}");
        ensure!(!desc.contains("tulip"), "{desc}");
    }
    let arguments = json!({"username": "nonexistent", "password": "dHVsaXA=", "crypted": true});
    let (_, desc) = agent.refused("guest-set-user-password", arguments)?;
    // The program's own words, which qemu-ga leaves out in old versions.
    ensure!(desc.contains("'nonexistent' does not exist") || desc.ends_with("set user password"), "{desc}");
    ensure!(guest.shell("cat /etc/shadow")? == before);
    Ok(())
}

/// Another program in the place of `chpasswd` takes down what it is given.
fn nowhere_else(agent: &mut Client, guest: &Guest) -> Result<()> {
    guest.shell("mkdir -p /run/spy && mv /usr/sbin/chpasswd /usr/sbin/chpasswd.real")?;
    guest.shell(
        "printf '%s\\n' '#!/bin/sh' 'echo \"$#:$*\" >/run/spy/words' 'env >/run/spy/environment' \
         'cat >/run/spy/input' 'ps -o args >/run/spy/processes' 'echo \"not done: $(cat /run/spy/input)\" >&2' \
         'exit 1' >/usr/sbin/chpasswd && chmod 755 /usr/sbin/chpasswd",
    )?;
    for (crypted, words) in [(false, "0:"), (true, "1:-e")] {
        let arguments = json!({"username": "alice", "password": "aHlhY2ludGg=", "crypted": crypted});
        let (_, desc) = agent.refused("guest-set-user-password", arguments)?;
        ensure!(desc.starts_with("child process has failed to set user password: not done: "), "{desc}");
        ensure!(guest.shell("cat /run/spy/words")? == words);
        ensure!(guest.shell("cat /run/spy/input")? == "alice:hyacinth");
    }
    let places = "/run/spy/environment /run/spy/processes /run/agent-state";
    let (status, found) = guest.shell_status(&format!("grep -r -E 'hyacinth|aHlhY2ludGg' {places}"))?;
    ensure!(status == 1 && found.is_empty(), "{}", String::from_utf8_lossy(&found));
    ensure!(guest.shell("grep -c . /run/spy/processes")? != "0", "the spy saw nothing");
    let console = guest.console();
    for secret in ["hyacinth", "aHlhY2ludGg", "tulip", "daffodil", "Grüße"] {
        ensure!(!console.contains(secret), "{secret} is in the log");
    }
    ensure!(console.contains("guest-set-user-password"), "what was done is not in the log");
    Ok(())
}

fn without(agent: &mut Client, guest: &Guest) -> Result<()> {
    guest.shell("rm /usr/sbin/chpasswd")?;
    let arguments = json!({"username": "alice", "password": "aHlhY2ludGg=", "crypted": false});
    let (class, desc) = agent.refused("guest-set-user-password", arguments)?;
    ensure!(class == "GenericError", "{class}");
    ensure!(desc == "failed to set user password: this guest has no chpasswd", "{desc}");
    // Not in PATH, but where administrators have it.
    guest.shell("mv /usr/sbin/chpasswd.real /sbin/chpasswd")?;
    set(agent, "alice", "tulip", false)?;
    verifies(guest, "alice", "tulip")
}

#[test]
fn keys_are_kept_as_the_user() -> Result<()> {
    in_guest(&inhabited(), |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("homes", || furnish(guest))?;
        step("keys come and go", || keys(agent, guest))?;
        step("root's keys", || roots_keys(agent, guest))?;
        step("homes that do not take keys", || homes(agent, guest))?;
        if only_waga("a disk that is full, and what users plant") {
            step("a disk that is full", || full(agent, guest))?;
            step("what users plant", || planted(agent, guest))?;
        }
        Ok(())
    })
}

fn file(guest: &Guest, home: &str) -> Result<String> {
    let (status, text) = guest.shell_status(&format!("cat {home}/.ssh/authorized_keys"))?;
    ensure!(status == 0, "no keys at {home}");
    Ok(String::from_utf8(text)?)
}

/// Owner, group and permissions of folder and file, and that nothing else lies about.
fn in_order(guest: &Guest, home: &str, owner: u32) -> Result<()> {
    let seen = guest
        .shell(&format!("cd {home} && stat -c '%u:%g %a %F' .ssh .ssh/authorized_keys && ls -A .ssh"))?;
    let lines: Vec<&str> = seen.lines().collect();
    let (folder, file) = (format!("{owner}:{owner} 700 directory"), format!("{owner}:{owner} 600 regular"));
    let right = matches!(lines[..], [first, second, "authorized_keys"] if first == folder && second.starts_with(&file));
    ensure!(right, "{seen}");
    Ok(())
}

fn keys(agent: &mut Client, guest: &Guest) -> Result<()> {
    let done = json!({});
    let keys = json!(["ssh-ed25519 AAAA one", "ssh-rsa BBBB two"]);
    let absent = json!({"username": "alice", "keys": ["ssh-rsa BBBB two"]});
    ensure!(agent.run(REMOVE, absent.clone())? == done, "no file, no key");
    ensure!(agent.run(ADD, json!({"username": "alice", "keys": keys}))? == done);
    ensure!(file(guest, "/home/alice")? == "ssh-ed25519 AAAA one\nssh-rsa BBBB two");
    in_order(guest, "/home/alice", 1000)?;
    ensure!(agent.run(ADD, json!({"username": "alice", "keys": keys, "reset": false}))? == done);
    ensure!(file(guest, "/home/alice")? == "ssh-ed25519 AAAA one\nssh-rsa BBBB two");
    // Somebody edits it.
    guest.shell("cd /home/alice/.ssh; printf '# mine\\nssh-rsa BBBB two\\n\\nssh-rsa BBBB two\\n' >authorized_keys; chmod 644 authorized_keys")?;
    ensure!(
        agent.run(ADD, json!({"username": "alice", "keys": ["command=\"x\" ssh-rsa C", "# mine2"]})).is_err()
    );
    ensure!(agent.run(ADD, json!({"username": "alice", "keys": ["command=\"x\" ssh-rsa C"]}))? == done);
    ensure!(
        file(guest, "/home/alice")?
            == "# mine\nssh-rsa BBBB two\n\nssh-rsa BBBB two\n\ncommand=\"x\" ssh-rsa C"
    );
    let listed = agent.run(GET, json!({"username": "alice"}))?;
    ensure!(
        listed == json!({"keys": ["command=\"x\" ssh-rsa C", "ssh-rsa BBBB two", "ssh-rsa BBBB two"]}),
        "{listed}"
    );
    ensure!(agent.run(REMOVE, absent)? == done);
    ensure!(file(guest, "/home/alice")? == "# mine\n\n\ncommand=\"x\" ssh-rsa C");
    ensure!(agent.run(ADD, json!({"username": "alice", "keys": keys, "reset": true}))? == done);
    ensure!(file(guest, "/home/alice")? == "ssh-ed25519 AAAA one\nssh-rsa BBBB two");
    ensure!(agent.run(ADD, json!({"username": "alice", "keys": [], "reset": true}))? == done);
    ensure!(file(guest, "/home/alice")?.is_empty());
    in_order(guest, "/home/alice", 1000)
}

fn roots_keys(agent: &mut Client, guest: &Guest) -> Result<()> {
    agent.run(ADD, json!({"username": "root", "keys": ["ssh-rsa ROOT"]}))?;
    ensure!(file(guest, "/root")? == "ssh-rsa ROOT");
    in_order(guest, "/root", 0)
}

fn homes(agent: &mut Client, guest: &Guest) -> Result<()> {
    let mut refused = |command: &str, user: &str| {
        Ok::<_, anyhow::Error>(agent.refused(command, json!({"username": user, "keys": ["ssh-rsa A"]}))?.1)
    };
    // It is not there, and nobody but an administrator should make it.
    let desc = refused(ADD, "dave")?;
    ensure!(desc == "failed to create directory '/home/gone/.ssh': No such file or directory", "{desc}");
    let desc = refused(ADD, "nonexistent")?;
    ensure!(desc == "failed to lookup user 'nonexistent': Success", "{desc}");
    if only_waga("a home that is not the user's") {
        let desc = refused(ADD, "carol")?;
        ensure!(desc == "failed to create directory '/home/carol/.ssh': Permission denied", "{desc}");
        ensure!(guest.shell("ls -A /home/carol")?.is_empty());
    }
    guest.shell("[ ! -e /home/gone ]")?;
    Ok(())
}

/// The old keys outlive it.
fn full(agent: &mut Client, guest: &Guest) -> Result<()> {
    guest.shell("mount -t tmpfs -o size=64k,mode=700,uid=1004,gid=1004 none /home/small")?;
    agent.run(ADD, json!({"username": "erin", "keys": ["ssh-rsa OLD"]}))?;
    guest.shell_status("cat /dev/zero >/home/small/filler")?;
    let (_, desc) = agent.refused(ADD, json!({"username": "erin", "keys": ["ssh-rsa NEW"]}))?;
    ensure!(
        desc == "failed to write to '/home/small/.ssh/authorized_keys': No space left on device",
        "{desc}"
    );
    ensure!(file(guest, "/home/small")? == "ssh-rsa OLD");
    in_order(guest, "/home/small", 1004)?;
    guest.shell("rm /home/small/filler")?;
    agent.run(ADD, json!({"username": "erin", "keys": ["ssh-rsa NEW"]}))?;
    ensure!(file(guest, "/home/small")? == "ssh-rsa OLD\nssh-rsa NEW");
    Ok(())
}

/// Bob plants links; nothing outside his home changes, and nothing of it comes in.
fn planted(agent: &mut Client, guest: &Guest) -> Result<()> {
    let outside = "md5sum /etc/passwd /etc/group /etc/shadow; ls -lA /etc; ls -lRA /srv /root /home/alice /home/carol; \
         cat /srv/authorized_keys /root/.ssh/* /home/alice/.ssh/*";
    // A folder for everybody, with a file for everybody.
    guest
        .shell("mkdir -m 1777 /srv; echo everybody >/srv/authorized_keys; chmod 666 /srv/authorized_keys")?;
    guest.shell("echo 'ssh-rsa ALICE' >/home/alice/.ssh/authorized_keys")?;
    let before = guest.shell(outside)?;
    for target in ["/root/.ssh", "/home/alice/.ssh", "/srv", "/proc/self", "/proc/self/cwd", "/etc"] {
        guest
            .shell(&format!("cd /home/bob && rm -rf .ssh && ln -s {target} .ssh && chown -h bob:bob .ssh"))?;
        for (command, reset) in
            [(ADD, json!({"reset": false})), (ADD, json!({"reset": true})), (REMOVE, json!({}))]
        {
            let mut arguments =
                json!({"username": "bob", "keys": ["ssh-rsa ALICE", "everybody", "ssh-rsa ROOT"]});
            arguments
                .as_object_mut()
                .context("an object")?
                .extend(reset.as_object().context("an object")?.clone());
            agent.refused(command, arguments).with_context(|| format!("{command} by {target}"))?;
        }
        ensure!(guest.shell(outside)? == before, "{target} was changed");
    }
    for target in [
        "/root/.ssh/authorized_keys",
        "/etc/shadow",
        "/etc/passwd",
        "/srv/authorized_keys",
        "/proc/self/maps",
        "/dev/vda",
    ] {
        guest.shell("cd /home/bob && rm -rf .ssh && mkdir -m 700 .ssh && chown bob:bob .ssh")?;
        guest.shell(&format!(
            "cd /home/bob/.ssh && ln -s {target} authorized_keys && chown -h bob:bob authorized_keys"
        ))?;
        agent.refused(ADD, json!({"username": "bob", "keys": ["ssh-rsa BOB"]})).context(target)?;
        agent
            .refused(REMOVE, json!({"username": "bob", "keys": ["ssh-rsa ROOT", "everybody"]}))
            .context(target)?;
        agent.run(ADD, json!({"username": "bob", "keys": ["ssh-rsa BOB"], "reset": true})).context(target)?;
        ensure!(file(guest, "/home/bob")? == "ssh-rsa BOB", "{target}");
        in_order(guest, "/home/bob", 1001)?;
        ensure!(guest.shell(outside)? == before, "{target} was changed");
    }
    // A FIFO that nobody ever opens, and a device: nothing waits for them.
    for plant in ["mkfifo -m 600 authorized_keys", "mknod authorized_keys c 1 5; chmod 666 authorized_keys"] {
        guest.shell(&format!(
            "cd /home/bob/.ssh && rm -f authorized_keys && {plant} && chown bob:bob authorized_keys"
        ))?;
        let (_, desc) = agent.refused(ADD, json!({"username": "bob", "keys": ["ssh-rsa BOB"]}))?;
        ensure!(desc.ends_with("not a regular file"), "{desc}");
        agent.run(ADD, json!({"username": "bob", "keys": ["ssh-rsa BOB"], "reset": true}))?;
        in_order(guest, "/home/bob", 1001)?;
    }
    Ok(())
}

/// Where a second channel of the agent listens in the guest.
const SOCKET: &str = "/run/agent.sock";

#[test]
fn keys_of_requests_at_once_are_all_kept() -> Result<()> {
    if !only_waga("several channels at once") {
        return Ok(());
    }
    let config = format!(
        "[[channel]]\nmethod = \"virtio-serial\"\n[[channel]]\nmethod = \"unix-listen\"\npath = {SOCKET:?}\n"
    );
    in_guest(&inhabited().config(&config), |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("homes", || furnish(guest))?;
        let waga = guest.shell("readlink /proc/$(cat /run/agent.pid)/exe")?;
        let add =
            format!("{waga} call --socket {SOCKET} {ADD} username=alice 'keys=[\"ssh-rsa '$number'\"]'");
        guest.shell(&format!("for number in $(seq 12); do {add} & done; wait"))?;
        let listed = agent.run(GET, json!({"username": "alice"}))?;
        let mut listed: Vec<_> =
            listed["keys"].as_array().context("no list")?.iter().map(|key| key.to_string()).collect();
        listed.sort();
        let mut wanted: Vec<_> = (1..=12).map(|number| format!("\"ssh-rsa {number}\"")).collect();
        wanted.sort();
        ensure!(listed == wanted, "{listed:?}");
        in_order(guest, "/home/alice", 1000)
    })
}
