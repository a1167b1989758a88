//! The sandbox by itself: components that are compiled on the spot, as machine code and for the interpreter, and what stops each.

#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

#[allow(unreachable_pub, dead_code, reason = "the fixtures of the agent's own tests, which use more of them")]
#[path = "../../../tests/src/component.rs"]
mod component;

use std::sync::Arc;
use std::time::{Duration, Instant};

use component::component;
use waga::config::CallLimits;
use waga::extension::Grant;
use waga::extension::answer::Answer;
use waga::extension::engine::{Engine, Kind, config};
use waga::extension::failure::Failure;
use waga::extension::sandbox::Sandbox;
use waga::wire::{Event, Framer, Request};
use wasmtime::component::Component;

/// A component, ready to be called.
struct Loaded {
    engine: Arc<Engine>,
    sandbox: Arc<Sandbox>,
    limits: CallLimits,
}

fn load(kind: Kind, bytes: &[u8]) -> Result<Loaded, String> {
    let wasmtime = wasmtime::Engine::new(&config(kind, 512 << 10).unwrap()).unwrap();
    let component = Component::new(&wasmtime, bytes).unwrap_or_else(|error| panic!("{error:?}"));
    let engine = Arc::new(Engine::start(wasmtime, kind).unwrap());
    let description = smol::block_on(Sandbox::describe(&component, &engine))?;
    let sandbox = Arc::new(Sandbox::new(&component, &description).map_err(|unfit| unfit.to_string())?);
    Ok(Loaded { engine, sandbox, limits: CallLimits::default() })
}

impl Loaded {
    fn call(&self, command: &str, arguments: &str) -> Result<String, Result<String, Failure>> {
        let request = format!(r#"{{"execute":"x","arguments":{arguments}}}"#);
        let Some(Event::Message(message)) = Framer::default().feed(request.as_bytes()).1 else {
            panic!("{arguments}")
        };
        let arguments = Request::try_from(message).unwrap().arguments;
        let grant = Grant {
            name: "test".into(),
            config: r#"{"a":1}"#.into(),
            limits: Arc::new(self.limits.clone()),
            ..Grant::default()
        };
        let deadline = Instant::now() + self.limits.time;
        let ending =
            smol::block_on(self.sandbox.clone().call(&self.engine, grant, command, arguments, deadline));
        match ending.result {
            Ok(Answer::Returned(text)) => Ok(String::from_utf8(text).unwrap()),
            Ok(Answer::Failed(error)) => Err(Ok(error.desc)),
            Err(failure) => Err(Err(failure)),
        }
    }
}

/// One command, as machine code and interpreted; what it comes to has to be the same.
fn check(wit: &str, wat: &str, limits: CallLimits, arguments: &str, expected: Result<&str, Failure>) {
    let wit = format!(
        "package test:it; interface i {{ {wit} }} world w {{ import waga:extension/log@1.0.0; import waga:extension/config@1.0.0; export i; }}"
    );
    let wat = format!(
        r#"(import "waga:extension/log@1.0.0" "log" (func $log (param i32 i32 i32)))
        (import "waga:extension/config@1.0.0" "get" (func $config (param i32))) {wat}"#
    );
    let bytes = component(&wit, &wat);
    for kind in [Kind::Native, Kind::Pulley] {
        let loaded = Loaded { limits: limits.clone(), ..load(kind, &bytes).unwrap() };
        let begun = Instant::now();
        let came = loaded.call("guest-test-x", arguments);
        assert!(begun.elapsed() < limits.time.max(limits.cpu) * 10, "{kind:?}: {:?}", begun.elapsed());
        match (came, &expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, *expected),
            (Err(Ok(desc)), Ok(expected)) => assert_eq!(format!("error: {desc}"), *expected),
            (Err(Err(failure)), Err(expected)) => assert_eq!(failure, *expected),
            (came, expected) => panic!("{kind:?}: {came:?} instead of {expected:?}"),
        }
        // The next call is as good as the first.
        if expected.is_ok() {
            assert!(
                loaded.call("guest-test-x", arguments).is_ok_and(|text| Ok(&*text) == expected)
                    || matches!(&expected, Ok(text) if text.starts_with("error"))
            );
        }
    }
}

fn short() -> CallLimits {
    CallLimits { cpu: Duration::from_millis(50), time: Duration::from_millis(300), ..CallLimits::default() }
}

#[test]
fn a_typed_function_is_called_with_values_and_answers_with_json() {
    check(
        "guest-test-x: func(a: u32, b: option<u32>) -> u32;",
        r#"(func (export "test:it/i#guest-test-x") (param i32 i32 i32) (result i32) (i32.add (local.get 0) (local.get 2)))"#,
        CallLimits::default(),
        r#"{"a":2,"b":40}"#,
        Ok("42"),
    );
    check(
        "guest-test-x: func(a: u32);",
        r#"(func (export "test:it/i#guest-test-x") (param i32))"#,
        CallLimits::default(),
        r#"{"a":2}"#,
        Ok("{}"),
    );
    check(
        "guest-test-x: func(a: u32);",
        r#"(func (export "test:it/i#guest-test-x") (param i32))"#,
        CallLimits::default(),
        "{}",
        Ok("error: Parameter 'a' is missing"),
    );
    // Its configuration, as a string that the agent puts into its memory.
    check(
        "guest-test-x: func() -> string;",
        r#"(func (export "test:it/i#guest-test-x") (result i32) (call $config (i32.const 8)) (i32.const 8))"#,
        CallLimits::default(),
        "{}",
        Ok(r#""{\"a\":1}""#),
    );
    check(
        "guest-test-x: func() -> result<u32, string>;",
        r#"(data (i32.const 32) "no luck") (func (export "test:it/i#guest-test-x") (result i32)
            (i32.store8 (i32.const 8) (i32.const 1)) (i32.store (i32.const 12) (i32.const 32)) (i32.store (i32.const 16) (i32.const 7))
            (i32.const 8))"#,
        CallLimits::default(),
        "{}",
        Ok("error: no luck"),
    );
}

#[test]
fn each_limit_stops_what_it_is_for() {
    let one = "guest-test-x: func();";
    check(one, r#"(func (export "test:it/i#guest-test-x") (loop br 0))"#, short(), "{}", Err(Failure::Cpu));
    // Many short calls of the agent, each of which yields to nobody.
    check(
        one,
        r#"(func (export "test:it/i#guest-test-x") (loop (call $log (i32.const 3) (i32.const 0) (i32.const 0)) br 0))"#,
        CallLimits { cpu: Duration::from_secs(5), time: Duration::from_secs(5), ..short() },
        "{}",
        Err(Failure::HostCalls),
    );
    let memory = || Err(Failure::Memory("wasm `unreachable` instruction executed".into()));
    check(
        one,
        r#"(func (export "test:it/i#guest-test-x")
            (loop (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) br 0))"#,
        CallLimits { cpu: Duration::from_secs(5), time: Duration::from_secs(5), ..short() },
        "{}",
        memory(),
    );
    check(
        one,
        r#"(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
        (func (export "test:it/i#guest-test-x") (drop (call $deep (i32.const 0))))"#,
        CallLimits { cpu: Duration::from_secs(5), time: Duration::from_secs(5), ..short() },
        "{}",
        Err(Failure::Stack),
    );
    check(
        one,
        r#"(func (export "test:it/i#guest-test-x") unreachable)"#,
        short(),
        "{}",
        Err(Failure::Trap("wasm `unreachable` instruction executed".into())),
    );
    // A string that claims to be all of its memory and more, and one that is: neither is copied whole.
    check(
        "guest-test-x: func() -> string;",
        r#"(func (export "test:it/i#guest-test-x") (result i32)
            (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 0x7fffffff)) (i32.const 8))"#,
        short(),
        "{}",
        Err(Failure::Trap("string pointer/length out of bounds of memory".into())),
    );
    check(
        "guest-test-x: func() -> string;",
        r#"(func (export "test:it/i#guest-test-x") (result i32)
            (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 1000000)) (i32.const 8))"#,
        CallLimits { message: 1 << 16, cpu: Duration::from_secs(1), ..short() },
        "{}",
        Err(Failure::Passed),
    );
    check(
        "guest-test-x: func() -> string;",
        r#"(func (export "test:it/i#guest-test-x") (result i32)
            (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 100000)) (i32.const 8))"#,
        CallLimits { message: 1 << 16, cpu: Duration::from_secs(1), ..short() },
        "{}",
        Err(Failure::Result),
    );
    check(
        "guest-test-x: func() -> list<u8>;",
        r#"(func (export "test:it/i#guest-test-x") (result i32)
            (i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 1000000)) (i32.const 8))"#,
        CallLimits { message: 1 << 16, cpu: Duration::from_secs(1), ..short() },
        "{}",
        Err(Failure::Passed),
    );
}

/// Machine code is of the architecture's baseline, which on x86-64 has no instruction for much of this.
#[test]
fn simd_is_whole_at_the_baseline() {
    let a = "(v128.const i8x16 1 -2 3 -4 5 -6 7 -8 9 -10 100 -120 13 -14 127 -128)";
    let b = "(v128.const i8x16 7 0 31 4 15 2 250 8 11 6 1 9 3 100 5 13)";
    let f = "(v128.const f32x4 1.5 -2.5 3.49 -0.75)";
    let d = "(v128.const f64x2 -7.5 8.25)";
    let mut code = String::new();
    let mut mix = |op: &str, operands: &[&str]| {
        // The sum is turned each time, or equal results would cancel each other.
        let operands = operands.join(" ");
        code.push_str(&format!(
            "(local.set $sum (v128.xor (i8x16.shuffle 3 4 5 6 7 8 9 10 11 12 13 14 15 0 1 2 (local.get $sum) (local.get $sum)) ({op} {operands})))"
        ));
    };
    for (operands, ops) in [
        (
            &[a, b][..],
            "i8x16.swizzle i8x16.avgr_u i8x16.min_s i8x16.max_s i8x16.add_sat_s i8x16.narrow_i16x8_u \
             i16x8.q15mulr_sat_s i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_u i16x8.narrow_i32x4_u i16x8.min_u \
             i32x4.mul i32x4.dot_i16x8_s i32x4.min_u i32x4.max_s i32x4.extmul_low_i16x8_u \
             i64x2.mul i64x2.eq i64x2.gt_s i64x2.extmul_high_i32x4_s",
        ),
        (
            &[a],
            "i8x16.popcnt i8x16.abs i16x8.extadd_pairwise_i8x16_s i32x4.extadd_pairwise_i16x8_u i64x2.abs \
             i64x2.extend_low_i32x4_s",
        ),
        (
            &[f],
            "f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest i32x4.trunc_sat_f32x4_u f64x2.promote_low_f32x4",
        ),
        (&[d], "f64x2.ceil f64x2.floor f64x2.trunc f64x2.nearest i32x4.trunc_sat_f64x2_s_zero"),
    ] {
        for op in ops.split_whitespace() {
            mix(op, operands);
        }
    }
    mix("f32x4.pmin", &[f, "(f32x4.splat (f32.nearest (f32.const 2.5)))"]);
    mix("v128.bitselect", &[a, b, f]);
    let wat = format!(
        r#"(func (export "test:it/i#guest-test-x") (result i32) (local $sum v128) {code}
            (i32.xor (i32.xor (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
                (i32.xor (i32x4.extract_lane 2 (local.get $sum)) (i32.popcnt (i32x4.extract_lane 3 (local.get $sum))))))"#
    );
    check("guest-test-x: func() -> u32;", &wat, CallLimits::default(), "{}", Ok("2169627385"));
}
