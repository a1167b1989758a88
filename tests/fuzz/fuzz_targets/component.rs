//! Any bytes as a component, which the engine accepts or not, and as what a cache says of one: neither confuses what looks at it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use waga::extension::engine::{Kind, config};
use waga::extension::oracle;
use wasmtime::component::Component;
use wasmtime::{Engine, OptLevel};

fuzz_target!(|input: &[u8]| {
    oracle::description(input);
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let mut config = config(Kind::Pulley, 512 << 10).expect("the interpreter is in this build");
        Engine::new(config.cranelift_opt_level(OptLevel::None)).expect("an engine as the daemon has it")
    });
    // Bytes of a component, never a text, nor what was compiled.
    if let Ok(component) = Component::from_binary(engine, input) {
        oracle::component(&component);
    }
});
