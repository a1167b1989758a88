//! The subscriber as a whole: which events, and how they look.

use super::*;

fn in_file(most: Level, work: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let files: &'static Writer = Box::leak(Box::new(Writer::new()));
    let log = Log { output: Output::file(&path, Kind::Log, files).unwrap(), most };
    tracing::subscriber::with_default(log, work);
    files.flush(writer::LAST);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_line_says_when_how_bad_and_what_and_stays_one_line() {
    let text = in_file(Level::INFO, || {
        tracing::info!(path = "a\nb", error = %"c\nd", "opened");
        tracing::debug!("not told");
        tracing::error!(target: "elsewhere", "not ours");
    });
    let (time, rest) = text.split_once(": ").unwrap();
    assert!(time.parse::<f64>().unwrap() > 1e9);
    assert_eq!(rest, "info: opened path=\"a\\nb\" error=c\\nd\n");
}

#[test]
fn warnings_are_for_the_verbose_as_with_qemu_ga() {
    let text = in_file(Level::ERROR, || {
        tracing::warn!("not told");
        tracing::error!("told");
        tracing::info!(target: LIFE, "told too");
    });
    let told: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).map(|(_, rest)| rest).collect();
    assert_eq!(told, ["error: told", "info: told too"]);
}

#[test]
fn a_line_is_cut_below_what_a_pipe_takes_whole() {
    let text = in_file(Level::INFO, || tracing::info!(path = "é".repeat(9000), "opened"));
    assert!(text.len() <= 4096 && text.ends_with("é…\n"), "{} bytes", text.len());
}

#[test]
fn holding_and_reopening_have_their_names() {
    // The static ones: nothing is written in this test, so nothing but their being there is seen.
    assert!(hold(true) && hold(false));
    reopen();
    end();
}

#[test]
fn a_panic_is_told_without_the_values_in_it() {
    fn told(work: impl FnOnce() + std::panic::UnwindSafe) -> &'static str {
        harmless(&*std::panic::catch_unwind(work).unwrap_err())
    }
    assert_eq!(told(|| panic!("plain")), "plain");
    let secret = String::from("secrét");
    let cut = secret.clone();
    for text in [told(|| panic!("{secret}")), told(move || drop(cut[..5].to_owned()))] {
        assert!(text.starts_with("(not told"), "{text}");
    }
}
