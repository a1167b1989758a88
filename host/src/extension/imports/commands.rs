//! `waga:extension/next` and `call`, and the interfaces of `waga:guest`: commands that a component calls, in JSON or by their types. All go
//! one way, and what is granted is asked there each time.

use std::sync::Arc;

use waga_builtins::Error;
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentType, Linker, Lower, Val};

use super::command_of;
use crate::extension::call::Call;
use crate::extension::description::{Fault, Signature};
use crate::extension::reach::{Reach, checked};
use crate::extension::reflect;
use crate::extension::shape::Shape;
use crate::extension::values::{self, Budget};

/// An error as a component reads it.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct Told {
    class: String,
    desc: String,
}

impl From<Error> for Told {
    fn from(error: Error) -> Self {
        Self { class: error.class.as_str().to_owned(), desc: error.desc.to_string() }
    }
}

/// From where this call calls on.
fn reach(call: &Call) -> Result<Arc<Reach>, Error> {
    call.grant
        .reach
        .clone()
        .ok_or_else(|| Error::generic("there is no agent here whose commands could be called"))
}

fn told(result: Result<Vec<u8>, Error>) -> Result<String, Told> {
    let text = |text| String::from_utf8(text).map_err(|_| Error::generic("the result is no text").into());
    result.map_err(Told::from).and_then(text)
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:extension/next@1.0.0")?;
    instance.func_wrap_async("next", |mut cx: StoreContextMut<'_, Call>, (arguments,): (String,)| {
        Box::new(async move {
            cx.data_mut().count()?;
            let result = match reach(cx.data()) {
                Ok(reach) => reach.next(&arguments).await,
                Err(error) => Err(error),
            };
            Ok((told(result),))
        })
    })?;
    let mut instance = linker.instance("waga:extension/call@1.0.0")?;
    instance.func_wrap_async(
        "call",
        |mut cx: StoreContextMut<'_, Call>, (command, arguments): (String, String)| {
            Box::new(async move {
                cx.data_mut().count()?;
                let result = match reach(cx.data()) {
                    Ok(reach) => reach.call(&command, &arguments).await,
                    Err(error) => Err(error),
                };
                Ok((told(result),))
            })
        },
    )
}

/// Links what this component imports of `waga:guest`: commands by their types, which it brings itself.
///
/// # Errors
/// The types of one cannot be read from JSON, or the interface has another function than its command.
pub(in crate::extension) fn link_typed(
    linker: &mut Linker<Call>,
    component: &Component,
) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (import, item) in component.component_type().imports(engine) {
        let (Some(command), ComponentItem::ComponentInstance(interface)) = (command_of(import), &item.ty)
        else {
            continue;
        };
        let mut instance = linker.instance(import)?;
        for (name, item) in interface.exports(engine) {
            let ComponentItem::ComponentFunc(function) = &item.ty else { continue };
            let refused = |reason: String| {
                wasmtime::Error::msg(format!("imports {import}, whose function {name} {reason}"))
            };
            if name != command {
                return Err(refused("is not the command".into()));
            }
            let signature = Arc::new(reflect::signature(import, function).map_err(refused)?);
            let command: Arc<str> = command.into();
            instance.func_new_async(name, move |mut cx, _, arguments, results| {
                let (signature, command, arguments) =
                    (signature.clone(), command.clone(), arguments.to_vec());
                Box::new(async move {
                    cx.data_mut().count()?;
                    let most = usize::try_from(cx.data().grant.limits.message).unwrap_or(usize::MAX);
                    let called = match reach(cx.data()) {
                        Ok(reach) => call(&reach, &command, &signature, arguments, most).await,
                        Err(error) => Err(error),
                    };
                    let value = match (called, signature.error) {
                        (Ok(value), None) => value,
                        (Ok(value), Some(_)) => Some(Val::Result(Ok(value.map(Box::new)))),
                        (Err(error), Some(kind)) => {
                            Some(Val::Result(Err(failure(error, kind).map(Box::new))))
                        }
                        (Err(error), None) => {
                            return Err(wasmtime::Error::msg(format!("{command} failed: {}", error.desc)));
                        }
                    };
                    if let (Some(result), Some(value)) = (results.first_mut(), value) {
                        *result = value;
                    }
                    Ok(())
                })
            })?;
        }
    }
    Ok(())
}

/// Values become JSON, the command is called, its reply becomes a value.
async fn call(
    reach: &Reach,
    command: &str,
    signature: &Signature,
    arguments: Vec<Val>,
    most: usize,
) -> Result<Option<Val>, Error> {
    let named = signature.params.iter().zip(arguments).map(|((name, _), value)| (name.clone(), value));
    let (record, shape) = (Val::Record(named.collect()), Shape::Record(signature.params.clone()));
    let mut text = Vec::new();
    values::write(&mut text, &record, &shape, most)
        .map_err(|_| Error::generic(format!("the arguments of {command} have no JSON, or are too long")))?;
    let reply = reach.call(command, &String::from_utf8_lossy(&text)).await?;
    let Some(shape) = &signature.result else { return Ok(None) };
    let other = |why: &str| {
        Error::generic(format!("the result of {command} is not of the type that is imported: {why}"))
    };
    let reply = checked(&reply).ok_or_else(|| other("it is no JSON"))?;
    // As many values as a message of the component's own may come to.
    let mut budget = Budget::of_result(most.saturating_mul(values::AS_VALUES));
    let value = values::result(&reply, shape, &mut budget).map_err(|fault| other(&fault.to_string()))?;
    Ok(Some(value))
}

/// An error in the arm that the function has for it.
fn failure(error: Error, kind: Fault) -> Option<Val> {
    let told = Told::from(error);
    match kind {
        Fault::Nothing => None,
        Fault::Text => Some(Val::String(told.desc)),
        Fault::Error => Some(Val::Record(vec![
            ("class".to_owned(), Val::String(told.class)),
            ("desc".to_owned(), Val::String(told.desc)),
        ])),
    }
}
