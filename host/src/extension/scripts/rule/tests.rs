//! Arguments beside schemas, and schemas beside a library that knows all of JSON Schema.

use serde_json::json;

use super::*;

fn told(schema: &Value, arguments: &Value) -> Option<String> {
    let text = arguments.to_string();
    Rule::of(schema).unwrap().check(text.as_bytes()).err().map(|fault| fault.to_string())
}

#[test]
fn arguments_are_checked_in_the_words_of_the_agents_own_commands() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 3},
            "times": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10},
            "how": {"enum": ["loud", 7]},
            "list": {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "maxItems": 2},
            "deep": {"properties": {"x": {"const": true}}, "additionalProperties": {"type": "number"}},
        },
        "required": ["name"],
        "additionalProperties": false,
    });
    for (arguments, expected) in [
        (
            json!({"name": "x", "times": 9, "how": 7.0, "list": [null, "a"], "deep": {"x": true, "y": 1.5}}),
            None,
        ),
        (json!({"name": "éüö"}), None),
        (json!({}), Some("Parameter 'name' is missing")),
        (json!({"nam": 1}), Some("Parameter 'name' is missing")),
        (json!({"name": "x", "nam": 1}), Some("Parameter 'nam' is unexpected")),
        (json!({"name": 1}), Some("Invalid parameter type for 'name', expected: string")),
        (json!({"name": ""}), Some("Parameter 'name' expects at least 1 characters")),
        (json!({"name": "long"}), Some("Parameter 'name' expects at most 3 characters")),
        (json!({"name": "x", "times": 1.5}), Some("Invalid parameter type for 'times', expected: integer")),
        (json!({"name": "x", "times": 0}), Some("Parameter 'times' expects at least 1")),
        (json!({"name": "x", "times": 10}), Some("Parameter 'times' expects less than 10")),
        (json!({"name": "x", "how": "soft"}), Some("Parameter 'how' does not accept value 'soft'")),
        (json!({"name": "x", "list": []}), Some("Parameter 'list' expects at least 1 elements")),
        (
            json!({"name": "x", "list": [1]}),
            Some("Invalid parameter type for 'list[0]', expected: string or null"),
        ),
        (
            json!({"name": "x", "deep": {"x": false}}),
            Some("Parameter 'deep.x' does not accept value 'false'"),
        ),
        (
            json!({"name": "x", "deep": {"y": "z"}}),
            Some("Invalid parameter type for 'deep.y', expected: number"),
        ),
    ] {
        assert_eq!(told(&schema, &arguments).as_deref(), expected, "{arguments}");
    }
}

#[test]
fn schemas_say_what_json_schema_says() {
    // Where it speaks of what it knows, it is the library's word.
    let schemas = [
        json!({}),
        json!(true),
        json!(false),
        json!({"type": "object", "required": ["a"]}),
        json!({"properties": {"a": {"type": ["integer", "boolean"]}}, "additionalProperties": {"type": "string"}}),
        json!({"properties": {"a": {"minimum": 2, "maximum": 4.5}}}),
        json!({"properties": {"a": {"enum": [1, "x", null, [1], {"b": 2}]}}}),
        json!({"properties": {"a": {"items": {"type": "number"}, "maxItems": 1}}, "additionalProperties": false}),
    ];
    let values = [
        json!({}),
        json!({"a": 1}),
        json!({"a": 1.0}),
        json!({"a": 3}),
        json!({"a": 4.6}),
        json!({"a": "x"}),
        json!({"a": null}),
        json!({"a": true}),
        json!({"a": [1]}),
        json!({"a": [1, 2]}),
        json!({"a": ["x"]}),
        json!({"a": {"b": 2}}),
        json!({"b": 1}),
        json!({"b": "x"}),
    ];
    for schema in &schemas {
        let validator = jsonschema::validator_for(schema).unwrap();
        for value in &values {
            assert_eq!(told(schema, value).is_none(), validator.is_valid(value), "{schema} {value}");
        }
    }
}

#[test]
fn what_is_not_checked_is_refused() {
    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({"items": deep});
    }
    for (schema, expected) in [
        (json!({"oneOf": []}), "'oneOf' is not checked here"),
        (json!({"properties": {"a": {"pattern": "x"}}}), "'pattern' is not checked here"),
        (json!({"type": "text"}), "\"text\" is no type of JSON Schema"),
        (json!({"required": "a"}), "'required' has to be a list of names"),
        (json!({"minLength": -1}), "'minLength' has to be a whole number"),
        (json!(7), "'7' is no schema"),
        (deep, "the schema is nested too deeply"),
    ] {
        let fault = Rule::of(&schema).unwrap_err();
        assert!(fault.starts_with(expected), "{fault}");
    }
}
