//! What becomes what, what is refused and where; and that our own WIT says something of everything.

use serde_json::json;
use wit_parser::{Type, TypeDefKind};

use super::*;

/// The schema of the only function of an interface with this text.
fn schema(text: &str) -> Result<Value, Unmapped> {
    let mut resolve = Resolve::default();
    let text = format!("package acme:test;\ninterface api {{\n{text}\n}}");
    let package = resolve.push_source("test.wit", &text).unwrap();
    let api = resolve.packages[package].interfaces["api"];
    command(&resolve, resolve.interfaces[api].functions.values().next().unwrap())
}

/// The schema of an argument `x` of a type, with the types that it refers to.
fn argument(definitions: &str, ty: &str) -> Result<(Value, Value), String> {
    let schema = schema(&format!("{definitions}\nguest-acme-test: func(x: {ty});"));
    let mut schema = schema.map_err(|error| error.to_string())?;
    let arguments = schema["arguments"].as_object_mut().unwrap();
    let x = arguments["properties"]["x"].take();
    Ok((x, arguments.remove("$defs").unwrap_or(Value::Null)))
}

#[test]
fn each_type_has_its_schema() {
    for (ty, expected) in [
        ("bool", json!({"type": "boolean"})),
        ("u8", json!({"type": "integer", "minimum": 0, "maximum": 255})),
        ("s16", json!({"type": "integer", "minimum": -32768, "maximum": 32767})),
        ("u64", json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
        ("s64", json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX})),
        ("f32", json!({"type": "number"})),
        ("char", json!({"type": "string", "minLength": 1, "maxLength": 1})),
        ("string", json!({"type": "string"})),
        ("list<u8>", json!({"type": "string", "contentEncoding": "base64"})),
        ("list<bool>", json!({"type": "array", "items": {"type": "boolean"}})),
        (
            "list<bool, 2>",
            json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}),
        ),
        (
            "tuple<bool, string>",
            json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "string"}], "items": false, "minItems": 2}),
        ),
        (
            "result<bool>",
            json!({"oneOf": [
                {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false},
                {"type": "object", "properties": {"err": {"type": "object"}}, "required": ["err"], "additionalProperties": false},
            ]}),
        ),
    ] {
        assert_eq!(argument("", ty), Ok((expected, Value::Null)), "{ty}");
    }
}

#[test]
fn named_types_stand_once_with_their_docs() {
    let definitions = "
        /// A size.
        type size = u16;
        /// A disk.
        record disk {
            /// All of it.
            total: size,
            /// What is left.
            free: option<size>,
            %type: string,
        }
        enum state { up, /** Not up. */ down }
        flags rights { read, write }
        variant event {
            none,
            /// It changed.
            change(change),
            count(size),
        }
        record change { before: disk, after: option<disk> }
    ";
    let (x, defs) = argument(definitions, "event").unwrap();
    assert_eq!(x, json!({"$ref": "#/$defs/event"}));
    let size = json!({"type": "integer", "minimum": 0, "maximum": 65535, "description": "A size."});
    assert_eq!(
        defs,
        json!({
            "event": {"oneOf": [
                {"type": "object", "properties": {"type": {"const": "none"}}, "required": ["type"], "additionalProperties": false},
                {
                    "type": "object",
                    "properties": {"type": {"const": "change"}, "before": {"$ref": "#/$defs/disk"}, "after": {"$ref": "#/$defs/disk"}},
                    "required": ["type", "before"],
                    "additionalProperties": false,
                    "description": "It changed.",
                },
                {
                    "type": "object",
                    "properties": {"type": {"const": "count"}, "value": {"$ref": "#/$defs/size"}},
                    "required": ["type", "value"],
                    "additionalProperties": false,
                },
            ]},
            "disk": {
                "type": "object",
                "properties": {
                    "total": {"$ref": "#/$defs/size", "description": "All of it."},
                    "free": {"$ref": "#/$defs/size", "description": "What is left."},
                    "type": {"type": "string"},
                },
                "required": ["total", "type"],
                "additionalProperties": false,
                "description": "A disk.",
            },
            "size": size,
        })
    );
    let words =
        json!({"type": "string", "oneOf": [{"const": "up"}, {"const": "down", "description": "Not up."}]});
    assert_eq!(argument(definitions, "state").unwrap().1, json!({"state": words}));
    let words = json!({"type": "string", "oneOf": [{"const": "read"}, {"const": "write"}]});
    assert_eq!(
        argument(definitions, "rights").unwrap().1,
        json!({"rights": {"type": "array", "items": words, "uniqueItems": true}})
    );
}

#[test]
fn a_function_has_docs_arguments_and_a_result() {
    let text = "
        record answer { value: option<s8> }
        /// Does this
        /// and that.
        ///
        /// More of it.
        ///
        /// - `size`: how large,
        ///   in bytes
        /// - `not-there`: no argument
        guest-acme-test: func(size: option<u8>, name: string) -> result<answer, string>;
    ";
    assert_eq!(
        schema(text),
        Ok(json!({
            "docs": "Does this and that.\nMore of it.",
            "arguments": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "minimum": 0, "maximum": 255, "description": "how large, in bytes"},
                    "name": {"type": "string"},
                },
                "required": ["name"],
                "additionalProperties": false,
            },
            "result": {
                "$ref": "#/$defs/answer",
                "$defs": {
                    "answer": {"type": "object", "properties": {"value": {"type": "integer", "minimum": -128, "maximum": 127}}},
                },
            },
        }))
    );
    let nothing = json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]});
    for may_be in ["option<bool>", "result<option<bool>, string>"] {
        let schema = schema(&format!("guest-acme-test: func() -> {may_be};"));
        assert_eq!(schema.unwrap()["result"], nothing, "{may_be}");
    }
    for nothing in ["", " -> result", " -> result<_, string>"] {
        assert_eq!(
            schema(&format!("guest-acme-test: func(){nothing};")),
            Ok(json!({
                "arguments": {"type": "object", "additionalProperties": false},
                "result": {"type": "object"},
            })),
            "{nothing}"
        );
    }
    assert_eq!(
        schema("guest-acme-test: func() -> list<string>;").unwrap()["result"],
        json!({"type": "array", "items": {"type": "string"}})
    );
}

#[test]
fn what_has_no_json_is_refused_with_its_place() {
    let definitions = "
        resource file;
        record open { files: list<file> }
        record tagged { %type: string }
        variant choice { some(tagged) }
        type maybe = option<u8>;
        variant perhaps { some(maybe) }
    ";
    let only = "an option can only be an argument, a result or the member of a record";
    let option = |place: &str| format!("argument '{place}': {only}");
    for (ty, expected) in [
        ("file", "argument 'x': a resource has no JSON".to_owned()),
        ("borrow<file>", "argument 'x': a resource has no JSON".to_owned()),
        ("open", "argument 'x.files[]': a resource has no JSON".to_owned()),
        ("tuple<u8, stream<u8>>", "argument 'x[1]': a stream has no JSON".to_owned()),
        ("option<future>", "argument 'x': a future has no JSON".to_owned()),
        ("option<option<u8>>", option("x")),
        ("option<maybe>", option("x")),
        ("list<option<u8>>", option("x[]")),
        ("tuple<maybe>", option("x[0]")),
        ("result<_, option<u8>>", option("x.err")),
        ("perhaps", option("x.some")),
        ("choice", "argument 'x.some': has a member 'type', which names the case".to_owned()),
        ("map<string, u8>", "argument 'x': a map is not taken yet: use a list of records".to_owned()),
        ("result<file>", "argument 'x.ok': a resource has no JSON".to_owned()),
    ] {
        let refused = argument(definitions, ty).unwrap_err();
        assert_eq!(refused, format!("guest-acme-test: {expected}"), "{ty}");
    }
    for (result, place) in [("result<file>", "result"), ("list<open>", "result '[].files[]'")] {
        let refused = schema(&format!("{definitions}\nguest-acme-test: func() -> {result};")).unwrap_err();
        assert_eq!((&*refused.place, &*refused.what), (place, "a resource has no JSON"), "{result}");
    }
    assert_eq!(schema("guest-acme-test: async func();").unwrap_err().place, "the function");
}

/// As deep as text can be made to nest them: the reading ends before the stack does.
#[test]
fn types_that_are_nested_too_deep_are_refused() {
    let mut definitions = "type t0 = list<u16>;".to_owned();
    for level in 1..5000 {
        definitions += &format!("type t{level} = list<t{}>;", level - 1);
    }
    assert!(argument(&definitions, "t40").is_ok());
    assert!(argument(&definitions, "t4999").unwrap_err().ends_with("is nested too deep"));
}

#[test]
fn types_of_one_name_are_told_apart() {
    let text = "package acme:test;
        interface a { record it { x: u8 } }
        interface b { record it { y: u8 } }
        interface api {
            use a.{it};
            use b.{it as its};
            guest-acme-test: func(first: it, again: list<it>, second: its);
        }";
    let mut resolve = Resolve::default();
    let package = resolve.push_source("test.wit", text).unwrap();
    let api = &resolve.interfaces[resolve.packages[package].interfaces["api"]];
    let schema = command(&resolve, &api.functions["guest-acme-test"]).unwrap();
    let properties = &schema["arguments"]["properties"];
    assert_eq!(properties["first"], json!({"$ref": "#/$defs/it"}));
    assert_eq!(properties["again"]["items"], json!({"$ref": "#/$defs/it"}));
    assert_eq!(schema["arguments"]["$defs"]["its"], json!({"$ref": "#/$defs/b.it"}));
    assert_eq!(schema["arguments"]["$defs"]["b.it"]["required"], json!(["y"]));
}

/// Each exception is of an argument or a result that is there, and was needed.
#[test]
fn exceptions_are_those_of_the_contract() {
    let schemas = guest();
    for Exception { command, member, wire } in EXCEPTIONS {
        match wire {
            crate::Wire::Called(name) => {
                let object = &schemas[command]["result"]["$defs"]["agent-info"]["properties"];
                assert!(object[member].is_null() && object[name].is_object(), "{command} {member}");
                assert_eq!(crate::member_on_wire(command, member), *name);
                assert_eq!(crate::member_on_wire("guest-ping", member), *member);
            }
            crate::Wire::AlsoTakes(texts) => {
                let also = &schemas[command]["arguments"]["properties"][member]["anyOf"][1]["enum"];
                assert_eq!(also.to_string(), format!("[{}]", texts.join(",")), "{command} {member}");
            }
            crate::Wire::AnyObject => {
                let name = member.strip_prefix("[].").unwrap();
                let object = &schemas[command]["result"]["$defs"]["command-schema"]["properties"][name];
                assert_eq!(object["type"], "object", "{command} {member}");
            }
        }
    }
}

/// The tables of files are those of the folders.
#[test]
fn every_file_is_in_its_table() {
    for (folder, table) in [("guest", crate::GUEST), ("extension", crate::EXTENSION)] {
        let entries = std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(table.iter().map(|(name, _)| *name).collect::<Vec<_>>(), files);
    }
}

/// The WIT is the manual: nothing stands in it without a word, and every argument has its point in the list of its function.
#[test]
fn everything_has_docs() {
    for files in [crate::GUEST, crate::EXTENSION] {
        let mut resolve = Resolve::default();
        let package = parse(&mut resolve, files).unwrap_or_else(|error| panic!("{error}"));
        let mut silent = Vec::new();
        let mut said = |docs: &wit_parser::Docs, what: String| {
            if docs.contents.is_none() {
                silent.push(what);
            }
        };
        said(&resolve.packages[package].docs, "the package".into());
        for (_, interface) in resolve.interfaces.iter() {
            let name = interface.name.clone().unwrap();
            said(&interface.docs, name.clone());
            for function in interface.functions.values() {
                said(&function.docs, format!("{name} {}", function.name));
                let docs = docs::of_function(&function.docs);
                let arguments: Vec<_> = function.params.iter().map(|param| param.name.as_str()).collect();
                assert_eq!(docs.names().collect::<Vec<_>>(), arguments, "{name} {}", function.name);
            }
            for (ty, id) in &interface.types {
                let definition = &resolve.types[*id];
                if matches!(definition.kind, TypeDefKind::Type(Type::Id(_))) {
                    continue; // a `use`
                }
                said(&definition.docs, format!("{name} {ty}"));
                let parts: Vec<_> = match &definition.kind {
                    TypeDefKind::Record(record) => {
                        record.fields.iter().map(|field| (&field.docs, &field.name)).collect()
                    }
                    TypeDefKind::Enum(cases) => {
                        cases.cases.iter().map(|case| (&case.docs, &case.name)).collect()
                    }
                    TypeDefKind::Variant(variant) => {
                        variant.cases.iter().map(|case| (&case.docs, &case.name)).collect()
                    }
                    TypeDefKind::Type(_) => Vec::new(),
                    other => panic!("{name} {ty}: nobody looks for the docs of {other:?}"),
                };
                for (docs, part) in parts {
                    said(docs, format!("{name} {ty}.{part}"));
                }
            }
        }
        assert_eq!(silent, [""; 0]);
    }
}

/// An interface a command: toolchains import whole interfaces, used or not.
#[test]
fn every_interface_is_one_command() {
    let mut resolve = Resolve::default();
    parse(&mut resolve, crate::GUEST).unwrap();
    for (_, interface) in resolve.interfaces.iter() {
        let name = interface.name.as_deref().unwrap();
        let functions: Vec<_> = interface.functions.keys().map(String::as_str).collect();
        assert_eq!(functions, if name == "types" { vec![] } else { vec![name] });
    }
}
