//! The WIT of a project as one text, kept in its component: a component's own types have neither docs nor the author's order.
//!
//! It is in a custom section, printed so that `wit_parser` reads it again: the project's package, then those that it uses, nested.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};
use wit_component::WitPrinter;
use wit_parser::{PackageId, Resolve};

/// The section's name.
pub(crate) const SECTION: &str = "waga:wit";
/// The most text that is written or read.
const LARGEST: usize = 512 << 10;

/// Reads the WIT of a project: a folder with files of one package, and those of others below `deps`.
///
/// # Errors
/// What the parser says, with the place.
pub(crate) fn read(folder: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    match resolve.push_path(folder) {
        Ok((package, _)) => Ok((resolve, package)),
        // Only the parser's own rendering says where.
        Err(error) => bail!("{}", resolve.render_error(&error)),
    }
}

/// Prints a package and all that came with it.
///
/// # Errors
/// More text than a component may carry.
pub(crate) fn print(resolve: &Resolve, package: PackageId) -> Result<String> {
    let others: Vec<PackageId> =
        resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != package).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &others)?;
    let text = printer.output.to_string();
    ensure!(
        text.len() <= LARGEST,
        "the WIT is {} bytes of text, and a component may carry {LARGEST}: remove what is not used from wit/deps",
        text.len()
    );
    Ok(text)
}

/// Adds the text to a component.
pub(crate) fn embed(component: &mut Vec<u8>, text: &str) {
    CustomSection { name: SECTION.into(), data: text.as_bytes().into() }.append_to_component(component);
}

/// The text in a component, if there is one.
///
/// # Errors
/// There are two, or it is no text, or too long.
pub(crate) fn find(component: &[u8]) -> Result<Option<&str>> {
    let mut found = None;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            // Sections of what is nested are others' affair.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                let data = section.data();
                ensure!(data.len() <= LARGEST, "its section {SECTION} is longer than {LARGEST} bytes");
                let text =
                    str::from_utf8(data).with_context(|| format!("its section {SECTION} is no text"))?;
                if found.replace(text).is_some() {
                    bail!("it has two sections {SECTION}");
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Reads what [`print`] wrote.
///
/// # Errors
/// What the parser says.
pub(crate) fn parse(text: &str) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let package =
        resolve.push_str(SECTION, text).with_context(|| format!("cannot read its section {SECTION}"))?;
    Ok((resolve, package))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A project of two packages.
    fn project() -> (Resolve, PackageId) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("deps/b")).unwrap();
        let files = [
            (
                "a.wit",
                "package a:a@0.1.0;\n/// Says it.\ninterface i { use b:b/types@1.2.0.{r}; /// Does it.\n f: func(%type: r); }\nworld w { export i; }",
            ),
            ("deps/b/b.wit", "package b:b@1.2.0;\ninterface types { record r { /// A size.\n size: u64 } }"),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        read(folder.path()).unwrap()
    }

    #[test]
    fn what_is_embedded_is_read_again_with_docs_and_dependencies() {
        let (resolve, package) = project();
        let text = print(&resolve, package).unwrap();
        let mut component = COMPONENT.to_vec();
        embed(&mut component, &text);
        let found = find(&component).unwrap().unwrap();
        let (again, package) = parse(found).unwrap();
        assert_eq!(again.packages[package].name.to_string(), "a:a@0.1.0");
        let interface = &again.interfaces[again.packages[package].interfaces["i"]];
        assert_eq!(interface.functions["f"].docs.contents.as_deref(), Some("Does it."));
        assert_eq!(print(&again, package).unwrap(), text);
    }

    #[test]
    fn only_a_section_of_the_component_itself_counts() {
        let (resolve, package) = project();
        let text = print(&resolve, package).unwrap();
        let mut inner = COMPONENT.to_vec();
        embed(&mut inner, &text);
        let mut outer = wasm_encoder::Component::new();
        outer.section(&wasm_encoder::RawSection { id: 4, data: &inner });
        let mut outer = outer.finish();
        assert_eq!(find(&outer).unwrap(), None);
        embed(&mut outer, "first");
        assert_eq!(find(&outer).unwrap(), Some("first"));
        embed(&mut outer, "second");
        assert!(find(&outer).unwrap_err().to_string().contains("two sections"));
    }

    #[test]
    fn text_without_end_is_neither_written_nor_read() {
        let (mut resolve, package) = project();
        let interface = resolve.packages[package].interfaces["i"];
        resolve.interfaces[interface].docs.contents = Some("x".repeat(LARGEST));
        assert!(print(&resolve, package).unwrap_err().to_string().contains("wit/deps"));
        let mut component = COMPONENT.to_vec();
        embed(&mut component, &"x".repeat(LARGEST + 1));
        assert!(find(&component).unwrap_err().to_string().contains("longer"));
    }
}
