//! Memory blocks that can be switched off and on.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::sys::sysfs::Folder;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<GuestGetMemoryBlocks>(),
    Builtin::of::<GuestSetMemoryBlocks>(),
    Builtin::of::<GuestGetMemoryBlockInfo>(),
];

/// Where the kernel lists its blocks.
const ROOT: &str = "/sys/devices/system/memory";

/// Lists the guest's memory blocks.
struct GuestGetMemoryBlocks;

/// One entry of [`GuestGetMemoryBlocks`].
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct MemoryBlock {
    /// N of `memoryN`: its address over the size of a block.
    phys_index: u64,
    online: bool,
    /// Whether the kernel thinks that it could be switched off.
    can_offline: bool,
}

impl Command for GuestGetMemoryBlocks {
    const NAME: &'static str = "guest-get-memory-blocks";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<MemoryBlock>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<MemoryBlock>> {
        cx.blocking(Work::Inspect, || blocks(Path::new(ROOT))).await?
    }
}

/// The blocks below a folder, by number; one whose state cannot be read is left out. A kernel without the folder has no blocks.
///
/// Differs from qemu-ga, which lists them in the order of the folder.
fn blocks(root: &Path) -> Result<Vec<MemoryBlock>> {
    let failed = |error| Error::io(format_args!("Can't open directory\"{}/\"", root.display()), error);
    let folder = match Folder::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder.map_err(failed)?,
    };
    let numbers = folder.numbered("memory").map_err(failed)?;
    if numbers.is_empty() {
        return Err(Error::generic("guest reported zero memory blocks!"));
    }
    let block = |phys_index| {
        // `online`, or with the zone, as `online_movable`.
        let online = folder.attribute(&format!("memory{phys_index}/state")).ok()?.starts_with("online");
        let removable = folder.attribute(&format!("memory{phys_index}/removable"));
        Some(MemoryBlock {
            phys_index,
            online,
            can_offline: removable.is_ok_and(|removable| removable == "1"),
        })
    };
    Ok(numbers.into_iter().filter_map(block).collect())
}

/// Switches memory blocks on and off.
struct GuestSetMemoryBlocks;

/// The arguments of [`GuestSetMemoryBlocks`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetMemoryBlocks {
    mem_blks: Vec<Wanted>,
}

/// What one block is to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wanted {
    /// N of `memoryN`.
    phys_index: u64,
    online: bool,
    /// What `guest-get-memory-blocks` told; nothing is made of it.
    #[serde(rename = "can-offline")]
    _can_offline: Option<bool>,
}

/// One entry of the result of [`GuestSetMemoryBlocks`].
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Switched {
    phys_index: u64,
    response: Response,
    /// The errno of what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<i32>,
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Response {
    /// It is as it should be.
    Success,
    NotFound,
    /// The kernel switches no blocks.
    OperationNotSupported,
    OperationFailed,
}

impl Command for GuestSetMemoryBlocks {
    const NAME: &'static str = "guest-set-memory-blocks";
    type Args = SetMemoryBlocks;
    type Return = Vec<Switched>;

    /// What is in use is moved before a block is off, which may take long; the kernel switches one at a time.
    async fn run(cx: &Context, args: SetMemoryBlocks) -> Result<Vec<Switched>> {
        let switch_all = move || args.mem_blks.iter().map(|wanted| switch(Path::new(ROOT), wanted)).collect();
        cx.blocking(Work::Memory, switch_all).await
    }
}

/// Switches one block, unless it is so already.
fn switch(root: &Path, &Wanted { phys_index, online, .. }: &Wanted) -> Switched {
    let told = |response, error: Option<io::Error>| {
        let error_code = error.and_then(|error| error.raw_os_error());
        Switched { phys_index, response, error_code }
    };
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let folder = match Folder::open(&root.join(format!("memory{phys_index}"))) {
        Ok(folder) => folder,
        Err(error) if missing(&error) => return told(Response::NotFound, Some(error)),
        Err(error) => return told(Response::OperationFailed, Some(error)),
    };
    let changed = match folder.attribute("state") {
        Ok(state) if state.starts_with("online") == online => return told(Response::Success, None),
        Ok(_) => folder.set("state", if online { "online" } else { "offline" }),
        Err(error) if missing(&error) && online => return told(Response::Success, None),
        Err(error) if missing(&error) => return told(Response::OperationNotSupported, Some(error)),
        Err(error) => Err(error),
    };
    match changed {
        Ok(()) => {
            tracing::info!(block = phys_index, online, "switched");
            told(Response::Success, None)
        }
        Err(error) => {
            tracing::warn!(block = phys_index, online, %error, "not switched");
            told(Response::OperationFailed, Some(error))
        }
    }
}

/// Tells the size of a memory block.
struct GuestGetMemoryBlockInfo;

/// The result of [`GuestGetMemoryBlockInfo`].
#[derive(Debug, PartialEq, Eq, Serialize)]
struct MemoryBlockInfo {
    /// Bytes.
    size: u64,
}

impl Command for GuestGetMemoryBlockInfo {
    const NAME: &'static str = "guest-get-memory-block-info";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = MemoryBlockInfo;

    async fn run(_: &Context, _: Empty) -> Result<MemoryBlockInfo> {
        block_info(Path::new(ROOT))
    }
}

/// One attribute, which the kernel knows without looking: no need of a thread.
fn block_info(root: &Path) -> Result<MemoryBlockInfo> {
    let name = "block_size_bytes";
    let folder = Folder::open(root)
        .map_err(|error| Error::io(format_args!("open(\"{}/\")", root.display()), error))?;
    let digits = folder
        .attribute(name)
        .map_err(|error| Error::io(format_args!("open sysfs file \"{name}\""), error))?;
    let size = u64::from_str_radix(digits.trim_start_matches("0x"), 16);
    let size =
        size.map_err(|_| Error::generic(format!("sysfs file \"{name}\" holds no number: {digits}")))?;
    Ok(MemoryBlockInfo { size })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn blocks_are_listed_by_number_with_what_can_be_done() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(blocks(root.path()).unwrap_err().desc, "guest reported zero memory blocks!");
        assert_eq!(blocks(&root.path().join("none")).unwrap(), []);
        for (number, state, removable) in [
            ("32", "online\n", "1\n"),
            ("9", "offline\n", "0\n"),
            ("100", "online_movable\n", ""),
            ("7", "", "1\n"),
            ("8", "going-offline\n", "1\n"),
        ] {
            let folder = root.path().join(format!("memory{number}"));
            fs::create_dir(&folder).unwrap();
            for (name, value) in [("state", state), ("removable", removable)] {
                if !value.is_empty() {
                    fs::write(folder.join(name), value).unwrap();
                }
            }
        }
        let block = |phys_index, online, can_offline| MemoryBlock { phys_index, online, can_offline };
        let expected =
            [block(8, false, true), block(9, false, false), block(32, true, true), block(100, true, false)];
        assert_eq!(blocks(root.path()).unwrap(), expected);
    }

    #[test]
    fn each_block_is_switched_and_told_of() {
        let root = tempfile::tempdir().unwrap();
        for (number, state) in [("1", Some("online\n")), ("2", Some("offline\n")), ("3", None)] {
            let folder = root.path().join(format!("memory{number}"));
            fs::create_dir(&folder).unwrap();
            if let Some(state) = state {
                fs::write(folder.join("state"), state).unwrap();
            }
        }
        fs::create_dir_all(root.path().join("memory4/state")).unwrap();
        fs::write(root.path().join("memory5"), "").unwrap();
        let state =
            |number: u64| fs::read_to_string(root.path().join(format!("memory{number}/state"))).unwrap();
        let check = |phys_index, online, response, error_code| {
            let switched = switch(root.path(), &Wanted { phys_index, online, _can_offline: None });
            assert_eq!(switched, Switched { phys_index, response, error_code });
        };
        // Nothing is written where nothing changes.
        check(1, true, Response::Success, None);
        check(2, false, Response::Success, None);
        assert_eq!((state(1).as_str(), state(2).as_str()), ("online\n", "offline\n"));
        check(1, false, Response::Success, None);
        check(2, true, Response::Success, None);
        assert_eq!((state(1).as_str(), &state(2)[..6]), ("offline", "online"));
        check(3, true, Response::Success, None);
        check(3, false, Response::OperationNotSupported, Some(2));
        check(4, false, Response::OperationFailed, Some(21));
        check(5, false, Response::OperationFailed, Some(20));
        check(6, true, Response::NotFound, Some(2));
        check(u64::MAX, false, Response::NotFound, Some(2));
    }

    #[test]
    fn the_size_is_hexadecimal() {
        let root = tempfile::tempdir().unwrap();
        let check = |expect: &str| assert_eq!(block_info(root.path()).unwrap_err().desc, expect);
        check("open sysfs file \"block_size_bytes\": No such file or directory");
        fs::write(root.path().join("block_size_bytes"), "xyz\n").unwrap();
        check("sysfs file \"block_size_bytes\" holds no number: xyz");
        fs::write(root.path().join("block_size_bytes"), "8000000\n").unwrap();
        assert_eq!(block_info(root.path()).unwrap(), MemoryBlockInfo { size: 128 << 20 });
        let missing = block_info(Path::new("/nonexistent/memory")).unwrap_err();
        assert_eq!(missing.desc, "open(\"/nonexistent/memory/\"): No such file or directory");
    }
}
