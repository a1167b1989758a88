//! What a component is, as far as it can be known without running it: its commands with their types, and what it asks for. Made when it is
//! compiled, kept beside the artifact, and all that the daemon reads before the first call.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::shape::Shape;

/// The format of the text; another one is made anew.
pub const FORMAT: u32 = 2;

/// What a component is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Description {
    /// [`FORMAT`].
    pub format: u32,
    /// What it provides: exported functions with the name of a command, in the order of the component, then what its handler names.
    pub commands: Vec<Command>,
    /// The interfaces that it imports something but types of, `waga:extension/log@1.0.0` for example, in the order of the component.
    pub imports: Vec<String>,
    /// Whether it has functions that are told of freezing and thawing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze_hooks: bool,
    /// Bytes that its largest memory has from the beginning.
    pub memory: u64,
}

/// One command of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Command {
    /// Its name.
    pub name: String,
    /// How it is called.
    pub kind: Kind,
    /// Its schema with the docs of its WIT, as JSON: `{"docs", "arguments", "result"}`. Absent where no WIT says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

/// JSON that is kept as text: at the start nobody looks into it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema(Box<RawValue>);

impl Schema {
    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl From<&serde_json::Value> for Schema {
    fn from(value: &serde_json::Value) -> Self {
        Self(to_raw_value(value).expect("a value is JSON"))
    }
}

/// How a command is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// By a function of its own.
    Typed(Signature),
    /// Through `waga:extension/handler`.
    Handler,
    /// Not at all: its types, or what is wrong with them.
    Refused(String),
}

/// The types of a function, as far as JSON is concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Signature {
    /// The exported interface that has the function, `acme:memory/usage@0.1.0` for example.
    pub interface: String,
    /// The arguments, in the order of the function.
    pub params: Vec<(String, Shape)>,
    /// What it returns if all goes well.
    pub result: Option<Shape>,
    /// What its error arm is; `None`: it has none.
    pub error: Option<Fault>,
}

/// What an error arm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// `result<_>`: no more than that it failed.
    Nothing,
    /// A string: the description.
    Text,
    /// A record of `class` and `desc`.
    Error,
}
