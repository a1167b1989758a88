//! `waga-ext new`: a project that builds, is called and tested as it is.
//!
//! What is written stands in `new/templates`, with the extension's name in its different spellings as the only thing to fill in. What it
//! may import of the agent is the text that this tool carries, so it is of this version.

mod name;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use name::Name;

/// Begins an extension: a folder NAME with one command, guest-NAME.
///
/// It builds as it is, and the program `test` in it builds, calls and compares.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What it is called, and its command after guest-; e.g. acme-disks.
    name: String,
    /// The language: rust, js, py, c, or script.
    ///
    /// A script is run as it is; the others become components.
    #[arg(short, long, value_enum, hide_possible_values = true)]
    lang: Language,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Js,
    Py,
    C,
    Script,
}

/// A file of a project: its name, its text, and whether it is a program.
type File = (&'static str, &'static str, bool);

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("new/templates/", $name))
    };
}

/// What all components begin with.
const COMPONENT: [File; 4] = [
    ("README.md", template!("all/README.md"), false),
    ("wit/@name@.wit", template!("all/extension.wit"), false),
    ("pack.toml", template!("all/pack.toml"), false),
    ("test", template!("all/test"), true),
];

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Py => "Python",
            Self::Js | Self::Script => "JavaScript",
        }
    }

    /// The files of a project in this language.
    fn files(self) -> Vec<File> {
        let own: &[File] = match self {
            Self::Rust => &[
                ("Cargo.toml", template!("rust/Cargo.toml"), false),
                ("src/lib.rs", template!("rust/src/lib.rs"), false),
            ],
            Self::C => &[("@name_@.c", template!("c/extension.c"), false)],
            Self::Js => &[("@name@.js", template!("javascript/extension.js"), false)],
            Self::Py => &[("@name_@.py", template!("python/extension.py"), false)],
            Self::Script => {
                return vec![
                    ("README.md", template!("script/README.md"), false),
                    ("test", template!("script/test"), true),
                    ("@name@.js", template!("script/script.js"), false),
                ];
            }
        };
        COMPONENT.iter().chain(own).copied().collect()
    }
}

/// Writes the project; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (name, language) = (Name::new(&options.name)?, options.lang);
    let folder = Path::new(name.kebab());
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => bail!("{} is there already, and not empty: say another name", folder.display()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot make {}", folder.display()));
        }
        Ok(false) | Err(_) => {}
    }
    let fill = |text: &str| name.fill(text).replace("@language@", language.name());
    for (file, text, is_program) in language.files() {
        write(&folder.join(fill(file)), &fill(text), is_program)?;
    }
    if language != Language::Script {
        for (file, text) in waga_wit::EXTENSION {
            write(&folder.join("wit/deps/waga-extension").join(file), text, false)?;
        }
    }
    if language == Language::Rust {
        // The crates that this was tried with.
        write(&folder.join("Cargo.lock"), &lock(&name), false)?;
    }
    let (folder, command, language) = (folder.display(), name.kebab(), language.name());
    Ok(format!("{folder}: guest-{command} in {language}; try it: {folder}/test\n"))
}

/// The versions of an example that needs the same crates.
fn lock(name: &Name) -> String {
    let lock = include_str!("../../../examples/report/Cargo.lock");
    lock.replace("name = \"report\"", &format!("name = \"{}\"", name.kebab()))
}

/// Writes a file, and the folders that it is in; one that is there stays as it is.
fn write(path: &Path, text: &str, is_program: bool) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    let mode = if is_program { 0o777 } else { 0o666 };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}
