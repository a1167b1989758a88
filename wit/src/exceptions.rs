//! Where the wire differs from what WIT says by the usual mapping of its types to JSON. All of it is in [`EXCEPTIONS`].
//!
//! No exceptions are names that WIT reserves: what is written `%type`, `%use`, `%flags` or `%variant` there is called `type`, `use`,
//! `flags` and `variant`. Nor are whole numbers, which WIT has as wide as their meaning is and the protocol with 64 bits: what lies beyond
//! fails in the command and not at the argument. (The protocol takes a negative number for one without a sign; WIT does not.)

/// One exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// The command.
    pub command: &'static str,
    /// An argument, or a member of the result itself, as WIT spells it; of the elements of a result that is a list, `[].member`.
    pub member: &'static str,
    /// What is different.
    pub wire: Wire,
}

/// What is different on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// This member of the result is called so.
    Called(&'static str),
    /// For this argument these are taken too, as JSON: clients wrote them before there were words. A component has the words only.
    AlsoTakes(&'static [&'static str]),
    /// This member of the result is an object of JSON, whatever is in it; WIT has no such type, and says that it is text.
    AnyObject,
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        command: "guest-info",
        member: "supported-commands",
        wire: Wire::Called("supported_commands"),
    },
    // What `lseek` calls `SEEK_SET`, `SEEK_CUR` and `SEEK_END`.
    Exception { command: "guest-file-seek", member: "whence", wire: Wire::AlsoTakes(&["0", "1", "2"]) },
    // `none` and `separated`.
    Exception { command: "guest-exec", member: "capture-output", wire: Wire::AlsoTakes(&["false", "true"]) },
    // A schema is JSON itself: a client looks into it without reading text out of text.
    Exception { command: "waga-get-schema", member: "[].arguments", wire: Wire::AnyObject },
    Exception { command: "waga-get-schema", member: "[].result", wire: Wire::AnyObject },
];

/// What a member of a command's result is called on the wire.
pub fn member_on_wire<'a>(command: &str, member: &'a str) -> &'a str {
    let called = EXCEPTIONS.iter().find_map(|exception| match exception.wire {
        Wire::Called(name) if exception.command == command && exception.member == member => Some(name),
        _ => None,
    });
    called.unwrap_or(member)
}
