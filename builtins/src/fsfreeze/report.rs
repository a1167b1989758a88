//! What became of the last freeze, for whoever asks afterwards: `waga-get-freeze-report`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The last freeze, from its begin; times are nanoseconds since the epoch, UTC, as `guest-get-time` has them.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// What is now.
    pub(super) status: Status,
    /// When it began; absent if there was none since the agent started, and for one that an earlier agent left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) begun_at: Option<i64>,
    /// When all were frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frozen_at: Option<i64>,
    /// When all were thawed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thawed_at: Option<i64>,
    /// Who thawed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thawed_by: Option<By>,
    /// What the freeze, or the thaw, failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Each filesystem on a block device, in the order of freezing.
    pub(super) filesystems: Vec<Filesystem>,
    /// Each run of a hook, in order.
    pub(super) hooks: Vec<HookRun>,
}

/// Where a freeze is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    #[default]
    Thawed,
    /// It has begun: hooks run, or filesystems are being written out.
    Freezing,
    Frozen,
    /// The thaw has begun.
    Thawing,
}

/// Who thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// The host asked for it.
    Host,
    /// The deadline of the configuration passed.
    Deadline,
    /// The agent ended, or could not have been reached.
    End,
    /// The freeze failed, or froze nothing.
    Failure,
}

/// One filesystem.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Filesystem {
    pub(super) mountpoint: String,
    pub(super) r#type: String,
    pub(super) state: State,
    /// Why it was not frozen, or is not thawed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// How long it took to write it out and freeze it, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) freeze_time: Option<u64>,
    /// How long it took to thaw it, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thaw_time: Option<u64>,
}

/// What became of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Its turn has not come, or never came.
    Waiting,
    /// It is being frozen.
    Freezing,
    Frozen,
    Thawed,
    /// It was passed over.
    Skipped,
    Failed,
}

/// One run of a hook: the operator's program, or one of an extension.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HookRun {
    /// The program; the component or the script.
    pub(super) hook: String,
    /// The extension whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extension: Option<String>,
    /// What it was told: `freeze` or `thaw`.
    pub(super) action: &'static str,
    /// Nanoseconds.
    pub(super) time: u64,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Report {
    /// A new one, that has just begun.
    pub(super) fn begin() -> Self {
        Self { status: Status::Freezing, begun_at: Some(now()), ..Self::default() }
    }

    /// The entry of a mount point, made if it is not there.
    pub(super) fn filesystem(&mut self, point: &Path, fs_type: &str) -> &mut Filesystem {
        let mountpoint = point.to_string_lossy();
        let place = self.filesystems.iter().position(|entry| entry.mountpoint == mountpoint);
        let place = place.unwrap_or_else(|| {
            self.filesystems.push(Filesystem {
                mountpoint: mountpoint.into_owned(),
                r#type: fs_type.to_owned(),
                state: State::Waiting,
                reason: None,
                freeze_time: None,
                thaw_time: None,
            });
            self.filesystems.len() - 1
        });
        &mut self.filesystems[place]
    }
}

/// Nanoseconds since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
