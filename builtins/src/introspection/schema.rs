//! What commands take and give, as JSON Schema. Where that comes from is no matter of this crate: it asks the catalogue.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::command::{Command, WhileFrozen};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::qapi::shorten;

/// Tells the schema of one command, or of all.
pub(super) struct WagaGetSchema;

/// The arguments of [`WagaGetSchema`].
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    command: Option<String>,
}

impl Command for WagaGetSchema {
    const NAME: &'static str = "waga-get-schema";
    // It reads memory only.
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Which;
    type Return = Vec<CommandSchema>;

    async fn run(cx: &Context, args: Which) -> Result<Vec<CommandSchema>> {
        let schemas = cx.schemas(args.command.as_deref());
        match args.command {
            Some(command) if schemas.is_empty() => {
                let text =
                    format!("there is no command '{}'; guest-info lists what there is", shorten(&command));
                Err(Error::generic(text))
            }
            _ => Ok(schemas),
        }
    }
}

/// One command and its types.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandSchema {
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// JSON Schema of its arguments.
    pub arguments: Json,
    /// JSON Schema of its result.
    pub result: Json,
    /// The extension that adds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Arc<str>>,
    /// What the schemas do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// JSON that goes out as it is: on one line, in ASCII, as the protocol spells it.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Spells a value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let text = String::from_utf8(crate::qapi::spell(value)).expect("what is spelt is ASCII");
        Self(RawValue::from_string(text).expect("what is spelt is JSON"))
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_an_object_in_the_reply_and_not_text() {
        let schema = CommandSchema {
            name: "guest-x".into(),
            docs: None,
            arguments: Json::of(&serde_json::json!({"type": "object"})),
            result: Json::of(&serde_json::json!({"description": "\u{fc}\n"})),
            extension: None,
            note: None,
        };
        let text = String::from_utf8(crate::qapi::spell(&schema)).unwrap();
        let expected =
            r#"{"name": "guest-x", "arguments": {"type": "object"}, "result": {"description": "\u00FC\n"}}"#;
        assert_eq!(text, expected);
    }
}
