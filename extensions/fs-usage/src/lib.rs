//! How full filesystems are and whether that is too much, for monitoring that speaks with the agent alone. Sizes are the agent's own
//! (`guest-get-fsinfo`, which waits for no dead disk); inodes and what is read-only no command of the agent tells, so two programs are asked.
//! Where one of them is not there, or was not granted, the rest is told all the same.

mod settings;
mod told;

// Types, functions and a trait, from `wit/`.
wit_bindgen::generate!({ world: "fs-usage", generate_all });

use exports::waga_packs::fs_usage::usage::{Error, Filesystem, Guest, Level, Report};
use waga::extension::{config, exec};
use waga::guest::guest_get_fsinfo::{FilesystemInfo, guest_get_fsinfo};

use crate::settings::Settings;

struct FsUsage;
export!(FsUsage);

impl Guest for FsUsage {
    fn guest_get_fs_usage(mountpoint: Option<String>, at_least: Option<Level>) -> Result<Report, Error> {
        let settings = Settings::read(&config::get()).map_err(error)?;
        let mut infos = guest_get_fsinfo()?;
        infos.retain(|info| match &mountpoint {
            Some(only) => info.mountpoint == *only,
            None => !settings.ignores(&info.mountpoint, &info.type_),
        });
        if let (Some(only), true) = (&mountpoint, infos.is_empty()) {
            return Err(error(format!("no filesystem of a disk is mounted at '{only}'")));
        }
        let mut unknown = Vec::new();
        let mut ask = |wanted: bool, program: &str, args: &[&str]| {
            let told = wanted.then(|| output(program, args))?;
            told.map_err(|why| unknown.push(why)).ok()
        };
        let df = ask(settings.inodes, &settings.df, &["-P", "-i", "-l"]);
        let mounts = ask(settings.read_only, &settings.cat, &["/proc/self/mounts"]);
        let mut filesystems = Vec::new();
        for info in infos {
            let (mountpoint, fs_type) = (info.mountpoint.clone(), info.type_.clone());
            match filesystem(info, &settings, df.as_deref(), mounts.as_deref()) {
                Some(filesystem) => filesystems.push(filesystem),
                None => unknown.push(format!("{mountpoint} ({fs_type}) does not tell its sizes")),
            }
        }
        let level = filesystems.iter().map(|it| it.level).max_by_key(rank).unwrap_or(Level::Ok);
        filesystems.retain(|it| rank(&it.level) >= at_least.as_ref().map_or(0, rank));
        let fullness =
            |it: &Filesystem| (rank(&it.level), it.used_percent.max(it.inodes_used_percent.unwrap_or(0)));
        filesystems.sort_by_key(|it| std::cmp::Reverse(fullness(it)));
        Ok(Report { level, filesystems, unknown })
    }
}

/// What is known of one; `None` if it does not tell its sizes.
fn filesystem(
    info: FilesystemInfo,
    settings: &Settings,
    df: Option<&str>,
    mounts: Option<&str>,
) -> Option<Filesystem> {
    let (used, total) = (info.used_bytes?, info.total_bytes?);
    let all = info.total_bytes_privileged.unwrap_or(total);
    let used_percent = percent(used, total);
    // Of a device that is mounted at several places `df` knows one, which may be another than the agent's.
    let device = mounts.and_then(|table| told::device(table, &info.mountpoint));
    let device = device.unwrap_or_else(|| format!("/dev/{}", info.name));
    let inodes = df.and_then(|text| told::inodes(text, &info.mountpoint, &device));
    let inodes_used_percent = inodes.map(|it| percent(it.used, it.used.saturating_add(it.free)));
    let (warning, critical) = settings.shares(&info.mountpoint);
    let level = match used_percent.max(inodes_used_percent.unwrap_or(0)) {
        share if share >= critical => Level::Critical,
        share if share >= warning => Level::Warning,
        _ => Level::Ok,
    };
    Some(Filesystem {
        read_only: mounts.and_then(|table| told::is_read_only(table, &info.mountpoint)),
        mountpoint: info.mountpoint,
        device: info.name,
        type_: info.type_,
        level,
        total_bytes: all,
        used_bytes: used,
        free_bytes: all.saturating_sub(used),
        available_bytes: total.saturating_sub(used),
        used_percent,
        inodes: inodes.map(|it| it.total),
        inodes_used: inodes.map(|it| it.used),
        inodes_free: inodes.map(|it| it.free),
        inodes_used_percent,
    })
}

/// What a program prints; why it does not. `df` also fails for a mount that nobody may look into, after it told of all others.
fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    // What the operator did not grant is refused by the agent, in its words.
    let output = exec::run(program, &args, None)?;
    if output.stdout.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = errors.lines().next().unwrap_or("nothing");
        return Err(format!("'{program}' fails and says: {said}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Rounded up, as `df` does.
fn percent(part: u64, whole: u64) -> u8 {
    (u128::from(part) * 100).div_ceil(u128::from(whole.max(1))).min(100) as u8
}

fn rank(level: &Level) -> u8 {
    match level {
        Level::Ok => 0,
        Level::Warning => 1,
        Level::Critical => 2,
    }
}

fn error(desc: String) -> Error {
    Error { class: "GenericError".into(), desc }
}
