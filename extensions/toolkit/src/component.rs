//! From a core module, as compilers write it, to a component.

use anyhow::{Context, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Makes a component of a core module that carries the type of its world.
///
/// A libc asks for WASI of its first preview, which components do not have: what it asks for is then put between.
///
/// # Errors
/// What the encoder says: most often that the module does not fit its world.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(module)
        .context("what was built carries no WIT world: are the bindings in use?")?;
    if imports_preview1(module)? {
        encoder.adapter(PREVIEW1, ADAPTER)?;
    }
    encoder.encode().context("what was built does not fit its WIT")
}

fn imports_preview1(module: &[u8]) -> Result<bool> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                if import?.module == PREVIEW1 {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
