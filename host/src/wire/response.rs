//! A reply as it goes out: one line of ASCII, members spelt and spaced as qemu-ga does.

use waga_builtins::{Error, Reply, qapi};

/// The answer to one request.
#[derive(Debug)]
pub struct Response {
    id: Option<Vec<u8>>,
    delimited: bool,
    result: Result<Reply, Error>,
}

impl Response {
    /// An error reply, with the request's `id` where it is known.
    pub fn error(id: Option<Vec<u8>>, error: Error) -> Self {
        Self { id, delimited: false, result: Err(error) }
    }

    /// The reply to a request that was understood; `delimited` puts the byte 0xFF before a success.
    pub fn new(id: Option<Vec<u8>>, delimited: bool, result: Result<Reply, Error>) -> Self {
        Self { id, delimited, result }
    }

    /// Takes the reply apart into what goes before its value, the value, and what goes after.
    pub fn into_parts(self) -> (Vec<u8>, Reply, Vec<u8>) {
        let reply = match self.result {
            Ok(reply) => reply,
            Err(error) => {
                return (error_line(self.id.as_deref(), &error), Reply::Value(Vec::new()), Vec::new());
            }
        };
        let mut head = Vec::with_capacity(128);
        if self.delimited {
            head.push(0xff);
        }
        head.extend_from_slice(b"{\"return\": ");
        let mut tail = Vec::new();
        if let Some(id) = &self.id {
            tail.extend_from_slice(b", \"id\": ");
            tail.extend_from_slice(id);
        }
        tail.extend_from_slice(b"}\n");
        (head, reply, tail)
    }
}

fn error_line(id: Option<&[u8]>, error: &Error) -> Vec<u8> {
    let mut line = vec![b'{'];
    if let Some(id) = id {
        line.extend_from_slice(b"\"id\": ");
        line.extend_from_slice(id);
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(b"\"error\": {\"class\": \"");
    line.extend_from_slice(error.class.as_str().as_bytes());
    line.extend_from_slice(b"\", \"desc\": ");
    line.extend_from_slice(&qapi::spell(qapi::shorten(&error.desc)));
    line.extend_from_slice(b"}}\n");
    line
}
