//! Freezing the guest's filesystems, so that a snapshot of its disks is consistent, and thawing them.
//!
//! | file | has |
//! |---|---|
//! | `commands` | the commands |
//! | `state` | what is frozen, and who thaws it: shared by all of them |
//! | `freezing`, `thawing` | the two ways, each on a thread of its own |
//! | `hands` | the threads that take freezes off |
//! | `hook` | the operator's program |
//! | `extensions` | extensions that are told as it is |
//! | `plan` | which filesystems, in which order |
//! | `gate` | who of the agent itself may be writing |
//! | `resume` | what an agent before left |
//! | `marker` | what the agent's successor has to know |
//! | `report` | what became of it all |

mod commands;
mod extensions;
mod freezing;
mod gate;
mod hands;
mod hook;
mod marker;
mod plan;
mod report;
mod resume;
mod state;
mod thawing;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use commands::COMMANDS;
pub use extensions::{FreezeHook, Told};
pub use gate::Writer;
pub use plan::Exclude;
pub use state::Freeze;

/// How long a hook may take unless the operator says otherwise: less than hosts wait for a freeze (Proxmox: ten minutes).
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What the configuration says of freezing.
#[derive(Clone)]
pub struct FreezeSettings {
    /// The program that is told of freezing and thawing, with the argument `freeze` or `thaw`.
    pub hook: Option<PathBuf>,
    /// How long it may take each time.
    pub hook_timeout: Duration,
    /// After how long the agent thaws by itself; `None`: never.
    pub deadline: Option<Duration>,
    /// Mount points that are never frozen.
    pub exclude: Exclude,
    /// Whether the thaw that follows one that nobody asked for is answered with an error.
    pub tells_unasked: bool,
    /// Holds back all that the agent itself writes to files, or lets it go; whether nothing is being written any more.
    pub hold_files: fn(bool) -> bool,
}

impl Default for FreezeSettings {
    fn default() -> Self {
        Self {
            hook: None,
            hook_timeout: HOOK_TIMEOUT,
            deadline: None,
            exclude: Exclude::default(),
            tells_unasked: true,
            hold_files: |_| true,
        }
    }
}

impl fmt::Debug for FreezeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreezeSettings").field("hook", &self.hook).finish_non_exhaustive()
    }
}
