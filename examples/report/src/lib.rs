//! A command made of two of the agent's own. `wit/report.wit` imports them with their types; each import is a question to the operator,
//! who answers it by `commands` in `agent.toml`.

// Types, functions and a trait, from `wit/`.
wit_bindgen::generate!({ world: "report", generate_all });

use exports::acme::report::reports::{Error, Filesystem, Guest, Report};
use waga::guest::guest_get_fsinfo::{FilesystemInfo, guest_get_fsinfo};
use waga::guest::guest_get_osinfo::guest_get_osinfo;

struct Example;
export!(Example);

impl Guest for Example {
    fn guest_acme_report(at_least: Option<u8>) -> Result<Report, Error> {
        // What the agent answers with an error is an error here, and goes on to the caller.
        let os = guest_get_osinfo()?;
        let mut filesystems: Vec<Filesystem> =
            guest_get_fsinfo()?.into_iter().filter_map(filesystem).collect();
        filesystems.retain(|filesystem| filesystem.used_percent >= at_least.unwrap_or(0));
        filesystems.sort_by(|one, other| other.used_percent.cmp(&one.used_percent));
        let unknown = || "unknown".to_owned();
        Ok(Report {
            system: os.pretty_name.or(os.name).unwrap_or_else(unknown),
            kernel: os.kernel_release.unwrap_or_else(unknown),
            filesystems,
        })
    }
}

/// How full it is; `None` if it does not tell its size.
fn filesystem(info: FilesystemInfo) -> Option<Filesystem> {
    let (used, total) = (info.used_bytes?, info.total_bytes.filter(|total| *total > 0)?);
    let used_percent = (u128::from(used) * 100).div_ceil(total.into()).min(100) as u8;
    Some(Filesystem { mountpoint: info.mountpoint, type_: info.type_, used_percent })
}
