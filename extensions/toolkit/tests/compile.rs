//! `waga-ext compile` as the daemon runs it: what comes out, what is refused and with which exit code, and what the compiler may do.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasm_encoder::{
    CodeSection, Component, Function, FunctionSection, Module, ModuleSection, TypeSection, ValType,
};

fn start(words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_waga-ext"))
        .arg("compile")
        .args(words)
        .env("SECRET", "of the agent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn compile(module: &[u8], words: &[&str]) -> Output {
    let mut child = start(words);
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // It may stop reading, which is what some tests are about.
        scope.spawn(move || drop(stdin.write_all(module)));
        child.wait_with_output().unwrap()
    })
}

/// The artifact and the description.
fn product(output: &Output) -> (Vec<u8>, Value) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let end = output.stdout.iter().position(|byte| *byte == b'\n').unwrap();
    let line: Value = serde_json::from_slice(&output.stdout[..end]).unwrap();
    let size = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap();
    let rest = &output.stdout[end + 1..];
    assert_eq!(rest.len(), size("artifact") + size("description"));
    let (artifact, description) = rest.split_at(size("artifact"));
    (artifact.to_vec(), serde_json::from_slice(description).unwrap())
}

/// Nothing but one line, and this exit code.
fn refused(output: &Output, code: i32, text: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(text), "{errors} does not say {text}");
    assert!(output.stdout.is_empty());
}

/// A component with a command that takes and gives a number.
fn component() -> Vec<u8> {
    let text = r#"(component
        (core module $m (func (export "f") (param i32) (result i32) local.get 0))
        (core instance $i (instantiate $m))
        (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
        (instance $e (export "guest-a-same" (func $f)))
        (export "a:a/i@0.1.0" (instance $e)))"#;
    wat::parse_str(text).unwrap()
}

/// A component with functions of so many multiplications each.
fn large(functions: u32, count: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..functions {
        declared.function(0);
        let mut body = Function::new([]);
        body.instructions().local_get(0);
        for _ in 0..count {
            body.instructions().local_get(0).i32_mul();
        }
        body.instructions().end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

#[test]
fn a_component_is_compiled_and_described_for_both_runtimes() {
    for runtime in ["native", "pulley"] {
        let (artifact, description) = product(&compile(&component(), &["--runtime", runtime]));
        let command = &description["commands"][0];
        assert_eq!(command["name"], "guest-a-same");
        let kind = json!({ "typed": {
            "interface": "a:a/i@0.1.0", "params": [["n", "u32"]], "result": "u32", "error": null } });
        assert_eq!(command["kind"], kind);
        assert_eq!(command["schema"]["arguments"]["required"], json!(["n"]));
        assert_eq!(description["imports"], json!([]));
        assert!(wasmtime::Engine::detect_precompiled(&artifact).is_some());
        // And is not taken for a module.
        refused(&compile(&artifact, &["--runtime", runtime]), 2, "was compiled already");
    }
}

/// What processor features an artifact was compiled for, each with whether it is used: the engine writes them into it, and before it maps
/// one asks the processor for those that are.
fn features(artifact: &[u8]) -> Vec<(&str, bool)> {
    let starts = artifact.windows(4).enumerate().filter(|(_, bytes)| bytes == b"has_").map(|(at, _)| at);
    let found = starts.filter_map(|at| {
        // A length, the name, the kind of value (2: yes or no), the value.
        let end = at + usize::from(*artifact.get(at.checked_sub(1)?)?);
        let name = std::str::from_utf8(artifact.get(at..end)?).ok()?;
        let [2, value] = *artifact.get(end..end + 2)? else { return None };
        Some((name, value != 0))
    });
    found.collect()
}

/// A cache is filled on one machine and read on others.
#[cfg(target_arch = "x86_64")]
#[test]
fn machine_code_is_for_every_processor_of_the_architecture() {
    let text = r#"(component
        (core module $m (func (export "f") (param i32) (result i32)
            (i32x4.extract_lane 0 (i8x16.swizzle (i32x4.mul (i32x4.splat (local.get 0)) (i32x4.splat (local.get 0))) (v128.const i64x2 1 2)))))
        (core instance $i (instantiate $m))
        (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
        (instance $e (export "guest-a-same" (func $f)))
        (export "a:a/i@0.1.0" (instance $e)))"#;
    let (artifact, _) = product(&compile(&wat::parse_str(text).unwrap(), &["--runtime", "native"]));
    let features = features(&artifact);
    assert!(features.iter().any(|(name, _)| *name == "has_avx2") && features.len() > 10, "{features:?}");
    assert!(features.iter().all(|(_, used)| !used), "{features:?}");
}

#[test]
fn what_is_no_component_is_refused_for_good() {
    let whole = component();
    let broken = &whole[..whole.len() / 2];
    let core = wat::parse_str("(module)").unwrap();
    for (module, text) in [
        (&b"hello"[..], "no WebAssembly component"),
        (b"", "no WebAssembly component"),
        (broken, "cannot be compiled"),
        (&core, "is a core module"),
    ] {
        refused(&compile(module, &["--runtime", "native"]), 2, text);
    }
}

#[test]
fn limits_end_it_with_the_key_to_change() {
    let module = large(8, 500_000);
    let one = |words: &[&str]| compile(&module, &[&["--runtime", "native"][..], words].concat());
    refused(&one(&["--module-size", "1000"]), 3, "more than 1000 bytes: [extensions] module-size");
    refused(&one(&["--memory", "50000000"]), 3, "50000000 bytes of memory: [extensions] compile.memory");
    refused(&one(&["--time", "1"]), 3, "1 s of CPU time: [extensions] compile.time");
}

/// Whether it has the two lists of calls that are refused, beside what this process has: a container may bring one along.
fn has_filters(status: &str) -> bool {
    let filters = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.map_or(0, |number| number.trim().parse::<u32>().unwrap())
    };
    filters(status) == filters(&fs::read_to_string("/proc/self/status").unwrap()) + 2
}

/// A child of a process, once there is one and it satisfies `ready`.
fn child_of(parent: u32, ready: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let child = children.split_whitespace().next().map(str::to_owned);
        let is_ready = |pid: &String| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| ready(&status))
        };
        match child.filter(is_ready) {
            Some(child) => return child,
            None => assert!(Instant::now() < end, "no such child"),
        }
        thread::yield_now();
    }
}

/// It waits for its module on standard input, so it can be looked at.
#[test]
fn the_compiler_can_do_nothing_but_compute() {
    let mut parent = start(&["--runtime", "native", "--memory", "500000000", "--time", "9"]);
    let pid = child_of(parent.id(), has_filters);
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let status = read("status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let nice = |stat: &str| -> i32 {
        stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
    };
    // Whoever runs the tests may be nice, too.
    let ours = nice(&fs::read_to_string("/proc/self/stat").unwrap());
    assert_eq!(nice(&read("stat").unwrap()), (ours + 10).min(19));
    // Who may not look at what others may not dump: only root sees the rest.
    if nix::unistd::Uid::effective().is_root() {
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "CapEff:\t0000000000000000",
        ] {
            assert!(status.lines().any(|it| it == line), "{line} is not in {status}");
        }
        assert!(status.lines().any(|it| it.trim_end() == "Groups:"), "{status}");
        let limits = read("limits").unwrap();
        for (name, soft) in [
            ("Max cpu time", "9"),
            ("Max address space", "500000000"),
            ("Max file size", "33554432"),
            ("Max core file size", "0"),
            ("Max open files", "16"),
        ] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line[name.len()..].split_whitespace().next(), Some(soft), "{line}");
        }
        assert_eq!(read("environ").unwrap(), "");
    }
    // It ends with whoever started it.
    parent.kill().unwrap();
    parent.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "it lives on");
        thread::yield_now();
    }
    let mut left = Vec::new();
    parent.stdout.take().unwrap().read_to_end(&mut left).unwrap();
    assert!(left.is_empty());
}

/// Who tries a component that may be anybody's has it compiled and looked at no other way, but by their own identity if need be.
#[test]
fn call_and_inspect_confine_what_reads_a_component() {
    let is_root = nix::unistd::Uid::effective().is_root();
    let confined = |status: &str| {
        let identity = !is_root || status.contains("Uid:\t65534\t65534\t65534\t65534");
        identity && status.contains("NoNewPrivs:\t1") && has_filters(status)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.wasm");
    fs::write(&file, large(8, 500_000)).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waga-ext"));
        command.arg(words[0]).arg(&file).args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap()
    };
    // It takes seconds to compile.
    let mut call = run(&["call", "guest-a-x"]);
    child_of(call.id(), confined);
    call.kill().unwrap();
    call.wait().unwrap();

    // What it prints is more than a pipe holds: it waits for its reader.
    let name = |number: usize| format!("guest-test-{}{number}", "a".repeat(40));
    let exports: String =
        (0..2000).map(|number| format!("(export \"{}\" (func $f))", name(number))).collect();
    let text = format!(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (instance $e {exports}) (export "a:a/i@0.1.0" (instance $e)))"#
    );
    fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let mut inspect = run(&["inspect"]);
    let end = Instant::now() + Duration::from_secs(30);
    let status = format!("/proc/{}/status", inspect.id());
    while !fs::read_to_string(&status).is_ok_and(|status| confined(&status)) {
        assert!(Instant::now() < end, "{}", fs::read_to_string(&status).unwrap());
        thread::yield_now();
    }
    let mut printed = String::new();
    inspect.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(inspect.wait().unwrap().success());
    assert!(printed.contains(&name(1999)));
}
