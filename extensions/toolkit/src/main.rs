//! `waga-ext`: the tool of those who write extensions, and the compiler that the daemon starts as a child.

fn main() {}
