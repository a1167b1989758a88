//! `docs/wit-reference.md`: every interface of ours for people, made of `wit/` and of what the agent grants. It is made here, where the
//! parser is, and not in the daemon. `UPDATE_EXPECT=1 cargo test -p waga-tests --test it reference` makes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use waga::extension::{Standing, standing};
use waga_wit::{EXCEPTIONS, EXTENSION, File, GUEST, Wire};
use wit_component::WitPrinter;
use wit_parser::{Interface, PackageId, Resolve, TypeDefKind, TypeOwner};

use crate::docs::{blocks, root};
use crate::program;

const PAGE: &str = "docs/wit-reference.md";

const INTRODUCTION: &str = "\
# WIT reference

What an extension may import and export: the packages `waga:extension` and `waga:guest`, interface by interface, with the key of
`agent.toml` that an import needs. [Write an extension](write-an-extension.md) says how they are used, [Operate
extensions](operate-extensions.md#grant) what a grant is. This page is made of [wit](../wit) by a test (`tests/it/reference.rs`): change
the files there.

* An interface is imported by its name with the version, as `waga:guest/guest-get-osinfo@1.0.0`. Copy what you import from
  [wit](../wit) into `wit/deps`, a folder for each package.
* What a component imports is what its operator is asked for. An import without its grant is refused when the component is loaded, with the
  line to add. All lines belong into the extension's own table:

```toml
[extension.acme]
module = \"/usr/lib/waga/acme.wasm\"
commands = [\"guest-get-osinfo\", \"guest-get-load\"]   # imports of waga:guest, and what waga:extension/call may call
exec = [{ program = \"/usr/bin/uptime\" }]            # waga:extension/exec
```

* An extension that overrides or wraps a command exports that command's interface of `waga:guest`; for that no grant is needed but the key
  `override` or `wrap`.
* What JSON a client sends and gets for these types, `waga call --help COMMAND` and `waga schema` tell.
";

/// What an operator has to write for an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grant {
    /// Nothing: any extension may import it.
    Free,
    /// A line of the extension's table, for its import.
    Import(String),
    /// A line of the extension's table, or none, for its export.
    Export(Option<&'static str>),
    /// There is no such line.
    Never,
    /// It has no function, only types.
    Types,
}

impl Grant {
    /// As the agent itself has it for imports.
    fn of(package: &str, interface: &str) -> Self {
        match (package, interface) {
            (_, "types") => Self::Types,
            ("extension", "handler") => Self::Export(None),
            ("extension", "freeze-hooks") => Self::Export(Some("freeze-hooks = true")),
            _ => match standing(&format!("waga:{package}/{interface}@1.0.0")) {
                Standing::Free => Self::Free,
                Standing::Granted(line) => Self::Import(line),
                Standing::Forbidden(_) => Self::Never,
                Standing::Unknown => panic!("the agent has no waga:{package}/{interface}"),
            },
        }
    }

    /// As a paragraph.
    fn told(&self) -> String {
        match self {
            Self::Free => "Import: always given.".to_owned(),
            Self::Import(line) => match line.split_once(", ") {
                Some((line, with)) => format!("Import: needs `{line}`, {with}."),
                None => format!("Import: needs `{line}`."),
            },
            Self::Export(None) => "Export: needs no grant.".to_owned(),
            Self::Export(Some(line)) => {
                is_taken(line);
                format!("Export: takes effect with `{line}`.")
            }
            Self::Never => "Import: granted to nobody; it is a command for clients.".to_owned(),
            Self::Types => "Types alone: importing them asks for nothing.".to_owned(),
        }
    }

    /// For the contents.
    fn mark(&self) -> &'static str {
        match self {
            Self::Free => "always given",
            Self::Import(line) if line.starts_with("exec") => "`exec`",
            Self::Import(_) => "`commands`",
            Self::Export(None) => "export",
            Self::Export(Some(_)) => "export, `freeze-hooks`",
            Self::Never => "–",
            Self::Types => "types",
        }
    }
}

/// The agent takes this line.
fn is_taken(line: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, format!("[extension.x]\nmodule = '/x.wasm'\n{line}\n")).unwrap();
    let checked = program().run(["check".as_ref(), "-c".as_ref(), file.as_os_str()]);
    assert!(checked.status.success(), "{checked:?}");
}

/// A package as it is parsed, and its files.
struct Package {
    name: &'static str,
    files: &'static [File],
    resolve: Resolve,
    id: PackageId,
}

impl Package {
    fn new(name: &'static str, files: &'static [File]) -> Self {
        let mut resolve = Resolve::default();
        let id = waga_wit::schema::parse(&mut resolve, files).unwrap();
        Self { name, files, resolve, id }
    }

    /// The interfaces of a file, in its order, by their names.
    fn of_file(&self, text: &str) -> Vec<(&str, &Interface)> {
        let names = text.lines().filter_map(|line| line.strip_prefix("interface ")?.strip_suffix(" {"));
        let known = &self.resolve.packages[self.id].interfaces;
        let found =
            names.map(|name| known.get_key_value(name).unwrap_or_else(|| panic!("{name} is not parsed")));
        found.map(|(name, id)| (name.as_str(), &self.resolve.interfaces[*id])).collect()
    }

    fn heading(&self, interface: &str) -> String {
        match (self.name, interface) {
            ("guest", command) if command != "types" => command.to_owned(),
            (package, interface) => format!("waga:{package}/{interface}"),
        }
    }

    fn link(&self, interface: &str) -> String {
        let heading = self.heading(interface);
        format!("[{interface}](#{})", heading.replace([':', '/'], ""))
    }

    fn docs(&self) -> &str {
        self.resolve.packages[self.id].docs.contents.as_deref().unwrap()
    }

    /// The section of an interface.
    fn section(&self, level: &str, text: &str, name: &str, interface: &Interface, page: &mut String) {
        let docs = interface.docs.contents.as_deref().unwrap_or_else(|| panic!("{name} says nothing"));
        let grant = Grant::of(self.name, name);
        write!(page, "\n{level} {}\n\n{}\n\n{}", self.heading(name), docs.trim(), grant.told()).unwrap();
        let used: Vec<&str> = (interface.types.iter())
            .filter(|(_, id)| matches!(self.resolve.types[**id].kind, TypeDefKind::Type(ty) if self.is_elsewhere(ty)))
            .map(|(name, _)| name.as_str())
            .collect();
        if !used.is_empty() {
            let names: Vec<_> = used.iter().map(|name| format!("`{name}`")).collect();
            write!(page, " From {}: {}.", self.link("types"), names.join(", ")).unwrap();
        }
        for exception in EXCEPTIONS.iter().filter(|exception| exception.command == name) {
            let member = exception.member.trim_start_matches("[].");
            match exception.wire {
                Wire::Called(called) => write!(page, " A client sees `{member}` as `{called}`."),
                Wire::AlsoTakes(texts) => {
                    write!(page, " A client may also send `{}` as `{member}`.", texts.join("`, `"))
                }
                Wire::AnyObject => write!(page, " A client gets `{member}` as an object."),
            }
            .unwrap();
        }
        write!(page, "\n\n```wit\n{}```\n", source(text, name)).unwrap();
    }

    /// Whether a type's name stands for one of another interface.
    fn is_elsewhere(&self, ty: wit_parser::Type) -> bool {
        let wit_parser::Type::Id(id) = ty else { return false };
        let TypeOwner::Interface(owner) = self.resolve.types[id].owner else { return false };
        self.resolve.interfaces[owner].name.as_deref() == Some("types")
            && self.resolve.types[id].name.is_some()
    }
}

/// An interface as it stands in its file, without what is said of it as a whole.
fn source<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(&format!("\ninterface {name} {{\n")).unwrap() + 1;
    let end = start + text[start..].find("\n}\n").unwrap() + 3;
    &text[start..end]
}

fn packages() -> [Package; 2] {
    [Package::new("extension", EXTENSION), Package::new("guest", GUEST)]
}

/// The whole page.
fn page() -> String {
    let [extension, guest] = packages();
    let family = |name: &str| name.trim_end_matches(".wit").to_owned();
    let mut page = INTRODUCTION.to_owned();
    page += "\n## Contents\n\n[waga:extension](#wagaextension):\n\n| interface | needs |\n|---|---|\n";
    for (name, _) in extension.files.iter().flat_map(|(_, text)| extension.of_file(text)) {
        writeln!(page, "| {} | {} |", extension.link(name), Grant::of("extension", name).mark()).unwrap();
    }
    page += "\n[waga:guest](#wagaguest), by family. A **bold** one can be granted:\n\n| family | commands |\n|---|---|\n";
    for (file, text) in guest.files {
        let link = |(name, _): &(&str, &Interface)| match Grant::of("guest", name) {
            Grant::Import(_) => format!("**{}**", guest.link(name)),
            _ => guest.link(name),
        };
        let links: Vec<_> = guest.of_file(text).iter().map(link).collect();
        writeln!(page, "| {} | {} |", family(file), links.join(" · ")).unwrap();
    }
    write!(page, "\n## waga:extension\n\n{}\n", extension.docs().trim()).unwrap();
    for (_, text) in extension.files {
        for (name, interface) in extension.of_file(text) {
            extension.section("###", text, name, interface, &mut page);
        }
    }
    write!(page, "\n## waga:guest\n\n{}\n", guest.docs().trim()).unwrap();
    for (file, text) in guest.files {
        write!(page, "\n### Family {}\n\n[{file}](../wit/guest/{file})\n", family(file)).unwrap();
        for (name, interface) in guest.of_file(text) {
            guest.section("####", text, name, interface, &mut page);
        }
    }
    page
}

/// A package as text, without what is said of it and of its interfaces as a whole: on the page that stands outside of the code.
fn printed(mut resolve: Resolve, package: PackageId) -> String {
    for (_, interface) in &mut resolve.interfaces {
        interface.docs = wit_parser::Docs::default();
    }
    resolve.packages[package].docs = wit_parser::Docs::default();
    // In which order they stand means nothing.
    resolve.packages[package].interfaces.sort_keys();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, package, &[]).unwrap();
    printer.output.to_string()
}

/// What stands on the page is the contract: put together, its blocks are the packages, every type and every word of docs.
#[test]
fn the_page_is_made_of_the_wit_and_its_blocks_are_the_packages() {
    // What can be granted is waga's own affair.
    if !program().is_waga() {
        return;
    }
    let (file, text) = (root().join(PAGE), page());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    let differs = written.lines().zip(text.lines()).find(|(written, made)| written != made);
    assert!(written == text, "{PAGE} is not made of this WIT: run again with UPDATE_EXPECT=1 ({differs:?})");
    let mut texts = BTreeMap::<&str, String>::new();
    let blocks = blocks(&root().join(PAGE));
    let mut package = "extension";
    for block in blocks.iter().filter(|block| block.language == "wit") {
        // The second package begins with a command; each has one interface with types.
        if block.text.starts_with("interface guest-") {
            package = "guest";
        }
        texts
            .entry(package)
            .or_insert_with(|| format!("package waga:{package}@1.0.0;\n"))
            .push_str(&block.text);
    }
    for package in packages() {
        let name = package.name;
        let mut resolve = Resolve::default();
        let id = resolve.push_str(PAGE, &texts[name]).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let interfaces = resolve.packages[id].interfaces.len();
        assert!(interfaces > 8, "{name}: {interfaces}");
        assert_eq!(printed(resolve, id), printed(package.resolve, package.id), "{name}");
    }
}
