//! A serial line: raw, at 38400 baud, and opened again when it was hung up.
//!
//! On an emulated line the host's program comes and goes without a sign. On a real one, or a pseudoterminal, the kernel says that it was
//! hung up, and whoever still has it open only ever reads its end.
//!
//! Differs from qemu-ga: that adds its baud rate to the bits of the one before, which gives another one, and is deaf for ever once it
//! has read an end.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex,
    tcflush, tcgetattr, tcsetattr,
};

use super::stream::Stream;

/// Bits a second, as qemu-ga means it. Emulated lines take no heed of it.
const BAUD: u32 = 38_400;

/// Opens the line, sets its modes and forgets what arrived under the old ones. The modes stay when the agent has ended.
///
/// # Errors
/// The device cannot be opened, or is none with modes.
pub(super) fn open(path: &Path) -> io::Result<Stream> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let line = rustix::fs::open(path, flags, Mode::empty())?;
    let mut modes = tcgetattr(&line).map_err(|error| match error {
        Errno::NOTTY => io::Error::new(io::ErrorKind::InvalidInput, "not a serial line"),
        error => error.into(),
    })?;
    // Every byte goes through as it is, the agent needs no carrier, and nobody can stop its output.
    modes.input_modes = InputModes::empty();
    modes.output_modes = OutputModes::empty();
    modes.local_modes = LocalModes::empty();
    modes.control_modes = ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL;
    modes.set_speed(BAUD)?;
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&line, OptionalActions::Now, &modes)?;
    tcflush(&line, QueueSelector::IFlush)?;
    Stream::new(line)
}
