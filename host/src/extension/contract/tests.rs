//! Functions beside the agent's own commands, and replies beside its schema.

use super::*;
use crate::extension::shape::Shape;

fn signature(params: &[(&str, Shape)], result: Option<Shape>) -> Signature {
    Signature {
        interface: "test:it/i".into(),
        params: params.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone())).collect(),
        result,
        error: None,
    }
}

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}

fn record(fields: &[(&str, Shape)]) -> Shape {
    Shape::Record(fields.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone())).collect())
}

#[test]
fn every_command_has_a_contract_and_nothing_else_has() {
    for builtin in waga_builtins::FAMILIES.iter().copied().flatten() {
        assert!(Contract::of(builtin.name).is_some(), "{}", builtin.name);
    }
    assert!(Contract::of("guest-acme-x").is_none());
}

#[test]
fn a_function_has_to_take_what_the_command_takes() {
    let misfit = |command: &str, params: &[(&str, Shape)], result| {
        Contract::of(command).unwrap().misfit(&signature(params, result))
    };
    let host_name = record(&[("host-name", Shape::String)]);
    assert_eq!(misfit("guest-get-host-name", &[], Some(host_name.clone())), None);
    for (params, result, expected) in [
        (&[][..], None, "result 'host-name': is not given"),
        (&[], Some(Shape::String), "result: is of another type than the agent's"),
        (
            &[],
            Some(record(&[("host-name", option(Shape::String))])),
            "result 'host-name': may be absent, and clients rely on it",
        ),
        (
            &[],
            Some(record(&[("host-name", Shape::U8)])),
            "result 'host-name': is of another type than the agent's",
        ),
        (
            &[("x", Shape::String)],
            Some(host_name),
            "argument 'x': no client gives it, so it has to be an option",
        ),
    ] {
        assert_eq!(misfit("guest-get-host-name", params, result).as_deref(), Some(expected));
    }
    let open = |path: Shape, mode: Shape| {
        misfit("guest-file-open", &[("path", path), ("mode", mode)], Some(Shape::S64))
    };
    assert_eq!(open(Shape::String, option(Shape::String)), None);
    assert_eq!(
        open(Shape::String, Shape::String).as_deref(),
        Some("argument 'mode': has to be an option: clients may leave it away")
    );
    assert_eq!(
        misfit("guest-file-open", &[("path", Shape::String)], Some(Shape::S64)).as_deref(),
        Some("argument 'mode': is not taken")
    );
    assert_eq!(
        misfit("guest-sync", &[("id", Shape::U32)], Some(Shape::S64)).as_deref(),
        Some("argument 'id': is a whole number of another range than the agent's")
    );
}

#[test]
fn a_reply_has_to_be_what_clients_expect() {
    let breach = |command: &str, text: &str| Contract::of(command).unwrap().breach(text.as_bytes());
    assert_eq!(breach("guest-get-host-name", r#"{"host-name":"x","new":1}"#), None);
    assert_eq!(breach("guest-ping", "{}"), None);
    for (command, text, expected) in [
        ("guest-get-host-name", "{}", "it has no member 'host-name'"),
        ("guest-get-host-name", "[]", "it is no object"),
        ("guest-get-host-name", r#"{"host-name":1}"#, "'host-name' is no string"),
        ("guest-get-time", r#""soon""#, "it is no integer"),
        ("guest-get-time", "99999999999999999999", "it is out of range"),
        ("guest-network-get-interfaces", r#"[{"hardware-address":"x"}]"#, "'[0]' has no member 'name'"),
        (
            "guest-network-get-interfaces",
            r#"[{"name":"lo","ip-addresses":[{"ip-address":"::1","ip-address-type":"ipv9","prefix":1}]}]"#,
            "'[0].ip-addresses[0].ip-address-type' has a value that is unknown",
        ),
    ] {
        assert_eq!(breach(command, text).as_deref(), Some(expected), "{command} {text}");
    }
}
