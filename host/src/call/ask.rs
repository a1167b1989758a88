//! One question to an agent, wherever it is: a connection of its own, in step, for one command and its answer.

use super::client::Client;
use super::deadline::Deadline;
use super::error::Error;
use super::options::Place;
use super::request::Request;
use super::transport;

/// Sends a command and returns the line that answers it; `None` if it is one that is silent when it succeeds, and it was.
///
/// # Errors
/// That the agent cannot be reached or does not answer in time; through libvirt also the agent's own.
pub(super) fn ask(place: &Place, request: &Request, deadline: Deadline) -> Result<Option<Vec<u8>>, Error> {
    match place {
        Place::Socket(path) => Client::sync(transport::unix(path, deadline)?, deadline)?.ask(request),
        Place::Vsock(cid, port) => {
            Client::sync(transport::vsock(*cid, *port, deadline)?, deadline)?.ask(request)
        }
        Place::Domain(domain) => domain.ask(request, deadline),
    }
}
