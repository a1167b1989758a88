//! A page for people, followed as whoever reads it does: its files are written, its commands run, and what it shows is what they say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::docs::Block;

/// Whoever reads a page.
pub(crate) struct Reader {
    /// Where relative paths are, and commands run.
    folder: PathBuf,
    /// What a path of the page is here; the longer ones first.
    places: Vec<(&'static str, PathBuf)>,
    /// What stands in a file before what the page adds to it.
    begun: Vec<(PathBuf, String)>,
    env: Vec<(&'static str, OsString)>,
    /// What the last commands said.
    said: String,
}

/// What a block came to.
pub(crate) enum Done {
    Wrote(PathBuf),
    Ran,
    /// It was compared with what was said.
    Compared,
    /// It is neither a file nor a command.
    Nothing,
}

impl Reader {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            places: Vec::new(),
            begun: Vec::new(),
            env: Vec::new(),
            said: String::new(),
        }
    }

    /// A path of the page is another one here.
    pub(crate) fn place(mut self, on_page: &'static str, here: impl Into<PathBuf>) -> Self {
        self.places.push((on_page, here.into()));
        self.places.sort_by_key(|(on_page, _)| std::cmp::Reverse(on_page.len()));
        self
    }

    /// A file that has something already: what the page writes comes after it.
    pub(crate) fn begun(mut self, here: impl Into<PathBuf>, text: String) -> Self {
        self.begun.push((here.into(), text));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Does what the page says next.
    pub(crate) fn follow(&mut self, block: &Block) -> Done {
        if let Some(file) = &block.file {
            let file = self.folder.join(self.here(file));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let before = self.begun.iter().find(|(path, _)| *path == file).map_or("", |(_, text)| text);
            fs::write(&file, format!("{before}{}", self.here(&block.text))).unwrap();
            return Done::Wrote(file);
        }
        match &*block.language {
            "sh" => {
                let (succeeded, said, errors) = self.run(&format!("set -eu\n{}", block.text));
                assert!(succeeded, "{}: {errors}", block.place);
                self.said = said;
                Done::Ran
            }
            "console" => {
                self.console(block);
                Done::Ran
            }
            "" if block.follows => {
                // On a terminal it has more lines.
                let printed: Value = serde_json::from_str(self.said.lines().last().unwrap()).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&block.text).unwrap(), printed, "{}", block.place);
                Done::Compared
            }
            _ => Done::Nothing,
        }
    }

    /// Lines that begin with `$ ` or `# ` are typed, and each is followed by what is said then, whether it succeeds or not.
    fn console(&mut self, block: &Block) {
        let is_typed = |line: &&str| line.starts_with("$ ") || line.starts_with("# ");
        let mut lines = block.text.lines().peekable();
        assert!(lines.peek().is_some_and(is_typed), "{}: nothing is typed", block.place);
        while let Some(typed) = lines.next() {
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| !is_typed(line)) {
                expected.push(line);
            }
            let (_, said, errors) = self.run(&typed[2..]);
            self.said = self.on_page(&format!("{said}{errors}"));
            let said: Vec<&str> = self.said.lines().collect();
            let fits = fits(&expected, &said) || is_same_json(&expected, &said);
            assert!(fits, "{}: {typed}\n{}\nand not\n{}", block.place, self.said, expected.join("\n"));
        }
    }

    fn run(&self, commands: &str) -> (bool, String, String) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.here(commands)]).current_dir(&self.folder).envs(self.env.iter().cloned());
        let done = shell.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.success(), text(done.stdout), text(done.stderr))
    }

    fn here(&self, text: &str) -> String {
        let replace =
            |text: String, (on_page, here): &(&str, PathBuf)| text.replace(on_page, here.to_str().unwrap());
        self.places.iter().fold(text.to_owned(), replace)
    }

    fn on_page(&self, text: &str) -> String {
        let replace =
            |text: String, (on_page, here): &(&str, PathBuf)| text.replace(here.to_str().unwrap(), on_page);
        self.places.iter().fold(text.to_owned(), replace)
    }
}

/// Whether lines are as a page shows them: `…` stands for any text, and alone on a line for any lines.
fn fits(expected: &[&str], said: &[&str]) -> bool {
    match expected {
        [] => said.is_empty(),
        ["…", rest @ ..] => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        [line, rest @ ..] => {
            said.first().is_some_and(|is| fits_line(line, is.trim_end())) && fits(rest, &said[1..])
        }
    }
}

fn fits_line(expected: &str, said: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == said };
    let Some(said) = said.strip_prefix(start) else { return false };
    let mut ends = said.char_indices().map(|(at, _)| at).chain([said.len()]);
    ends.any(|at| fits_line(rest, &said[at..]))
}

/// On a terminal it has more lines.
fn is_same_json(expected: &[&str], said: &[&str]) -> bool {
    let value = |lines: &[&str]| serde_json::from_str::<Value>(&lines.join("\n")).ok();
    value(expected).is_some_and(|expected| value(said) == Some(expected))
}

#[test]
fn what_is_shown_is_held_against_what_is_said() {
    for (expected, said, fit) in [
        ("a", "a", true),
        ("a", "a\nb", false),
        ("a\n…", "a\nb\nc", true),
        ("…\nb", "a\nb\nc", false),
        ("…\nb\n…", "a\nb\nc", true),
        ("x … z…", "x y z", true),
        ("x … z", "x y", false),
        ("", "a", false),
    ] {
        let [expected_lines, said_lines] = [expected, said].map(|text| text.lines().collect::<Vec<_>>());
        assert_eq!(fits(&expected_lines, &said_lines), fit, "{expected:?} {said:?}");
    }
    assert!(is_same_json(&["{", "\"a\": 1}"], &["{\"a\":1}"]) && !is_same_json(&["1"], &["2"]));
}
