//! Small components for tests, made on the spot: a core module in WAT and its world in WIT.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Allocates by going on and on; enough for what a test passes. Fixtures with results in memory need no more.
const ALLOCATOR: &str = r#"
    (global $next (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (block $enough
            (br_if $enough (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
            (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
        (local.get $at))"#;

/// A component of the world `w` in `wit`, whose package is `test:it`. `wat` is what stands in its core module beside a memory of 17
/// pages and an allocator.
///
/// # Panics
/// One of the texts is wrong.
pub fn component(wit: &str, wat: &str) -> Vec<u8> {
    encode(wit, &module(wat))
}

/// The core module of [`component`], as text.
pub fn module(wat: &str) -> String {
    format!("(module {wat} (memory (export \"memory\") 17) {ALLOCATOR})")
}

/// As [`component`], of a whole core module.
///
/// # Panics
/// One of the texts is wrong.
pub fn encode(wit: &str, module: &str) -> Vec<u8> {
    encode_with(&[WASI[0], WASI[1], EXTENSION], wit, module)
}

/// As [`encode`], of a world that imports from these packages and no others, each after those that it uses.
///
/// # Panics
/// One of the texts is wrong.
pub fn encode_with(packages: &[&str], wit: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for package in packages.iter().chain([&wit]) {
        resolve.push_str("test.wit", package).unwrap_or_else(|error| panic!("{error:?}"));
    }
    let package = resolve.packages.iter().find(|(_, package)| package.name.namespace == "test");
    let (package, _) = package.expect("a package test:it");
    let world = resolve.select_world(&[package], Some("w")).expect("a world w");
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the world goes with it");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).expect("a core module");
    encoder.encode().unwrap_or_else(|error| panic!("{error:?}"))
}

/// What fixtures may import of WASI, cut to that.
const WASI: [&str; 2] = [
    "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }",
    "package wasi:clocks@0.2.0; interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> pollable;
    }",
];

/// What fixtures may import and export of ours.
const EXTENSION: &str = r#"
    package waga:extension@1.0.0;
    interface types { record error { class: string, desc: string } }
    interface log { enum level { error, warning, info, debug } log: func(level: level, message: string); }
    interface config { get: func() -> string; }
    interface next { use types.{error}; next: func(arguments: string) -> result<string, error>; }
    interface state {
        get: func(key: string) -> option<list<u8>>;
        set: func(key: string, value: list<u8>) -> result<_, string>;
        delete: func(key: string);
        keys: func() -> list<string>;
    }
    interface exec {
        record output { exit-code: option<s32>, signal: option<s32>, stdout: list<u8>, stderr: list<u8> }
        run: func(program: string, args: list<string>, input: option<list<u8>>) -> result<output, string>;
    }
    interface call { use types.{error}; call: func(command: string, arguments: string) -> result<string, error>; }
    interface freeze-hooks { freeze: func() -> result<_, string>; thaw: func() -> result<_, string>; }
    interface handler {
        use types.{error};
        commands: func() -> result<list<string>, string>;
        handle: func(command: string, arguments: string) -> result<string, error>;
    }
"#;
