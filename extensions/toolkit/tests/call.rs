//! `waga-ext call`: results, errors and what stops a component, without a daemon.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]

use std::path::Path;
use std::process::{Command, Output};

fn waga_ext(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waga-ext")).args(words).output().unwrap()
}

/// The examples, built once for all calls here.
fn build(name: &str, folder: &Path) -> String {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples").join("cache");
    let file = folder.join(format!("{name}.wasm")).to_str().unwrap().to_owned();
    let output =
        waga_ext(&["build", project.to_str().unwrap(), "-o", &file, "--cache", cache.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

fn check(words: &[&str], expected: Result<&str, &str>) {
    let output = waga_ext(&[&["call"], words].concat());
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match expected {
        Ok(text) => assert_eq!((out.trim(), output.status.code()), (text, Some(0)), "{words:?}: {errors}"),
        Err(text) => {
            assert_eq!((&*out, output.status.code()), ("", Some(1)), "{words:?}: {errors}");
            assert!(errors.contains(text), "{words:?}: {errors}");
        }
    }
}

#[test]
fn the_examples_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (sums, greets) = (build("checksum", folder.path()), build("greeting", folder.path()));
    let (sum, verify, greet) = ("guest-acme-checksum", "guest-acme-verify-checksum", "guest-acme-greet");
    let hello = r#"{"algorithm":"crc32","length":5,"hex":"3610a686"}"#;
    for runtime in ["native", "pulley"] {
        let call = |words: &[&str], expected| check(&[&["--runtime", runtime], words].concat(), expected);
        call(&[&sums, sum, "data=aGVsbG8=", "algorithm=crc32"], Ok(hello));
        let expected = format!("expected={hello}");
        call(&[&sums, verify, "data=aGVsbG8=", &expected], Ok("{}"));
        call(&[&sums, verify, "data=", &expected], Err("there are 0 bytes of data, not 5"));
        call(&[&greets, greet, "name=Ada"], Ok(r#""Hello, Ada!""#));
        let polite = ["--config", r#"{"greeting":"Good morning"}"#];
        call(
            &[&polite[..], &[&greets, greet, "name=Ada", "manner=formal"]].concat(),
            Ok(r#""Good morning, Ada.""#),
        );
        call(&[&greets, greet, "name="], Err("a name has 1 to 100 bytes"));
    }
    check(&[&sums, sum, "data=aGVsbG8=", "algorithm=md5"], Err("algorithm"));
    for (words, expected) in [
        (&["guest-acme-checksums"][..], "no command guest-acme-checksums; did you mean guest-acme-checksum?"),
        (&["zebra"], "no command zebra; the component has: guest-acme-checksum, guest-acme-verify-checksum"),
        (&[sum, "dat=aGVsbG8="], "guest-acme-checksum has no argument 'dat'; did you mean 'data'?"),
        (
            &[sum, "data=aGVsbG8=", "x=1"],
            "guest-acme-checksum has no argument 'x'; it takes: data, algorithm",
        ),
        (&[sum], "Parameter 'data' is missing"),
    ] {
        check(&[&[&*sums], words].concat(), Err(expected));
    }
    check(&[&sums, sum, "data"], Err("'data' is no argument"));
    check(&[&greets, greet, "--config", "[1]"], Err("is no JSON object"));

    let output = waga_ext(&["call", "-v", &greets, greet, "name=Ada"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("compiled as native in") && errors.contains("CPU time"), "{errors}");
}

#[test]
fn what_runs_away_is_stopped_and_what_asks_for_more_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let endless = write(
        "endless.wasm",
        r#"(component (core module $m (func (export "f") (loop br 0))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $e (export "guest-a-spin" (func $f))) (export "a:a/i@0.1.0" (instance $e)))"#,
    );
    check(&[&endless, "guest-a-spin"], Err("used up the CPU time of a call (limits.cpu = \"100ms\")"));
    let asking = write(
        "asking.wasm",
        r#"(component (import "waga:guest/guest-get-load@1.0.0" (instance (export "guest-get-load" (func)))))"#,
    );
    check(&[&asking, "guest-a-x"], Err("only agent.toml grants: commands = [\"guest-get-load\"]"));
}
