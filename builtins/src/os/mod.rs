//! What the guest runs: its operating system, its host name.

mod release;

use std::ffi::CStr;

use serde::Serialize;

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work};
use crate::error::Result;

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<GuestGetHostName>(), Builtin::of::<GuestGetOsinfo>()];

/// Tells the guest's host name.
struct GuestGetHostName;

/// The result of [`GuestGetHostName`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct HostName {
    host_name: String,
}

impl Command for GuestGetHostName {
    const NAME: &'static str = "guest-get-host-name";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = HostName;

    async fn run(_: &Context, _: Empty) -> Result<HostName> {
        Ok(HostName { host_name: text(rustix::system::uname().nodename()) })
    }
}

/// Tells which kernel and which distribution the guest runs.
struct GuestGetOsinfo;

/// The result of [`GuestGetOsinfo`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct OsInfo {
    kernel_release: String,
    kernel_version: String,
    machine: String,
    #[serde(flatten)]
    release: release::Release,
}

impl Command for GuestGetOsinfo {
    const NAME: &'static str = "guest-get-osinfo";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = OsInfo;

    async fn run(cx: &Context, _: Empty) -> Result<OsInfo> {
        let release = match release::read_cached() {
            Some(release) => release,
            None => cx.blocking(Work::Inspect, release::read).await?,
        };
        let kernel = rustix::system::uname();
        Ok(OsInfo {
            kernel_release: text(kernel.release()),
            kernel_version: text(kernel.version()),
            machine: text(kernel.machine()),
            release,
        })
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}
