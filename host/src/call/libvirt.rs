//! The way through libvirt, by its own `virsh`: libvirt owns the channel of its guests, and syncs and queues for everyone.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::SILENCE;
use super::deadline::Deadline;
use super::error::Error;
use super::request::Request;

/// What libvirt puts around an error reply's `desc`. Its `class` is lost.
const REFUSED: &str = "unable to execute QEMU agent command '";
/// What libvirt puts before all it has to say of an agent that it cannot talk to.
const UNRESPONSIVE: &str = "Guest agent is not responding: ";
/// What follows when there is nothing to wait for.
const NOT_THERE: [&str; 3] = ["is not connected", "due to an error", "disappeared"];
/// What libvirt says instead, from some version between 9 and 11 on, of an agent that is there and did not answer.
const LATE: &str = "guest agent command timed out: ";

/// A guest of libvirt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    /// Its name, id or UUID.
    pub(super) name: String,
    /// The URI of its libvirt, unless that is the usual one.
    pub(super) connect: Option<String>,
}

impl Domain {
    /// Has libvirt send a command and returns the line that answers it; `None` if it is one that is silent when it succeeds, and it was.
    ///
    /// # Errors
    /// The agent's own as far as libvirt tells it; that there is no such guest, agent, libvirt or `virsh`; that the time was over.
    pub(super) fn ask(&self, request: &Request, deadline: Deadline) -> Result<Option<Vec<u8>>, Error> {
        if !request.is_silent() {
            return self.run(request, deadline).map(Some);
        }
        // libvirt says the same of an agent that does not answer and of one that need not. So it must have answered before.
        match self.run(&Request::new("guest-ping", None)?, deadline) {
            Ok(_) | Err(Error::Agent { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.run(request, deadline.or(Deadline::after(SILENCE))) {
            Ok(_) | Err(Error::Timeout(_)) => Ok(None),
            Err(Error::Transport(text)) if text.contains("disappeared") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn run(&self, request: &Request, deadline: Deadline) -> Result<Vec<u8>, Error> {
        let missed = || deadline.missed(&format!("{}: no answer through virsh", request.command()));
        let mut child = self.virsh(request, deadline).spawn().map_err(|error| {
            Error::Transport(match error.kind() {
                ErrorKind::NotFound => "--domain needs virsh, which is not installed".to_owned(),
                ErrorKind::ArgumentListTooLong => {
                    "the command is too long for virsh, whose words the system limits to 128 KiB".to_owned()
                }
                _ => format!("cannot start virsh: {error}"),
            })
        })?;
        let ended = read_to_end(&mut child, deadline);
        if !matches!(ended, Ok(Some(_))) {
            // It may have ended just now, which is as well.
            drop(child.kill());
        }
        let status = child.wait().map_err(|error| Error::Transport(format!("virsh: {error}")))?;
        match ended? {
            Some(outputs) if status.success() => Ok(outputs.stdout),
            Some(outputs) => {
                Err(meaning(request.command(), &String::from_utf8_lossy(&outputs.stderr), status))
            }
            None => Err(missed()),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "no child of the agent: a client's, with all that the user set"
    )]
    fn virsh(&self, request: &Request, deadline: Deadline) -> Command {
        let mut command = Command::new("virsh");
        if let Some(uri) = &self.connect {
            command.args(["--connect", uri]);
        }
        // Whole seconds are all it knows; the fraction is ours to end.
        let seconds = deadline.left().as_secs().clamp(1, i32::MAX as u64);
        command.args(["--quiet", "qemu-agent-command", "--timeout", &seconds.to_string()]);
        // As a value of its option even a name that begins with a dash is a name.
        command.args(["--domain", &self.name, "--cmd", request.text()]);
        // Its errors are read by their words.
        command.env("LC_ALL", "C").env_remove("LANGUAGE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What a program wrote.
#[derive(Default)]
struct Outputs {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What the child wrote to its outputs until it ended; `None` if the time was over first.
///
/// It is the child's end that counts. Its outputs may be held open longer, by an ssh that it started for the connection.
fn read_to_end(child: &mut Child, deadline: Deadline) -> Result<Option<Outputs>, Error> {
    let failed = |error: io::Error| Error::Transport(format!("virsh: {error}"));
    let (mut stdout, mut stderr) =
        (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    for pipe in [stdout.as_fd(), stderr.as_fd()] {
        rustix::io::ioctl_fionbio(pipe, true).map_err(|error| failed(error.into()))?;
    }
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    let mut outputs = Outputs::default();
    let (mut printing, mut saying) = (true, true);
    loop {
        let mut polled = vec![PollFd::new(&process, PollFlags::IN)];
        if printing {
            polled.push(PollFd::new(&stdout, PollFlags::IN));
        }
        if saying {
            polled.push(PollFd::new(&stderr, PollFlags::IN));
        }
        if !deadline.wait(&mut polled)? {
            return Ok(None);
        }
        let over = !polled[0].revents().is_empty();
        printing = printing && read_some(&mut stdout, &mut outputs.stdout).map_err(failed)?;
        saying = saying && read_some(&mut stderr, &mut outputs.stderr).map_err(failed)?;
        if over {
            return Ok(Some(outputs));
        }
    }
}

/// Reads what is there; whether more may come.
fn read_some(pipe: &mut impl Read, all: &mut Vec<u8>) -> io::Result<bool> {
    match pipe.read_to_end(all) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// What it means when virsh failed and said this.
fn meaning(command: &str, said: &str, status: ExitStatus) -> Error {
    if let Some((name, desc)) = said.split_once(REFUSED).and_then(|(_, rest)| rest.split_once("': ")) {
        return Error::Agent { command: name.to_owned(), class: None, desc: desc.trim_end().to_owned() };
    }
    let lines = said.lines().map(|line| line.trim_start_matches("error: ").trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Error::Transport(format!("{command}: virsh failed without a word ({status})"));
    }
    let text = format!("{command}: {}", lines.join("; "));
    match said.split_once(UNRESPONSIVE) {
        Some((_, why)) if !NOT_THERE.iter().any(|words| why.contains(words)) => Error::Timeout(text),
        _ if said.contains(LATE) => Error::Timeout(text),
        _ => Error::Transport(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_virsh_says_is_told_apart() {
        for (said, code, text) in [
            (
                "error: internal error: unable to execute QEMU agent command 'guest-foo': The command guest-foo has not been found\n\n",
                1,
                "guest-foo: The command guest-foo has not been found",
            ),
            ("error: failed to get domain 'nope'\n", 3, "guest-x: failed to get domain 'nope'"),
            (
                "error: failed to get domain 'nope'\nerror: Domain not found: no domain with matching name 'nope'\n",
                3,
                "guest-x: failed to get domain 'nope'; Domain not found: no domain with matching name 'nope'",
            ),
            (
                "error: Guest agent is not responding: QEMU guest agent is not connected\n",
                3,
                "guest-x: Guest agent is not responding: QEMU guest agent is not connected",
            ),
            (
                "error: Guest agent is not responding: Guest agent disappeared while executing command\n",
                3,
                "guest-x: Guest agent is not responding: Guest agent disappeared while executing command",
            ),
            (
                "error: Guest agent is not responding: Guest agent not available for now\n",
                4,
                "guest-x: Guest agent is not responding: Guest agent not available for now",
            ),
            (
                "error: guest agent command timed out: guest agent didn't respond to command within '1' seconds\n",
                4,
                "guest-x: guest agent command timed out: guest agent didn't respond to command within '1' seconds",
            ),
            ("\n", 3, "guest-x: virsh failed without a word (exit status: 1)"),
        ] {
            let error = meaning("guest-x", said, ExitStatus::from_raw(1 << 8));
            assert_eq!((error.exit_code(), error.to_string()), (code, text.to_owned()));
        }
    }
}
