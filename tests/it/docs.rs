//! What the documentation shows: links lead somewhere, configurations are read by the agent, and code is what the examples have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use waga_tests::agent::Program;

use crate::program;

/// A block of code.
#[derive(Debug)]
pub(crate) struct Block {
    /// `PATH` of the line before it that reads `` `PATH`: ``; a file that the reader is to write.
    pub(crate) file: Option<String>,
    pub(crate) language: String,
    pub(crate) text: String,
    /// Whether nothing but an empty line is between it and the block before.
    pub(crate) follows: bool,
    /// Where it begins, for whoever reads of a failure.
    pub(crate) place: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The pages for people: those of the root, of `docs`, of the packs and of the examples.
fn pages() -> Vec<PathBuf> {
    let of = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let projects = ["examples", "extensions"].map(|folder| of(root().join(folder)));
    let projects = projects
        .into_iter()
        .flatten()
        .flat_map(|path| if path.is_dir() { of(path).collect() } else { vec![path] });
    let all = of(root()).chain(of(root().join("docs"))).chain(projects);
    let mut pages: Vec<_> = all.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    pages.sort();
    assert!(pages.len() > 12, "{pages:?}");
    pages
}

/// The blocks of code of a page, in order.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let (text, mut blocks) = (fs::read_to_string(page).unwrap(), Vec::<Block>::new());
    let (mut open, mut before, mut follows) = (None::<Block>, "", false);
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (Some(block), None) => block.text += &format!("{line}\n"),
            (Some(_), Some(_)) => {
                blocks.extend(open.take());
                follows = true;
            }
            (None, Some(language)) => {
                let file = before.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:"));
                open = Some(Block {
                    file: file.map(str::to_owned),
                    language: language.to_owned(),
                    text: String::new(),
                    follows,
                    place: format!("{}:{number}", page.display()),
                });
            }
            (None, None) => follows &= line.is_empty(),
        }
        before = line;
    }
    assert!(open.is_none(), "{}: a block does not end", page.display());
    blocks
}

/// The name by which a heading can be linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let heading = |line: &str| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    text.lines().filter_map(heading).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (path, place) =
                link.split_once('#').map_or((link, None), |(path, place)| (path, Some(place)));
            let target = if path.is_empty() { page.clone() } else { page.with_file_name("").join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if let Some(place) = place {
                assert!(anchors(&target).iter().any(|it| it == place), "{}: no {link}", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 60, "{followed}");
}

/// Parts of a table are no configuration: what is shown can be copied as it is.
#[test]
fn every_configuration_is_one() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let mut tried = 0;
    for block in pages().iter().flat_map(|page| blocks(page)).filter(|it| it.language == "toml") {
        if block.file.is_some() || block.text.starts_with("[package") {
            continue;
        }
        fs::write(&file, &block.text).unwrap();
        let checked = Command::new(program.path()).arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {said}\n{}", block.place, block.text);
        tried += 1;
    }
    assert!(tried > 12, "{tried}");
}

/// What is quoted is what is built: a block that is no file of the reader's stands in an example or a pack, line for line.
#[test]
fn code_that_is_quoted_is_an_examples() {
    let projects = ["examples", "extensions"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let projects = projects.into_iter().flatten().map(|entry| entry.unwrap().path());
    let folders = projects.flat_map(|example| ["", "src", "wit"].map(|folder| example.join(folder)));
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let texts: Vec<String> = files.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let mut found = 0;
    // What stands on the reference is our own WIT, as `reference` sees to.
    let pages = pages().into_iter().filter(|page| !page.ends_with("docs/wit-reference.md"));
    for block in pages.flat_map(|page| blocks(&page)) {
        if !matches!(&*block.language, "rust" | "wit" | "c") || block.file.is_some() {
            continue;
        }
        assert!(texts.iter().any(|text| text.contains(&block.text)), "{}: in no example", block.place);
        found += 1;
    }
    assert!(found > 2, "{found}");
}
