//! The tests' components in JavaScript and Python, built by the tools that `tests/install-packages` puts below `target`.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A language that brings its engine into the component, which then imports what that needs of WASI.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    /// With QuickJS, by `componentize-qjs`.
    JavaScript,
    /// With CPython, by `componentize-py`.
    Python,
}

impl Language {
    /// The component's folder in `tests/components`, its world, and the folder of its tool in `target/tools`.
    fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript.js",
            Self::Python => "python.py",
        }
    }

    /// What builds it, in the folder of its tool.
    fn tool(self) -> &'static str {
        match self {
            Self::JavaScript => "node_modules/.bin/componentize-qjs",
            Self::Python => "bin/componentize-py",
        }
    }

    /// The words of its tool, in a folder with the source and its WIT, to make `out`.
    fn words(self, out: &Path) -> Vec<&OsStr> {
        let words: &[&str] = match self {
            Self::JavaScript => {
                &["--wit", "wit", "--world", "javascript", "--js", "javascript.js", "--sync", "--output"]
            }
            Self::Python => &["-d", "wit", "-w", "python", "componentize", "python", "--output"],
        };
        words.iter().map(OsStr::new).chain([out.as_os_str()]).collect()
    }
}

/// The component of this language, or what is missing to build it. A tool's result is kept until its source or the tool is another one:
/// Python's takes a quarter of a minute.
///
/// # Errors
/// The tool fails; what it said.
pub fn build(language: Language) -> Result<std::result::Result<Vec<u8>, String>> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let (name, source) = (language.name(), language.source());
    let project = checkout.join("tests/components").join(name);
    let place = checkout.join("target/tools").join(name);
    let tool = place.join(language.tool());
    let Ok(version) = fs::read(place.join("version")) else {
        return Ok(Err(format!("{} (tests/install-packages)", tool.display())));
    };

    let wit = PathBuf::from(format!("wit/{name}.wit"));
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for file in [Path::new(source), &wit] {
        let path = project.join(file);
        fs::read(&path).with_context(|| path.display().to_string())?.hash(&mut hasher);
    }
    let folder = checkout.join("target/components").join(name);
    let kept = folder.join(format!("{:016x}.wasm", hasher.finish()));
    if let Ok(component) = fs::read(&kept) {
        return Ok(Ok(component));
    }

    // In a copy, for Python leaves files beside its source.
    let copy = tempfile::tempdir()?;
    fs::create_dir(copy.path().join("wit"))?;
    for file in [Path::new(source), &wit] {
        fs::copy(project.join(file), copy.path().join(file))?;
    }
    let made = copy.path().join("made.wasm");
    let output = Command::new(&tool)
        .args(language.words(&made))
        .current_dir(copy.path())
        .output()
        .with_context(|| format!("start {}", tool.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {said}", tool.display(), output.status);
    let component = fs::read(&made)?;
    // Nobody needs the one before.
    let _ = fs::remove_dir_all(&folder);
    keep(&kept, &component)?;
    Ok(Ok(component))
}

/// Writes a file that is there as a whole or not at all, whoever else does so.
fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), bytes)?;
    file.persist(path)?;
    Ok(())
}
