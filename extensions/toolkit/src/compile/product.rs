//! A component compiled: the artifact that the daemon maps, and the description that it reads before.

use std::io::{self, Write};
use std::sync::Arc;

use waga::extension::description::Description;
use waga::extension::engine::{self, Engine};
use waga::extension::sandbox::Sandbox;
use wasmparser::Parser;
use wasmtime::component::Component;

use super::verdict::Failure;
use crate::inspect::world;

/// What a module was compiled to.
#[derive(Debug)]
pub(super) struct Product {
    artifact: Vec<u8>,
    description: Vec<u8>,
}

/// Compiles a module.
///
/// # Errors
/// Most often the module's fault.
pub(super) fn of(module: &[u8], kind: engine::Kind, stack: usize) -> Result<Product, Failure> {
    if wasmtime::Engine::detect_precompiled(module).is_some() {
        return Err(Failure::module("it was compiled already; the agent compiles components itself".into()));
    }
    if Parser::is_core_wasm(module) {
        return Err(Failure::module("it is a core module: `waga-ext build` makes a component of it".into()));
    }
    if !Parser::is_component(module) {
        return Err(Failure::module("it is no WebAssembly component".into()));
    }
    let here = |error: &dyn std::fmt::Display| Failure::here(format!("cannot set up the compiler: {error}"));
    let config = engine::config(kind, stack).map_err(|error| here(&error))?;
    let engine = wasmtime::Engine::new(&config).map_err(|error| here(&error))?;
    let component = Component::new(&engine, module).map_err(|error| of_compiler(&error))?;
    let artifact = component.serialize().map_err(|error| of_compiler(&error))?;
    let running = Engine::start(engine, kind).map_err(|error| here(&error))?;
    let description = smol::block_on(Sandbox::describe(&component, &Arc::new(running)));
    let mut description: Description = description.map_err(Failure::module)?;
    schemas(&mut description, module);
    let description = serde_json::to_vec(&description).map_err(|error| here(&error))?;
    Ok(Product { artifact, description })
}

/// Adds what the WIT that it carries says of its commands. WIT that is not to be had, or is another component's, is no reason to refuse
/// one that can be run: its commands have no schema then.
fn schemas(description: &mut Description, module: &[u8]) {
    let Ok(world) = world::read(module) else { return };
    for command in &mut description.commands {
        let mut told = world.interfaces.iter().flat_map(|interface| &interface.commands);
        command.schema =
            told.find(|it| it.name == command.name).and_then(|it| it.schema.as_ref().map(Into::into));
    }
}

/// What the compiler says; without the chain of where it was, which is long and says nothing to whoever wrote the module.
fn of_compiler(error: &wasmtime::Error) -> Failure {
    let lacks_memory = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::OutOfMemory)
    };
    if error.chain().any(lacks_memory) {
        return Failure::memory();
    }
    Failure::module(format!("it cannot be compiled: {}", error.root_cause()))
}

impl Product {
    /// Writes the line with the sizes, the artifact, the description.
    pub(super) fn write(&self, mut out: impl Write) -> io::Result<()> {
        let (artifact, description) = (self.artifact.len(), self.description.len());
        writeln!(out, "{{\"artifact\": {artifact}, \"description\": {description}}}")?;
        out.write_all(&self.artifact)?;
        out.write_all(&self.description)?;
        out.flush()
    }
}
