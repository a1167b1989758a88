//! The few system calls that no crate wraps safely. The only place of this crate with `unsafe`.
