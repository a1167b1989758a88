//! Filesystems and disks.
//!
//! | file | has |
//! |---|---|
//! | `mounts` | which filesystems are on block devices: what fsinfo, freezing and trimming are about |
//! | `block` | block devices as sysfs and udev tell of them |
//! | `address` | where a disk is plugged in |
//! | `probes` | asking what may never answer |
//! | `trims` | whose turn it is to trim a device |
//! | `fsinfo`, `disks`, `diskstats`, `fstrim` | a command each |

mod address;
mod block;
mod disks;
mod diskstats;
mod fsinfo;
mod fstrim;
#[cfg(test)]
mod made_up;
pub(crate) mod mounts;
mod probes;
mod trims;

pub use probes::Probes;
pub use trims::Trims;

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<disks::GuestGetDisks>(),
    Builtin::of::<fsinfo::GuestGetFsinfo>(),
    Builtin::of::<diskstats::GuestGetDiskstats>(),
    Builtin::of::<fstrim::GuestFstrim>(),
];
