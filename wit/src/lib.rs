//! The contract: what a sandbox gets (`waga:extension`), every command as a typed function (`waga:guest`), and the schema that is made of
//! the latter.
//!
//! The texts are compiled in, so that neither the daemon nor a toolchain looks for files. Reading WIT and making the schema takes the
//! feature `generate`; without it this crate depends on nothing.

mod exceptions;
#[cfg(feature = "generate")]
pub mod schema;

pub use exceptions::{EXCEPTIONS, Exception, Wire, member_on_wire};

/// A file of WIT: its name and its text.
pub type File = (&'static str, &'static str);

/// The files of one package.
macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$((concat!($name, ".wit"), include_str!(concat!("../", $folder, "/", $name, ".wit")))),*]
    };
}

/// The package `waga:guest@1.0.0`: an interface for each command.
pub const GUEST: &[File] = files!("guest": "agent" "cpu" "exec" "file" "fsfreeze" "memory" "network" "os" "power" "ssh" "storage" "time"
    "types" "users" "waga");

/// The package `waga:extension@1.0.0`: what an extension imports, and what it may export besides its commands.
pub const EXTENSION: &[File] =
    files!("extension": "call" "config" "exec" "freeze-hooks" "handler" "log" "next" "state" "types");

/// The schema of every command as JSON: an object of [`GUEST`]'s commands by their names, each as `schema::command` makes it.
pub const SCHEMA: &str = include_str!("../schema.json");
