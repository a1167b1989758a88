//! Asking an NVMe disk for its health: one administrative command, which the kernel passes through to the controller.
#![allow(unsafe_code, reason = "an ioctl that carries the address of its buffer")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The length of the log page, in bytes.
pub(crate) const SMART_LOG: usize = 512;

/// "Get Log Page" of the NVMe specification's administrative commands.
const GET_LOG_PAGE: u8 = 0x02;

/// The log page "SMART / Health Information".
const HEALTH: u32 = 0x02;

/// The whole controller, not one of its namespaces.
const ALL_NAMESPACES: u32 = 0xffff_ffff;

/// `struct nvme_passthru_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dwords_2_3: [u32; 2],
    metadata: u64,
    data: u64,
    metadata_length: u32,
    data_length: u32,
    dwords_10_15: [u32; 6],
    /// In milliseconds; 0 is the driver's own. A shorter one would be dangerous: when it runs out, the controller is reset.
    timeout: u32,
    result: u32,
}

mod ioctl {
    nix::ioctl_readwrite!(admin_command, b'N', 0x41, super::Command);
}

/// Reads the health log of the disk that is open here; waits for the controller.
///
/// # Errors
/// The kernel's, `ENOTTY` for what is no NVMe disk; or that of a controller which refuses.
pub(crate) fn smart_log(disk: impl AsFd) -> io::Result<[u8; SMART_LOG]> {
    let mut page = [0_u8; SMART_LOG];
    let length = 512_u32;
    let mut command = Command {
        opcode: GET_LOG_PAGE,
        namespace: ALL_NAMESPACES,
        data: page.as_mut_ptr().expose_provenance() as u64,
        data_length: length,
        ..Command::default()
    };
    // The page in the low half, and how many words of four bytes are wanted, less one, in the high half.
    command.dwords_10_15[0] = HEALTH | (length / 4 - 1) << 16;
    // SAFETY: the descriptor is open as long as `disk` lives. The kernel reads and writes one `Command`, whose layout is its own
    // (asserted below), and writes `data_length` bytes at `data`: exactly `page`, which outlives the call and is not touched during
    // it. The request's number encodes the size of `Command`; no other driver of a block device knows it.
    let status = unsafe { ioctl::admin_command(disk.as_fd().as_raw_fd(), &raw mut command) }?;
    // A status of the controller's own comes as a positive result.
    if status == 0 { Ok(page) } else { Err(io::Error::other(format!("the controller answers {status:#x}"))) }
}

const _: () = assert!(size_of::<Command>() == 72);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_nvme_disk_refuses() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(smart_log(&file).unwrap_err().raw_os_error(), Some(nix::libc::ENOTTY));
    }
}
