//! What is kept of one child, for whom, and the bounds of it. The bookkeeping of many is in the table.

use crate::sys::spawn::Ended;

/// Whose a child is: `None` for the channels that share theirs.
pub(super) type Owner = Option<crate::context::Owner>;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Records of ended children.
    pub records: usize,
    /// Bytes of output, of running and ended children together.
    pub output: usize,
    /// Bytes of one stream of one child.
    pub stream: usize,
    /// Bytes of input that running children have not read yet.
    pub input: usize,
}

impl Bounds {
    pub(super) const AGENT: Self =
        Self { records: 4096, output: 64 << 20, stream: 16 << 20, input: 128 << 20 };
    /// The part of `records` and `output` that one owner may hold: an extension, or who else does not share with the host.
    pub(super) const OWNER_SHARE: usize = 4;
}

/// Standard output or error: the place of its data in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Out,
    Err,
}

/// What is kept of a stream: its beginning.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub data: Vec<u8>,
    /// Something behind `data` was thrown away.
    pub truncated: bool,
}

/// An ended child.
#[derive(Debug)]
pub(super) struct Record {
    pub owner: Owner,
    pub pid: i32,
    pub ended: Ended,
    pub out: Stream,
    pub err: Stream,
}

impl Record {
    pub(super) fn stream(&mut self, which: Which) -> &mut Stream {
        match which {
            Which::Out => &mut self.out,
            Which::Err => &mut self.err,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.out.data.len() + self.err.data.len()
    }
}

/// What one owner holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Ended records.
    pub records: usize,
    /// Bytes of output.
    pub output: usize,
}
