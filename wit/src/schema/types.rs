//! The types of WIT as JSON Schema. Named ones stand once, under `$defs`, by their names.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use wit_parser::{Record, Resolve, Type, TypeDefKind, TypeId, TypeOwner, Variant};

use super::docs;
use crate::{Exception, Wire};

/// What has no JSON: the place, and what is there.
pub(super) type Failure = (String, String);
type Result<T> = std::result::Result<T, Failure>;

/// How deep types may be nested. What the agent takes is nested less.
const DEEPEST: usize = 100;

/// Which way values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Arguments: unknown members are refused.
    ToCommand,
    /// Results: they may grow.
    FromCommand,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) ty: Type,
    pub(super) docs: Option<String>,
}

/// The types of one schema.
#[derive(Debug)]
pub(super) struct Types<'a> {
    resolve: &'a Resolve,
    direction: Direction,
    exceptions: &'a [Exception],
    /// The schemas of named types.
    definitions: Map<String, Value>,
    names: HashMap<TypeId, String>,
    /// Where the reading is.
    place: Vec<String>,
    depth: usize,
}

impl<'a> Types<'a> {
    /// None so far. The exceptions are those of one command.
    pub(super) fn new(resolve: &'a Resolve, direction: Direction, exceptions: &'a [Exception]) -> Self {
        let (definitions, names, place) = (Map::new(), HashMap::new(), Vec::new());
        Self { resolve, direction, exceptions, definitions, names, place, depth: 0 }
    }

    /// The schema of the arguments.
    pub(super) fn arguments<'m>(mut self, arguments: impl Iterator<Item = Member<'m>>) -> Result<Value> {
        let schema = self.object(None, arguments)?;
        Ok(self.complete(schema))
    }

    /// The schema of what a function returns when all goes well.
    pub(super) fn result(mut self, result: Option<Type>) -> Result<Value> {
        let success = match result.map(|ty| (ty, self.kind(&ty))) {
            Some((_, Some(TypeDefKind::Result(result)))) => result.ok,
            other => other.map(|(ty, _)| ty),
        };
        let schema = match success.map(|ty| (ty, self.kind(&ty))) {
            Some((_, Some(TypeDefKind::Option(inner)))) => {
                let schema = self.value(inner)?;
                map(json!({"anyOf": [schema, {"type": "null"}]}))
            }
            Some((ty, _)) => self.value(&ty)?,
            None => object_of(Map::new()),
        };
        Ok(self.complete(schema))
    }

    /// A schema together with the types that it refers to.
    fn complete(self, mut schema: Map<String, Value>) -> Value {
        if !self.definitions.is_empty() {
            schema.insert("$defs".to_owned(), self.definitions.into());
        }
        schema.into()
    }

    /// What a type is behind its names; nothing for one that WIT itself has.
    fn kind(&self, ty: &Type) -> Option<&'a TypeDefKind> {
        let mut ty = ty;
        while let Type::Id(id) = ty {
            match &self.resolve.types[*id].kind {
                TypeDefKind::Type(other) => ty = other,
                kind => return Some(kind),
            }
        }
        None
    }

    fn value(&mut self, ty: &Type) -> Result<Map<String, Value>> {
        Ok(match ty {
            Type::Bool => of_type("boolean"),
            Type::U8 => integer(0, u8::MAX),
            Type::S8 => integer(i8::MIN, i8::MAX),
            Type::U16 => integer(0, u16::MAX),
            Type::S16 => integer(i16::MIN, i16::MAX),
            Type::U32 => integer(0, u32::MAX),
            Type::S32 => integer(i32::MIN, i32::MAX),
            Type::U64 => integer(0, u64::MAX),
            Type::S64 => integer(i64::MIN, i64::MAX),
            Type::F32 | Type::F64 => of_type("number"),
            Type::Char => map(json!({"type": "string", "minLength": 1, "maxLength": 1})),
            Type::String => of_type("string"),
            Type::ErrorContext => return Err(self.failure("an error-context has no JSON")),
            Type::Id(id) => self.defined(*id)?,
        })
    }

    /// A type that WIT text defines: by reference, if it has a name.
    fn defined(&mut self, mut id: TypeId) -> Result<Map<String, Value>> {
        let types = &self.resolve.types;
        // A `use` stands for the type that it names.
        while let TypeDefKind::Type(Type::Id(used)) = types[id].kind
            && types[used].name == types[id].name
        {
            id = used;
        }
        let ty = &types[id];
        let Some(name) = &ty.name else { return self.structure(id) };
        let name = match self.names.get(&id) {
            Some(name) => name.clone(),
            None => {
                let name = self.free_name(name, ty.owner);
                self.names.insert(id, name.clone());
                // Its place is taken before the places of what it refers to.
                self.definitions.insert(name.clone(), Value::Null);
                let mut schema = self.structure(id)?;
                describe(&mut schema, docs::of(&ty.docs));
                self.definitions.insert(name.clone(), schema.into());
                name
            }
        };
        Ok(map(json!({"$ref": format!("#/$defs/{name}")})))
    }

    /// The type's name, with that of its interface before it if another has taken it.
    fn free_name(&self, name: &str, owner: TypeOwner) -> String {
        let mut free = name.to_owned();
        while self.definitions.contains_key(&free) {
            let interface = match owner {
                TypeOwner::Interface(id) => self.resolve.interfaces[id].name.as_deref(),
                _ => None,
            };
            free = format!("{}.{free}", interface.unwrap_or("other"));
        }
        free
    }

    /// A type, whatever its name.
    fn structure(&mut self, id: TypeId) -> Result<Map<String, Value>> {
        if self.depth == DEEPEST {
            return Err(self.failure("is nested too deep"));
        }
        self.depth += 1;
        let schema = self.structure_of(&self.resolve.types[id].kind);
        self.depth -= 1;
        schema
    }

    fn structure_of(&mut self, kind: &TypeDefKind) -> Result<Map<String, Value>> {
        Ok(match kind {
            TypeDefKind::Type(ty) => self.value(ty)?,
            TypeDefKind::List(Type::U8) => map(json!({"type": "string", "contentEncoding": "base64"})),
            TypeDefKind::List(ty) => {
                let items = self.within("[]", |types| types.value(ty))?;
                map(json!({"type": "array", "items": items}))
            }
            TypeDefKind::FixedLengthList(ty, length) => {
                let items = self.within("[]", |types| types.value(ty))?;
                map(json!({"type": "array", "items": items, "minItems": length, "maxItems": length}))
            }
            TypeDefKind::Tuple(tuple) => {
                let element = |(at, ty): (usize, &Type)| {
                    let schema = self.within(&format!("[{at}]"), |types| types.value(ty))?;
                    Ok(Value::from(schema))
                };
                let items = tuple.types.iter().enumerate().map(element).collect::<Result<Vec<_>>>()?;
                let length = items.len();
                map(json!({"type": "array", "prefixItems": items, "items": false, "minItems": length}))
            }
            TypeDefKind::Record(record) => self.object(None, members(record))?,
            TypeDefKind::Option(_) => {
                let places = "an option can only be an argument, a result or the member of a record";
                return Err(self.failure(places));
            }
            TypeDefKind::Enum(cases) => {
                words(cases.cases.iter().map(|case| (&*case.name, docs::of(&case.docs))))
            }
            TypeDefKind::Flags(flags) => {
                let items = words(flags.flags.iter().map(|flag| (&*flag.name, docs::of(&flag.docs))));
                map(json!({"type": "array", "items": items, "uniqueItems": true}))
            }
            TypeDefKind::Variant(variant) => self.variant(variant)?,
            TypeDefKind::Result(result) => {
                let arms = [("ok", result.ok), ("err", result.err)];
                let arm = |(name, ty): (&str, Option<Type>)| {
                    let schema = match ty {
                        Some(ty) => self.within(name, |types| types.value(&ty))?,
                        None => object_of(Map::new()),
                    };
                    let properties = json!({name: schema});
                    Ok(
                        json!({"type": "object", "properties": properties, "required": [name], "additionalProperties": false}),
                    )
                };
                let arms = arms.into_iter().map(arm).collect::<Result<Vec<_>>>()?;
                map(json!({"oneOf": arms}))
            }
            TypeDefKind::Resource | TypeDefKind::Handle(_) => {
                return Err(self.failure("a resource has no JSON"));
            }
            TypeDefKind::Map(..) => return Err(self.failure("a map is not taken yet: use a list of records")),
            TypeDefKind::Future(_) => return Err(self.failure("a future has no JSON")),
            TypeDefKind::Stream(_) => return Err(self.failure("a stream has no JSON")),
            TypeDefKind::Unknown => return Err(self.failure("an unknown type has no JSON")),
        })
    }

    /// An object with these members; those that are options may be absent. The tag is a member `type` that says which case it is.
    fn object<'m>(
        &mut self,
        tag: Option<&str>,
        members: impl Iterator<Item = Member<'m>>,
    ) -> Result<Map<String, Value>> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        if let Some(case) = tag {
            properties.insert("type".to_owned(), json!({"const": case}));
            required.push("type".to_owned());
        }
        for Member { name, ty, docs } in members {
            let inner = match self.kind(&ty) {
                Some(TypeDefKind::Option(inner)) => Some(inner),
                _ => None,
            };
            let schema = self.within(name, |types| types.value(inner.unwrap_or(&ty)))?;
            let (name, mut schema) = self.excepted(name, schema);
            describe(&mut schema, docs);
            properties.insert(name.to_owned(), schema.into());
            if inner.is_none() {
                required.push(name.to_owned());
            }
        }
        let mut schema = object_of(properties);
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        if self.direction == Direction::ToCommand {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
        Ok(schema)
    }

    /// The name and schema of a member as the wire has them.
    fn excepted<'m>(&self, name: &'m str, schema: Map<String, Value>) -> (&'m str, Map<String, Value>) {
        let place = self.place.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        let exceptions = self.exceptions.iter().filter(|exception| exception.member == place);
        for wire in exceptions.map(|exception| exception.wire) {
            match (wire, self.direction) {
                (Wire::Called(name), Direction::FromCommand) => return (name, schema),
                (Wire::AnyObject, Direction::FromCommand) => return (name, of_type("object")),
                (Wire::AlsoTakes(texts), Direction::ToCommand) => {
                    let values = texts.iter().map(|text| serde_json::from_str(text));
                    let values: Vec<Value> = values
                        .collect::<std::result::Result<_, _>>()
                        .expect("the table has JSON, which is tested");
                    return (name, map(json!({"anyOf": [schema, {"enum": values}]})));
                }
                _ => {}
            }
        }
        (name, schema)
    }

    fn variant(&mut self, variant: &Variant) -> Result<Map<String, Value>> {
        let mut cases = Vec::new();
        for case in &variant.cases {
            let tag = Some(&*case.name);
            let mut schema = match case.ty.map(|ty| (ty, self.kind(&ty))) {
                None => self.object(tag, std::iter::empty())?,
                Some((_, Some(TypeDefKind::Record(record)))) => {
                    if record.fields.iter().any(|field| field.name == "type") {
                        let place = self.within(&case.name, |types| {
                            types.failure("has a member 'type', which names the case")
                        });
                        return Err(place);
                    }
                    // Its members stand beside the tag, at the place of the variant itself.
                    self.object(tag, members(record))?
                }
                Some((_, Some(TypeDefKind::Option(_)))) => {
                    let places = "an option can only be an argument, a result or the member of a record";
                    return Err(self.within(&case.name, |types| types.failure(places)));
                }
                Some((ty, _)) => {
                    self.object(tag, std::iter::once(Member { name: "value", ty, docs: None }))?
                }
            };
            describe(&mut schema, docs::of(&case.docs));
            cases.push(Value::from(schema));
        }
        Ok(map(json!({"oneOf": cases})))
    }

    fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.place.push(step.to_owned());
        let read = read(self);
        self.place.pop();
        read
    }

    fn failure(&self, what: &str) -> Failure {
        let path = self.place.join(".").replace(".[", "[");
        let place = match (self.direction, path.as_str()) {
            (Direction::ToCommand, path) => format!("argument '{path}'"),
            (Direction::FromCommand, "") => "result".to_owned(),
            (Direction::FromCommand, path) => format!("result '{path}'"),
        };
        (place, what.to_owned())
    }
}

fn members(record: &Record) -> impl Iterator<Item = Member<'_>> {
    record.fields.iter().map(|field| Member { name: &field.name, ty: field.ty, docs: docs::of(&field.docs) })
}

/// A string that is one of these.
fn words<'a>(words: impl Iterator<Item = (&'a str, Option<String>)>) -> Map<String, Value> {
    let word = |(name, docs): (&str, Option<String>)| {
        let mut schema = map(json!({"const": name}));
        describe(&mut schema, docs);
        Value::from(schema)
    };
    map(json!({"type": "string", "oneOf": words.map(word).collect::<Vec<_>>()}))
}

fn integer(least: impl Into<Value>, most: impl Into<Value>) -> Map<String, Value> {
    map(json!({"type": "integer", "minimum": least.into(), "maximum": most.into()}))
}

fn of_type(name: &str) -> Map<String, Value> {
    map(json!({"type": name}))
}

fn object_of(properties: Map<String, Value>) -> Map<String, Value> {
    let mut schema = of_type("object");
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), properties.into());
    }
    schema
}

fn describe(schema: &mut Map<String, Value>, docs: Option<String>) {
    schema.extend(docs.map(|text| ("description".to_owned(), Value::String(text))));
}

/// What `json!` made of braces.
fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("only called with objects"),
    }
}
