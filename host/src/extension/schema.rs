//! What an extension's command takes and gives, for whoever asks: from the docs and types of its WIT, else from its types alone.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use waga_builtins::{CommandSchema, Json};

use super::description::{Command, Kind};
use super::shape::schema::{arguments, result};

/// What the compiler wrote of a command whose WIT it could read.
#[derive(Deserialize)]
struct Written {
    docs: Option<String>,
    arguments: Value,
    result: Value,
}

/// Of a command that is known.
pub(super) fn of(command: &Command, extension: &Arc<str>) -> CommandSchema {
    let written =
        command.schema.as_ref().and_then(|schema| serde_json::from_str::<Written>(schema.text()).ok());
    if let Some(written) = written {
        return CommandSchema {
            docs: written.docs,
            arguments: Json::of(&written.arguments),
            result: Json::of(&written.result),
            ..any(&command.name, extension, None)
        };
    }
    match &command.kind {
        Kind::Typed(signature) => CommandSchema {
            arguments: Json::of(&arguments(signature)),
            result: Json::of(&result(signature)),
            ..any(&command.name, extension, None)
        },
        Kind::Handler => {
            let note = "speaks JSON of its own: what it takes and gives, only its author can say";
            any(&command.name, extension, Some(note.to_owned()))
        }
        Kind::Refused(reason) => any(&command.name, extension, Some(format!("cannot be called: {reason}"))),
    }
}

/// Of a command whose types are not known.
pub(super) fn any(command: &str, extension: &Arc<str>, note: Option<String>) -> CommandSchema {
    CommandSchema {
        name: command.into(),
        docs: None,
        arguments: Json::of(&json!({"type": "object"})),
        result: Json::of(&json!({})),
        extension: Some(extension.clone()),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::description::Signature;

    #[test]
    fn docs_come_from_wit_and_types_from_the_component_where_there_is_none() {
        let signature = Signature {
            interface: "test:it/i".into(),
            params: vec![("number".into(), crate::extension::shape::Shape::U8)],
            result: None,
            error: None,
        };
        let extension: Arc<str> = "x".into();
        let told = |kind: Kind, schema: Option<Value>| {
            let schema = schema.as_ref().map(Into::into);
            of(&Command { name: "guest-test-x".into(), kind, schema }, &extension)
        };
        let wit = json!({"docs": "Does it.", "arguments": {"type": "object"}, "result": {"type": "string"}});
        let of_wit = told(Kind::Typed(signature.clone()), Some(wit));
        assert_eq!(of_wit.docs.as_deref(), Some("Does it."));
        assert_eq!(of_wit.result.text(), r#"{"type": "string"}"#);
        let of_types = told(Kind::Typed(signature), None);
        assert_eq!(
            (&of_types.docs, &of_types.note, of_types.result.text()),
            (&None, &None, r#"{"type": "object"}"#)
        );
        assert!(of_types.arguments.text().contains(r#""number": {"type": "integer""#));
        let handler = told(Kind::Handler, None);
        assert_eq!((handler.arguments.text(), handler.result.text()), (r#"{"type": "object"}"#, "{}"));
        assert!(handler.note.is_some_and(|note| note.contains("JSON of its own")));
        let refused = told(Kind::Refused("result: a stream has no JSON".into()), None);
        assert_eq!(refused.note.as_deref(), Some("cannot be called: result: a stream has no JSON"));
    }
}
