//! A component keeps the types of its WIT with their names, so its schema can be made without its WIT; only the docs are gone.

use serde_json::Value;
use waga_wit::schema;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{ManglingAndAbi, Resolve};

use super::schemas;

/// A component that has every command as an export.
fn every_command() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = schema::parse(&mut resolve, waga_wit::GUEST).unwrap();
    let mut world = "package acme:all;\nworld all {\n".to_owned();
    for name in resolve.packages[package].interfaces.keys().filter(|name| *name != "types") {
        world += &format!("export waga:guest/{name}@1.0.0;\n");
    }
    let package = resolve.push_source("all.wit", &format!("{world}}}")).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

fn without_docs(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| !(matches!(&**name, "docs" | "description") && member.is_string()));
            members.values_mut().for_each(without_docs);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_docs),
        _ => {}
    }
}

#[test]
fn the_schema_of_a_component_is_that_of_its_wit() {
    let decoded = wit_component::decode(&every_command()).unwrap();
    let resolve = decoded.resolve();
    let mut schemas = schemas();
    for function in resolve.interfaces.iter().flat_map(|(_, interface)| interface.functions.values()) {
        let made = schema::command(resolve, function).unwrap();
        let mut written = schemas.remove(&function.name).unwrap_or_else(|| panic!("{} twice", function.name));
        // The wire's exceptions are those of the agent's own commands.
        let excepted = waga_wit::EXCEPTIONS.iter().any(|exception| exception.command == function.name);
        without_docs(&mut written);
        assert_eq!(made == written, !excepted, "{}: {made} {written}", function.name);
    }
    assert_eq!(schemas.keys().collect::<Vec<_>>(), [""; 0], "not among the exports");
}
