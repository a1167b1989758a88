//! Each kind of type, names that are taken, and that nothing is used that is not defined.

use std::collections::HashSet;

use serde_json::json;
use waga_builtins::Json;

use super::*;
use crate::registry::Registry;

fn command(name: &str, arguments: Value, result: Value) -> (CommandSchema, bool) {
    let (arguments, result) = (Json::of(&arguments), Json::of(&result));
    let docs = Some("Does it.".to_owned());
    (CommandSchema { name: name.into(), docs, arguments, result, extension: None, note: None }, true)
}

#[test]
fn a_command_reads_like_one_of_qapi() {
    let (mut it, _) = command(
        "guest-acme-x",
        json!({
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 0, "maximum": 255, "description": "how large, in bytes, and so that this is longer than a line of a comment may be"},
                "mode": {"anyOf": [{"$ref": "#/$defs/mode"}, {"enum": [false, true]}]},
            },
            "required": ["size"],
            "additionalProperties": false,
            "$defs": {"mode": {"type": "string", "oneOf": [{"const": "on"}, {"const": "off", "description": "Not on."}], "description": "How."}},
        }),
        json!({"type": "array", "items": {"$ref": "#/$defs/disk"}, "$defs": {"disk": {
            "type": "object", "properties": {"free_space": {"type": "integer", "minimum": 0, "maximum": u64::MAX}},
        }}}),
    );
    it.extension = Some("acme".into());
    let expected = "# -*- Mode: Python -*-
# vim: filetype=python
#
# Made by waga schema.

{ 'pragma': {
    'member-name-exceptions': [ 'Disk' ] } }

##
# @Mode:
#
# How.
#
# @on: Not documented
#
# @off: Not on.
##
{ 'enum': 'Mode',
  'data': [ 'on',
            'off' ] }

##
# @GuestAcmeXMode:
#
# @word: the word for it
#
# @flag: what older clients write for it
##
{ 'alternate': 'GuestAcmeXMode',
  'data': { 'word': 'Mode',
            'flag': 'bool' } }

##
# @Disk:
#
# @free_space: Not documented
##
{ 'struct': 'Disk',
  'data': { '*free_space': 'uint64' } }

##
# @guest-acme-x:
#
# Does it.
#
# @size: how large, in bytes, and so that this is longer than a
#     line of a comment may be
#
# @mode: Not documented
#
# Added by the extension acme.
##
{ 'command': 'guest-acme-x',
  'data': { 'size': 'uint8',
            '*mode': 'GuestAcmeXMode' },
  'returns': ['Disk'] }
";
    assert_eq!(text(&[(it, true)]), expected);
}

#[test]
fn cases_are_a_union_and_what_has_no_type_is_any() {
    let result = json!({"oneOf": [
        {"type": "object", "properties": {"type": {"const": "none"}}, "required": ["type"]},
        {"type": "object", "properties": {"type": {"const": "some"}, "value": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}}, "required": ["type", "value"]},
    ]});
    let text = text(&[
        command("guest-a-b", json!({"type": "object"}), result),
        command(
            "guest-c-d",
            json!({"type": "object", "additionalProperties": false}),
            json!({"type": "string"}),
        ),
        (
            command(
                "guest-e-f",
                json!({"type": "object", "additionalProperties": false}),
                json!({"type": "object"}),
            )
            .0,
            false,
        ),
    ]);
    for expected in [
        "{ 'enum': 'GuestABResultType',\n  'data': [ 'none',\n            'some' ] }",
        "{ 'struct': 'GuestABResultSome',\n  'data': { 'value': ['any'] } }",
        "{ 'union': 'GuestABResult',\n  'base': { 'type': 'GuestABResultType' },\n  'discriminator': 'type',\n  'data': { 'some': 'GuestABResultSome' } }",
        "{ 'command': 'guest-a-b',\n  'gen': false,\n  'returns': 'GuestABResult' }",
        "{ 'command': 'guest-c-d',\n  'returns': 'str' }",
        "{ 'command': 'guest-e-f',\n  'success-response': false }",
        "'command-returns-exceptions': [ 'guest-c-d' ]",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn a_name_that_two_types_have_is_one_of_them() {
    let one = |ty: &str| json!({"$ref": "#/$defs/it", "$defs": {"it": {"type": "object", "properties": {"x": {"type": ty}}, "required": ["x"]}}});
    let nothing = json!({"type": "object", "additionalProperties": false});
    let text = text(&[
        command("guest-a", nothing.clone(), one("string")),
        command("guest-b", nothing.clone(), one("boolean")),
        command("guest-c", nothing, one("string")),
    ]);
    assert_eq!(text.matches("'struct': 'It'").count(), 1, "{text}");
    assert!(text.contains("'command': 'guest-b',\n  'returns': 'GuestBIt'"), "{text}");
    assert!(text.contains("'command': 'guest-c',\n  'returns': 'It'"), "{text}");
}

#[test]
fn every_command_is_there_and_every_type_is_defined_once() {
    let registry = Registry::builtins();
    let all: Vec<_> = crate::schema::of(&registry, None).into_iter().map(|it| (it, true)).collect();
    let text = text(&all);
    let mut defined = HashSet::new();
    for line in text.lines() {
        for key in ["{ 'struct': '", "{ 'enum': '", "{ 'union': '", "{ 'alternate': '", "{ 'command': '"] {
            if let Some(rest) = line.strip_prefix(key) {
                let name = rest.split('\'').next().unwrap();
                assert!(defined.insert(name.to_owned()), "{name} is there twice");
            }
        }
        assert!(!line.starts_with('#') || line.len() <= 70, "{line}");
    }
    for slot in registry.slots() {
        assert!(defined.contains(&*slot.name), "{}", slot.name);
    }
    // The values of members: types, but for the lists of words.
    let used = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
        line.split("': ")
            .skip(1)
            .filter_map(|rest| rest.trim_start_matches("['").trim_start_matches('\'').split('\'').next())
    });
    let own = [
        "str", "int", "bool", "number", "any", "uint8", "uint16", "uint32", "uint64", "int8", "int16",
        "int32", "type",
    ];
    for name in used.filter(|name| {
        !name.starts_with(['{', '[', 'f']) && !name.starts_with("guest-") && !name.starts_with("waga-")
    }) {
        assert!(defined.contains(name) || own.contains(&name), "{name} is nowhere");
    }
    assert!(text.contains("'returns': 'AgentStats'"), "{text}");
}
