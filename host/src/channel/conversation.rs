//! A conversation with a peer, the same for all transports: bytes in, requests served one after another, replies out.

use std::future::Future;
use std::io::{self, IoSlice};
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;
use smol::stream::StreamExt;
use waga_builtins::{Caller, Error, Reply};

use super::House;
use crate::wire::budget::lock;
use crate::wire::{Event, Message, Request, Response};

/// Requests of one client that are served before others get their turn.
const TURN: u32 = 4;
/// Bytes of one client that are looked at before others get their turn, whether they make requests or not: some 50 µs of work.
const PORTION: usize = 16 << 10;
/// An unfinished message of more bytes than this is read on on another thread. The budget keeps those threads to a few dozen.
const LARGE: usize = 4 << 20;
/// How often a client that waits for a command is looked after, and how often it is found gone before the command is given up. What the
/// command has begun on another thread goes on; a place in a queue is freed.
const LOOKED_AFTER: (Duration, u32) = (Duration::from_secs(1), 5);

/// What came from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Bytes, in the buffer.
    Bytes,
    /// The peer left; the next one starts afresh.
    PeerLeft,
    /// The connection is over.
    End,
}

/// What became of bytes for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    Sent,
    /// The peer left before it had them all.
    PeerLeft,
}

/// A byte stream to a peer.
pub(super) trait Link: Send {
    /// Waits for bytes and puts them into the buffer, which is empty.
    fn read(&mut self, buffer: &mut Vec<u8>) -> impl Future<Output = io::Result<Arrival>> + Send;

    /// Whether the peer is gone for good and will take no reply.
    fn is_gone(&self) -> bool;

    /// Sends all of the parts, in order.
    fn write(&mut self, parts: &mut [IoSlice<'_>]) -> impl Future<Output = io::Result<Departure>> + Send;
}

/// Serves one peer after another on a link until it ends.
pub(super) async fn converse(mut link: impl Link, caller: &Caller, house: &House) -> io::Result<()> {
    let _connected = house.dispatcher.connected(caller);
    let framer = house.budget.framer();
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut turn = 0;
    let mut watch = Watch { timer: Timer::never(), is_set: false };
    loop {
        buffer.clear();
        match link.read(&mut buffer).await? {
            Arrival::Bytes => {}
            Arrival::PeerLeft => {
                lock(&framer).reset();
                give_back(&mut buffer);
                continue;
            }
            Arrival::End => {
                give_back(&mut buffer);
                return Ok(());
            }
        }
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let (used, event) = if lock(&framer).held() > LARGE {
                // The end of a large string is a look at all of it: not on the thread that serves everyone.
                let (framer, portion) = (framer.clone(), rest.to_vec());
                smol::unblock(move || lock(&framer).feed(&portion)).await
            } else {
                lock(&framer).feed(&rest[..rest.len().min(PORTION)])
            };
            rest = &rest[used..];
            let Some(event) = event else {
                smol::future::yield_now().await;
                continue;
            };
            let response = match event {
                Event::Fault(error) => {
                    house.dispatcher.malformed(caller);
                    Some(Response::error(None, error))
                }
                Event::Message(message) => answer(message, &link, caller, house, &mut watch).await?,
            };
            if let Some(response) = response
                && send(&mut link, response).await? == Departure::PeerLeft
            {
                lock(&framer).reset();
                break;
            }
            turn += 1;
            if turn % TURN == 0 {
                smol::future::yield_now().await;
            }
        }
        let held = lock(&framer).held();
        house.budget.keep(held);
    }
}

/// When a client that waits is looked after next. A timer costs as much as a short command, so one that was set goes on to its end, and
/// serves all commands until then.
struct Watch {
    timer: Timer,
    is_set: bool,
}

impl Watch {
    async fn next(&mut self) {
        if !self.is_set {
            self.timer.set_after(LOOKED_AFTER.0);
            self.is_set = true;
        }
        (&mut self.timer).await;
        self.is_set = false;
    }
}

/// Serves one message. Errors when the peer has long gone and its command still waits.
async fn answer(
    message: Message,
    link: &impl Link,
    caller: &Caller,
    house: &House,
    watch: &mut Watch,
) -> io::Result<Option<Response>> {
    let Some(_charge) = house.budget.charge(message.text().len()) else {
        house.dispatcher.overloaded(caller);
        let error = Error::generic("JSON token size limit exceeded: commands with too much data still run");
        return Ok(Some(Response::error(None, error)));
    };
    let request = match Request::try_from(message) {
        Ok(request) => request,
        Err(response) => {
            house.dispatcher.malformed(caller);
            return Ok(Some(response));
        }
    };
    let served = async { Ok(house.dispatcher.serve(caller, request).await) };
    // Not polled, and so without a cost, when the command ends at once.
    let given_up = async {
        let mut missed = 0;
        while missed < LOOKED_AFTER.1 {
            watch.next().await;
            missed = if link.is_gone() { missed + 1 } else { 0 };
        }
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client left while its command waited"))
    };
    served.or(given_up).await
}

/// Larger values are not copied into one buffer with what surrounds them.
const COPIED: usize = 4 << 10;

async fn send(link: &mut impl Link, response: Response) -> io::Result<Departure> {
    let (mut head, reply, tail) = response.into_parts();
    let mut pieces = match reply {
        Reply::Value(value) if value.len() <= COPIED => {
            head.extend_from_slice(&value);
            head.extend_from_slice(&tail);
            return link.write(&mut [IoSlice::new(&head)]).await;
        }
        Reply::Value(value) => {
            return link.write(&mut [IoSlice::new(&head), IoSlice::new(&value), IoSlice::new(&tail)]).await;
        }
        Reply::Pieces(pieces) => pieces,
    };
    let mut departure = Departure::Sent;
    while departure == Departure::Sent
        && let Some(piece) = pieces.next().await
    {
        departure = link.write(&mut [IoSlice::new(&head), IoSlice::new(&piece)]).await?;
        head.clear();
    }
    if departure == Departure::Sent { link.write(&mut [IoSlice::new(&tail)]).await } else { Ok(departure) }
}

/// Smallest and largest read: the buffer grows while reads fill it.
const READS: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;

/// Gives memory back after a peer that moved much.
fn give_back(buffer: &mut Vec<u8>) {
    if buffer.capacity() > 64 << 10 {
        *buffer = Vec::new();
        waga_builtins::allocator::release();
    }
}

/// Makes room in an empty buffer for the next read.
pub(super) fn make_room(buffer: &mut Vec<u8>, last: usize) {
    let room = if last >= buffer.capacity() { buffer.capacity() * 4 } else { buffer.capacity() };
    buffer.reserve(room.clamp(*READS.start(), *READS.end()));
}
