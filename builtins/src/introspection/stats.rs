//! How the agent fares, for whoever is called at night: what was asked and what became of it, what is open and under way, what it takes up.

use std::fs;
use std::sync::Arc;

use serde::Serialize;

use crate::command::{Command, Empty, WhileFrozen};
use crate::context::{Context, Work};
use crate::error::Result;
use crate::extensions::{ExtensionInfo, ExtensionState};

/// Tells what was counted since the agent started, and what it holds now.
pub(super) struct WagaGetStats;

impl Command for WagaGetStats {
    const NAME: &'static str = "waga-get-stats";
    // It reads memory, and of the kernel's files its own process's.
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Empty;
    type Return = Stats;

    async fn run(cx: &Context, _: Empty) -> Result<Stats> {
        let process = cx.blocking(Work::Inspect, Process::read).await?;
        Ok(Stats {
            version: env!("CARGO_PKG_VERSION"),
            server: cx.server_stats(),
            frozen: cx.agent.freeze.is_frozen(),
            open_files: cx.agent.files.count(),
            running_programs: cx.agent.execs.running(),
            process,
            extensions: Extensions::of(&cx.extensions()),
        })
    }
}

/// The result of [`WagaGetStats`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stats {
    version: &'static str,
    #[serde(flatten)]
    server: ServerStats,
    frozen: bool,
    open_files: usize,
    running_programs: usize,
    process: Process,
    extensions: Extensions,
}

/// What was counted where requests are served.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerStats {
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Every channel that is served.
    pub channels: Vec<ChannelStats>,
    /// Every command that was asked for, in the order of `guest-info` backwards.
    pub commands: Vec<CommandStats>,
    /// Requests for commands that there are not.
    pub unknown_commands: u64,
    /// Lines of the log that could not be written.
    pub log_lines_lost: u64,
    /// Lines of the audit that could not be written.
    pub audit_lines_lost: u64,
}

/// One channel.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChannelStats {
    /// Its name.
    pub name: Arc<str>,
    /// Connections that are open.
    pub clients: u64,
    /// Requests, and messages that were none.
    pub requests: u64,
    /// Of these, how many were answered with an error.
    pub errors: u64,
    /// Of these, how many policy, limits, a freeze or want of memory refused.
    pub refused: u64,
    /// Of these, how many were no request.
    pub malformed: u64,
    /// Milliseconds since the last of them came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
}

/// One command.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandStats {
    /// Its name.
    pub name: Arc<str>,
    /// How often it was begun.
    pub calls: u64,
    /// How many of these go on.
    pub running: u64,
    /// How many of these failed.
    pub failures: u64,
    /// How often it was not begun, for policy or a freeze said no.
    pub refused: u64,
    /// Microseconds that all calls lasted.
    pub total_us: u64,
    /// Microseconds that the longest call lasted.
    pub longest_us: u64,
}

/// What the process takes up. What the kernel does not tell is absent.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Process {
    #[serde(skip_serializing_if = "Option::is_none")]
    resident: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_resident: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptors: Option<u64>,
}

impl Process {
    fn read() -> Self {
        let process = fs::read_to_string("/proc/self/status").map(|text| Self::of(&text));
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| {
            // Less the one through which they are listed.
            (entries.count() as u64).saturating_sub(1)
        });
        Self { descriptors, ..process.unwrap_or_default() }
    }

    /// From the text of `/proc/PID/status`.
    fn of(status: &str) -> Self {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let bytes = |key: &str| number(key).map(|kilobytes| kilobytes << 10);
        Self {
            resident: bytes("VmRSS"),
            peak_resident: bytes("VmHWM"),
            threads: number("Threads"),
            descriptors: None,
        }
    }
}

/// All extensions together.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Extensions {
    declared: u64,
    ready: u64,
    calls: u64,
    failures: u64,
    running: u64,
    cpu_us: u64,
}

impl Extensions {
    fn of(extensions: &[ExtensionInfo]) -> Self {
        let sum = |of: fn(&ExtensionInfo) -> u64| extensions.iter().map(of).sum();
        Self {
            declared: extensions.len() as u64,
            ready: sum(|it| u64::from(it.state == ExtensionState::Ready)),
            calls: sum(|it| it.calls),
            failures: sum(|it| it.failures),
            running: sum(|it| it.running),
            cpu_us: sum(|it| it.cpu_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_of_a_process_is_read() {
        let status = "Name:\twaga\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nThreads:\t2\n";
        let expected = Process {
            resident: Some(2048 << 10),
            peak_resident: Some(4096 << 10),
            threads: Some(2),
            descriptors: None,
        };
        assert_eq!(Process::of(status), expected);
        assert_eq!(Process::of("VmRSS: much\nThreads:\nNonThreads:\t9\n"), Process::default());
        let own = Process::read();
        assert!(own.resident.is_some_and(|bytes| bytes > 0 && Some(bytes) <= own.peak_resident), "{own:?}");
        assert!(own.threads >= Some(1) && own.descriptors >= Some(3), "{own:?}");
    }
}
