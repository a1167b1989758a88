//! Answers of a compiler, right and wrong, in pieces of any size.

use std::io::Read;
use std::os::fd::AsRawFd;

use super::*;

const DESCRIPTION: &str = r#"{"format":2,"commands":[],"imports":[],"memory":0}"#;

fn answer(artifact: &[u8], description: &str) -> Vec<u8> {
    let line = format!("{{\"artifact\": {}, \"description\": {}}}\n", artifact.len(), description.len());
    [line.as_bytes(), artifact, description.as_bytes()].concat()
}

fn take(answer: &[u8], piece: usize) -> Result<Compiled, String> {
    let mut intake = Intake::new(1 << 20).unwrap();
    for piece in answer.chunks(piece) {
        intake.write_all(piece).map_err(|error| error.to_string())?;
    }
    intake.finish()
}

#[test]
fn an_answer_is_taken_in_whatever_pieces_it_comes() {
    let artifact: Vec<u8> = (0..1000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for piece in [1, 7, 64, 100_000] {
        let compiled = take(&answer(&artifact, DESCRIPTION), piece).unwrap();
        let Artifact { file, digest, size } = compiled.artifact;
        let mut hasher = Hasher::default();
        hasher.update(&artifact);
        assert_eq!((digest, size), (hasher.finish(), 1000));
        let mut again = Vec::new();
        let mut reopened = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        reopened.read_to_end(&mut again).unwrap();
        assert_eq!(again, artifact);
        // Nobody changes it any more, not even we.
        assert!((&file).write_all(b"x").is_err() && file.set_len(0).is_err());
    }
    assert_eq!(take(&answer(b"", DESCRIPTION), 3).unwrap().artifact.size, 0);
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let right = answer(b"artifact", DESCRIPTION);
    for end in 0..right.len() {
        assert_eq!(take(&right[..end], 16).unwrap_err(), "the compiler's answer ends early", "{end}");
    }
    assert_eq!(
        take(&[&right[..], b"x"].concat(), 16).unwrap_err(),
        "the compiler said more than it announced"
    );
    for text in [
        "\n",
        "{}\n",
        "[1]\n",
        "{\"artifact\": 1}\n",
        "{\"artifact\": -1, \"description\": 1}\n",
        "{\"artifact\": 1, \"description\": 1, \"more\": 1}\n",
        &"{".repeat(10_000),
        "\u{0}\u{1}\n",
    ] {
        for piece in [1, 1000] {
            let error = take(text.as_bytes(), piece).unwrap_err();
            assert_eq!(error, "the compiler's answer does not begin with its sizes", "{text}");
        }
    }
    for (line, expected) in [
        (
            "{\"artifact\": 1048577, \"description\": 1}\n",
            "an artifact of 1048577 bytes: 1048576 are the most",
        ),
        (
            "{\"artifact\": 18446744073709551615, \"description\": 1}\n",
            "an artifact of 18446744073709551615 bytes",
        ),
        (
            "{\"artifact\": 1, \"description\": 8388609}\n",
            "a description of 8388609 bytes: 8388608 are the most",
        ),
    ] {
        assert!(take(line.as_bytes(), 16).unwrap_err().contains(expected));
    }
}

#[test]
fn a_description_that_is_none_is_refused() {
    for text in [
        "",
        "[]",
        "{}",
        "x",
        &DESCRIPTION[1..],
        &DESCRIPTION.replace("memory", "memori"),
        &"[".repeat(100_000),
    ] {
        let error = take(&answer(b"a", text), 1000).unwrap_err();
        assert!(error.starts_with("the compiler's description cannot be read: "), "{error}");
    }
    let error = take(&answer(b"a", &DESCRIPTION.replace(":2,", ":3,")), 1000).unwrap_err();
    assert_eq!(error, "the compiler's description is of format 3, not 2: is waga-ext of another version?");
}
