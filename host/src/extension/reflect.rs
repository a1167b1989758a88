//! What a component is, found in its types: which exported functions are commands, whether JSON can carry what they take and give, and
//! what is imported. Runs nothing.

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

use super::description::{Command, Description, FORMAT, Fault, Kind, Signature};
use super::names::is_interface;
use super::shape::Shape;
use crate::config::command_name::is_command;

/// How deep types may be nested, as what is read and written is.
const DEEPEST: usize = 32;

/// How many types a function may be made of, each counted wherever it stands.
const MOST: usize = 10_000;

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;

/// The interface of a component that names its commands itself.
pub(crate) const HANDLER: &str = "waga:extension/handler";

/// The interface of a component that is told of freezing and thawing.
pub(crate) const FREEZE_HOOKS: &str = "waga:extension/freeze-hooks";

/// Describes a component, but for the commands that only its handler can name.
pub fn describe(component: &Component) -> Description {
    let engine = component.engine();
    let ty = component.component_type();
    let imports = ty.imports(engine).filter(|(_, import)| match &import.ty {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        _ => true,
    });
    let imports = imports.map(|(name, _)| name.to_owned()).collect();
    let mut commands: Vec<Command> = Vec::new();
    for (interface, export) in ty.exports(engine) {
        let ComponentItem::ComponentInstance(instance) = &export.ty else { continue };
        for (name, item) in instance.exports(engine).filter(|(name, _)| is_command(name)) {
            let ComponentItem::ComponentFunc(function) = &item.ty else { continue };
            let twice = commands.iter().any(|command| command.name == name);
            if twice {
                continue;
            }
            let kind = match signature(interface, function) {
                Ok(signature) => Kind::Typed(signature),
                Err(reason) => Kind::Refused(reason),
            };
            commands.push(Command { name: name.to_owned(), kind, schema: None });
        }
    }
    let required = component.resources_required();
    let pages = required.and_then(|required| required.max_initial_memory_size).unwrap_or_default();
    let memory = pages.saturating_mul(PAGE);
    Description { format: FORMAT, commands, imports, freeze_hooks: freeze_hooks(component).is_some(), memory }
}

/// The name of the exported handler, with its version, if the component has one that this agent can call.
pub(crate) fn handler(component: &Component) -> Option<String> {
    exported(component, HANDLER)
}

/// The same of what is told of freezing and thawing.
pub(crate) fn freeze_hooks(component: &Component) -> Option<String> {
    exported(component, FREEZE_HOOKS)
}

fn exported(component: &Component, interface: &str) -> Option<String> {
    let engine = component.engine();
    let ty = component.component_type();
    ty.exports(engine)
        .map(|(name, _)| name)
        .find(|name| is_interface(name, interface, "1"))
        .map(str::to_owned)
}

/// The types of a function; else what of them JSON cannot carry, and where.
pub(super) fn signature(interface: &str, function: &ComponentFunc) -> Result<Signature, String> {
    if function.async_() {
        return Err("is an async function, which this agent does not call".into());
    }
    let mut left = MOST;
    let params = function.params().map(|(name, ty)| {
        let shape = shape(&ty, Where::Member, DEEPEST, &mut left);
        shape.map(|shape| (name.to_owned(), shape)).map_err(|reason| format!("argument '{name}': {reason}"))
    });
    let params = params.collect::<Result<_, _>>()?;
    let result = |reason| format!("result: {reason}");
    let (result, error) = match function.results().next() {
        None => (None, None),
        Some(Type::Result(both)) => {
            let ok = both.ok().map(|ty| shape(&ty, Where::Member, DEEPEST, &mut left));
            (ok.transpose().map_err(result)?, Some(fault(both.err())?))
        }
        Some(ty) => (Some(shape(&ty, Where::Member, DEEPEST, &mut left).map_err(result)?), None),
    };
    Ok(Signature { interface: interface.to_owned(), params, result, error })
}

/// What an error arm is.
fn fault(ty: Option<Type>) -> Result<Fault, String> {
    match ty {
        None => Ok(Fault::Nothing),
        Some(Type::String) => Ok(Fault::Text),
        Some(Type::Record(record)) => {
            let mut names: Vec<_> = record.fields().map(|field| (field.name.to_owned(), field.ty)).collect();
            names.sort_by(|(one, _), (other, _)| one.cmp(other));
            match &names[..] {
                [(class, Type::String), (desc, Type::String)] if class == "class" && desc == "desc" => {
                    Ok(Fault::Error)
                }
                _ => Err("error: a record has to be of the strings 'class' and 'desc'".into()),
            }
        }
        Some(_) => Err("error: has to be a string, or a record of the strings 'class' and 'desc'".into()),
    }
}

/// Where a type stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// As an argument, a result or the member of a record: it may be absent.
    Member,
    Elsewhere,
}

fn shape(ty: &Type, place: Where, depth: usize, left: &mut usize) -> Result<Shape, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("is nested more than {DEEPEST} levels deep"));
    };
    *left = left.checked_sub(1).ok_or_else(|| format!("the function is made of more than {MOST} types"))?;
    let mut inner = |ty: &Type| shape(ty, Where::Elsewhere, depth, left);
    Ok(match ty {
        Type::Bool => Shape::Bool,
        Type::U8 => Shape::U8,
        Type::S8 => Shape::S8,
        Type::U16 => Shape::U16,
        Type::S16 => Shape::S16,
        Type::U32 => Shape::U32,
        Type::S32 => Shape::S32,
        Type::U64 => Shape::U64,
        Type::S64 => Shape::S64,
        Type::Float32 => Shape::F32,
        Type::Float64 => Shape::F64,
        Type::Char => Shape::Char,
        Type::String => Shape::String,
        Type::List(list) => match list.ty() {
            Type::U8 => Shape::Bytes,
            ty => Shape::List(Box::new(inner(&ty)?)),
        },
        Type::FixedLengthList(list) => Shape::Array(Box::new(inner(&list.ty())?), list.len()),
        Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| inner(&ty)).collect::<Result<_, _>>()?),
        Type::Record(record) => {
            let fields = record.fields().map(|field| {
                let shape = shape(&field.ty, Where::Member, depth, left);
                let shape = shape.map_err(|reason| format!("member '{}': {reason}", field.name))?;
                Ok((field.name.to_owned(), shape))
            });
            Shape::Record(fields.collect::<Result<_, String>>()?)
        }
        Type::Option(_) if place == Where::Elsewhere => {
            return Err("an option can only be an argument, a result or the member of a record".into());
        }
        Type::Option(option) => Shape::Option(Box::new(inner(&option.ty())?)),
        Type::Enum(names) => Shape::Enum(names.names().map(str::to_owned).collect()),
        Type::Flags(names) => Shape::Flags(names.names().map(str::to_owned).collect()),
        Type::Variant(variant) => {
            let cases = variant.cases().map(|case| {
                let payload = case.ty.as_ref().map(&mut inner).transpose();
                let payload = payload.map_err(|reason| format!("case '{}': {reason}", case.name))?;
                if let Some(Shape::Record(fields)) = &payload
                    && fields.iter().any(|(name, _)| name == "type")
                {
                    return Err(format!("case '{}': has a member 'type', which names the case", case.name));
                }
                Ok((case.name.to_owned(), payload))
            });
            Shape::Variant(cases.collect::<Result<_, String>>()?)
        }
        Type::Result(both) => {
            let mut arm = |ty: Option<Type>| ty.map(|ty| inner(&ty).map(Box::new)).transpose();
            Shape::Result(arm(both.ok())?, arm(both.err())?)
        }
        Type::Own(_) | Type::Borrow(_) => return Err("a resource has no JSON".into()),
        Type::Future(_) => return Err("a future has no JSON".into()),
        Type::Stream(_) => return Err("a stream has no JSON".into()),
        Type::ErrorContext => return Err("an error-context has no JSON".into()),
        Type::Map(_) => return Err("a map is not taken yet: use a list of records".into()),
    })
}
