//! A component's commands and imports: the types that it really has, with the docs of the WIT that it carries where that says the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use waga::config::command_name::is_command;
use wasmparser::{Parser, Payload};
use wit_component::{DecodedWasm, Output, WitPrinter};
use wit_parser::{InterfaceId, Resolve, TypeOwner, WorldItem, WorldKey};

use crate::wit_text;

/// What a component is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    /// Exported interfaces that have commands, in the component's order.
    pub(crate) interfaces: Vec<Interface>,
    /// Whether it names commands itself.
    pub(crate) handler: bool,
    /// Its export that is told of freezing and thawing.
    pub(crate) freeze_hooks: Option<String>,
    /// Interfaces of which it imports something but types.
    pub(crate) imports: Vec<String>,
    /// Why the WIT that it carries was not used.
    pub(crate) distrust: Option<String>,
}

/// An exported interface with commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) commands: Vec<Command>,
    /// All of it as WIT, with the interfaces whose types it uses.
    pub(crate) wit: String,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// Its docs, if it has any.
    pub(crate) docs: Option<String>,
    /// Its function as WIT.
    pub(crate) wit: String,
    /// What is sent and what comes back, as JSON Schema with the docs; absent if its types are none of JSON's.
    pub(crate) schema: Option<Value>,
}

/// Reads a component.
pub(crate) fn read(bytes: &[u8]) -> Result<World> {
    let (resolve, world) = match wit_component::decode(bytes) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => {
            bail!("it is a WIT package, which has nothing that could be called")
        }
        // Some tools write docs of more interfaces than a component has, which the decoder does not bear.
        Err(error) => match wit_component::decode(&without_docs(bytes)?) {
            Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
            _ => return Err(error),
        },
    };
    let written = wit_text::find(bytes).and_then(|text| text.map(wit_text::parse).transpose());
    let (written, mut distrust) = match written {
        Ok(written) => (written.map(|(resolve, _)| resolve), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let mut found = World::default();
    let world = &resolve.worlds[world];
    for (key, item) in &world.exports {
        let (WorldKey::Interface(_), WorldItem::Interface { id, .. }) = (key, item) else { continue };
        let name = resolve.name_world_key(key);
        if name.starts_with("waga:extension/handler@1.") {
            found.handler = true;
            continue;
        }
        if name.starts_with("waga:extension/freeze-hooks@1.") {
            found.freeze_hooks = Some(name);
            continue;
        }
        if !resolve.interfaces[*id].functions.keys().any(|name| is_command(name)) {
            continue;
        }
        let real = Blocks::of(&resolve, *id, None)?;
        let told = match &written {
            None => None,
            Some(written) => match named(written, &name) {
                Some(id) if Blocks::of(written, id, Some(&real))?.say_the_same(&real) => Some((written, id)),
                _ => {
                    distrust.get_or_insert_with(|| format!("it has another {name} than the component"));
                    None
                }
            },
        };
        let (from, id) = told.unwrap_or((&resolve, *id));
        found.interfaces.push(interface(from, id, name, &real)?);
    }
    for (key, item) in &world.imports {
        let asks = match item {
            WorldItem::Interface { id, .. } => !resolve.interfaces[*id].functions.is_empty(),
            WorldItem::Function(_) => true,
            WorldItem::Type { .. } => false,
        };
        if asks {
            found.imports.push(resolve.name_world_key(key));
        }
    }
    found.distrust = distrust;
    Ok(found)
}

/// The interface of that name.
fn named(resolve: &Resolve, name: &str) -> Option<InterfaceId> {
    resolve.interfaces.iter().map(|(id, _)| id).find(|id| resolve.id_of(*id).as_deref() == Some(name))
}

/// What an interface says, without docs and in no order: its types and functions, and the types of those that it uses.
struct Blocks {
    /// Of the interface itself.
    own: BTreeSet<String>,
    /// Of each that it uses.
    used: BTreeMap<String, BTreeSet<String>>,
    /// The names of their types.
    types: BTreeMap<String, BTreeSet<String>>,
}

impl Blocks {
    /// Of the types that are used no more than `like` has: a component keeps those alone that it needs.
    fn of(resolve: &Resolve, id: InterfaceId, like: Option<&Self>) -> Result<Self> {
        let mut found = Self { own: BTreeSet::new(), used: BTreeMap::new(), types: BTreeMap::new() };
        for (place, id) in with_used(resolve, id).into_iter().enumerate() {
            let name = resolve.id_of(id).context("an interface has no name")?;
            let mut printer = WitPrinter::default();
            printer.emit_docs(false);
            if place == 0 {
                printer.print_interface(resolve, id)?;
                found.own = blocks(&printer.output.to_string());
                continue;
            }
            let names = like.and_then(|like| like.types.get(&name));
            let types = resolve.interfaces[id].types.iter();
            let types =
                types.filter(|(name, _)| like.is_none() || names.is_some_and(|it| it.contains(*name)));
            let types: Vec<_> = types.map(|(name, id)| (name.as_str(), *id)).collect();
            if !types.is_empty() {
                found.types.insert(name.clone(), types.iter().map(|(name, _)| (*name).to_owned()).collect());
                printer.print_types(resolve, TypeOwner::Interface(id), types.into_iter(), &HashMap::new())?;
                found.used.insert(name, blocks(&printer.output.to_string()));
            }
        }
        Ok(found)
    }

    fn say_the_same(&self, other: &Self) -> bool {
        self.own == other.own && self.used == other.used
    }
}

/// Types and functions in WIT; each name of a `use` for itself.
fn blocks(wit: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for block in wit.split("\n\n").map(str::trim) {
        let lines: Vec<&str> = block.lines().collect();
        if !block.starts_with("use ") {
            found.insert(block.to_owned());
            continue;
        }
        for line in lines {
            let (path, names) = line.split_once(".{").unwrap_or((line, ""));
            for name in names.trim_end_matches("};").split(", ") {
                found.insert(format!("{path}.{name}"));
            }
        }
    }
    found
}

fn interface(resolve: &Resolve, id: InterfaceId, name: String, real: &Blocks) -> Result<Interface> {
    let wit = print(resolve, id, real)?;
    let functions = resolve.interfaces[id].functions.values().filter(|function| is_command(&function.name));
    let commands = functions.map(|function| Command {
        name: function.name.clone(),
        docs: function.docs.contents.clone(),
        schema: waga_wit::schema::command(resolve, function).ok(),
        // No type has a line that begins like this.
        wit: wit
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(&format!("{}: func", function.name)))
            .unwrap_or_default()
            .trim_end_matches(';')
            .to_owned(),
    });
    Ok(Interface { commands: commands.collect(), name, wit })
}

/// An interface and those whose types it uses, each once.
fn with_used(resolve: &Resolve, id: InterfaceId) -> Vec<InterfaceId> {
    let mut found = vec![id];
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        for used in resolve.interface_direct_deps(id) {
            if !found.contains(&used) {
                found.push(used);
            }
        }
        at += 1;
    }
    found
}

/// All of an interface, and of those that it uses the types that the component has.
fn print(resolve: &Resolve, id: InterfaceId, real: &Blocks) -> Result<String> {
    let mut text = String::new();
    for (place, id) in with_used(resolve, id).into_iter().enumerate() {
        let interface = &resolve.interfaces[id];
        let name = interface.name.as_deref().context("an interface has no name")?;
        let mut printer = WitPrinter::default();
        printer.print_interface_outer(resolve, id, name)?;
        printer.output.indent_start();
        if place == 0 {
            printer.print_interface(resolve, id)?;
        } else {
            let Some(names) = resolve.id_of(id).and_then(|name| real.types.get(&name)) else { continue };
            let types = interface.types.iter().filter(|(name, _)| names.contains(*name));
            let types = types.map(|(name, id)| (name.as_str(), *id));
            printer.print_types(resolve, TypeOwner::Interface(id), types, &HashMap::new())?;
        }
        printer.output.indent_end();
        if place > 0 {
            text.push('\n');
        }
        text.push_str(&printer.output.to_string());
    }
    Ok(text)
}

/// A component without the docs that other tools put in.
fn without_docs(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut kept = wasm_encoder::Component::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if matches!(payload, Payload::End(_)) {
            depth = depth.saturating_sub(1);
        }
        let section = payload.as_section().filter(|_| depth == 0);
        if matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) {
            depth += 1;
        }
        if matches!(&payload, Payload::CustomSection(custom) if custom.name() == "package-docs") {
            continue;
        }
        if let Some((id, range)) = section {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            kept.section(&wasm_encoder::RawSection { id, data: &bytes[range] });
        }
    }
    Ok(kept.finish())
}

#[cfg(test)]
mod tests {
    use wit_component::{ComponentEncoder, StringEncoding};

    use super::*;

    const WIT: &str = "package a:a@0.1.0;
        interface types { record pair { /// The first.
            one: string, two: u32 }
            record unneeded { x: u8 } }
        interface i {
            use types.{pair};
            enum mood { good, bad }
            /// Does it.
            guest-a-do: func(pair: option<pair>) -> result<mood, string>;
            other: func();
        }
        interface unused { f: func(); }
        world w {
            import waga:extension/log@1.0.0;
            import unused;
            export waga:extension/freeze-hooks@1.0.0;
            export i;
        }
        package waga:extension@1.0.0 {
            interface log { log: func(message: string); }
            interface freeze-hooks { thaw: func(); }
        }";

    /// A component of that WIT, whose functions trap.
    fn component(wit: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("a.wit", wit).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let mut module = wit_component::dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
    }

    fn embedded(wit: &str) -> Vec<u8> {
        let mut bytes = component(WIT);
        wit_text::embed(&mut bytes, wit);
        bytes
    }

    #[test]
    fn types_are_the_components_and_docs_those_of_its_wit() {
        let plain = read(&component(WIT)).unwrap();
        assert_eq!(plain.freeze_hooks.as_deref(), Some("waga:extension/freeze-hooks@1.0.0"));
        assert_eq!(plain.imports, ["waga:extension/log@1.0.0", "a:a/unused@0.1.0"]);
        let [interface] = &plain.interfaces[..] else { panic!("{plain:?}") };
        assert_eq!(interface.name, "a:a/i@0.1.0");
        let [command] = &interface.commands[..] else { panic!("{interface:?}") };
        assert_eq!((&*command.name, &command.docs), ("guest-a-do", &None));
        assert_eq!(command.wit, "guest-a-do: func(pair: option<pair>) -> result<mood, string>");
        assert!(command.schema.as_ref().is_some_and(|it| it["arguments"]["properties"]["pair"].is_object()));
        assert!(interface.wit.contains("record pair"), "{}", interface.wit);

        let told = read(&embedded(WIT)).unwrap();
        assert_eq!(told.distrust, None);
        assert_eq!(told.interfaces[0].commands[0].docs.as_deref(), Some("Does it."));
        let schema = told.interfaces[0].commands[0].schema.as_ref().unwrap();
        assert_eq!(schema["docs"], "Does it.");
        assert!(told.interfaces[0].wit.contains("/// The first."), "{}", told.interfaces[0].wit);
        assert!(!told.interfaces[0].wit.contains("unneeded"), "{}", told.interfaces[0].wit);
    }

    #[test]
    fn wit_that_says_something_else_is_not_believed() {
        for (wit, reason) in [
            (WIT.replace("two: u32", "two: u64"), "another a:a/i@0.1.0"),
            (WIT.replace("good, bad", "bad, good"), "another a:a/i@0.1.0"),
            (WIT.replace("other: func();", "guest-a-more: func(); other: func();"), "another a:a/i@0.1.0"),
            (WIT.replace("0.1.0", "0.2.0"), "another a:a/i@0.1.0"),
            ("no WIT".into(), "cannot read its section"),
        ] {
            let world = read(&embedded(&wit)).unwrap();
            assert!(world.distrust.as_deref().is_some_and(|it| it.contains(reason)), "{:?}", world.distrust);
            assert_eq!(world.interfaces, read(&component(WIT)).unwrap().interfaces);
        }
    }

    #[test]
    fn docs_that_the_decoder_does_not_bear_are_left_out() {
        let mut bytes = component(WIT);
        let docs = br#"\x00{"interfaces":{"nowhere":{"docs":"x"}}}"#;
        let docs = [&[0][..], &docs[4..]].concat();
        wasm_encoder::ComponentSection::append_to_component(
            &wasm_encoder::CustomSection { name: "package-docs".into(), data: docs.into() },
            &mut bytes,
        );
        assert!(wit_component::decode(&bytes).is_err());
        assert_eq!(read(&bytes).unwrap().interfaces, read(&component(WIT)).unwrap().interfaces);
    }
}
