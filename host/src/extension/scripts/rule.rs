//! What a script's arguments have to be: as much of JSON Schema as says something of a command's arguments, checked before the call and told in
//! the words of the agent's own commands.
//!
//! A keyword that is not checked is refused when the schema is read: whoever wrote it relies on it.

use serde_json::Value;
use waga_builtins::qapi::{Fault, Kind, Place, contents, elements, members};

/// How deep schemas may be nested, as arguments are.
const DEEPEST: usize = 32;

/// Keywords that say something to people only.
const NOTES: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
];

/// Those that are checked.
const CHECKED: &str = "type, enum, const, properties, required, additionalProperties, items, minimum, maximum, \
    exclusiveMinimum, exclusiveMaximum, minLength, maxLength, minItems, maxItems";

/// What a value has to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::extension) struct Rule {
    /// One of these types; any if there are none.
    types: Vec<Type>,
    /// One of these values.
    words: Option<Vec<Value>>,
    properties: Vec<(String, Rule)>,
    required: Vec<String>,
    /// Whether there must be no members that are not among the properties.
    is_closed: bool,
    /// What those have to be; anything, if nothing is said.
    others: Option<Box<Rule>>,
    items: Option<Box<Rule>>,
    least: Option<f64>,
    most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    /// Characters of a string, from and to.
    length: (Option<usize>, Option<usize>),
    /// Elements of an array, from and to.
    count: (Option<usize>, Option<usize>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
    Null,
}

impl Type {
    const ALL: [(&'static str, Self); 7] = [
        ("string", Self::String),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("object", Self::Object),
        ("array", Self::Array),
        ("null", Self::Null),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, it)| *it == self).map_or("", |(name, _)| name)
    }

    fn is_of(self, text: &[u8]) -> bool {
        match (self, text.first()) {
            (Self::String, Some(b'"')) | (Self::Object, Some(b'{')) | (Self::Array, Some(b'[')) => true,
            (Self::Boolean, _) => matches!(text, b"true" | b"false"),
            (Self::Null, _) => text == b"null",
            (Self::Number, Some(b'-' | b'0'..=b'9')) => true,
            (Self::Integer, Some(b'-' | b'0'..=b'9')) => {
                number(text).is_some_and(|number| number.fract() == 0.0)
            }
            _ => false,
        }
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Rule {
    /// Of a schema.
    ///
    /// # Errors
    /// What of it is not checked here, or is no schema.
    pub(in crate::extension) fn of(schema: &Value) -> Result<Self, String> {
        Self::read(schema, DEEPEST)
    }

    fn read(schema: &Value, depth: usize) -> Result<Self, String> {
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(true) => return Ok(Self::default()),
            Value::Bool(false) => return Ok(Self { words: Some(Vec::new()), ..Self::default() }),
            other => return Err(format!("'{other}' is no schema")),
        };
        let depth = depth.checked_sub(1).ok_or("the schema is nested too deeply")?;
        let mut rule = Self::default();
        for (key, value) in object {
            let wrong = |what: &str| format!("'{key}' has to be {what}");
            let limit = || {
                let limit = value.as_u64().and_then(|number| usize::try_from(number).ok());
                limit.map(Some).ok_or_else(|| wrong("a whole number"))
            };
            let bound = || value.as_f64().map(Some).ok_or_else(|| wrong("a number"));
            match key.as_str() {
                "type" => rule.types = types(value)?,
                "enum" => {
                    rule.words = Some(value.as_array().ok_or_else(|| wrong("a list of values"))?.clone());
                }
                "const" => rule.words = Some(vec![value.clone()]),
                "properties" => {
                    let properties = value.as_object().ok_or_else(|| wrong("an object of schemas"))?;
                    for (name, schema) in properties {
                        rule.properties.push((name.clone(), Self::read(schema, depth)?));
                    }
                }
                "required" => {
                    let names = value.as_array().into_iter().flatten();
                    let names: Option<Vec<_>> = names.map(|name| name.as_str().map(str::to_owned)).collect();
                    rule.required =
                        names.filter(|_| value.is_array()).ok_or_else(|| wrong("a list of names"))?;
                }
                "additionalProperties" => match value {
                    Value::Bool(closed) => rule.is_closed = !closed,
                    schema => rule.others = Some(Box::new(Self::read(schema, depth)?)),
                },
                "items" => rule.items = Some(Box::new(Self::read(value, depth)?)),
                "minimum" => rule.least = bound()?,
                "maximum" => rule.most = bound()?,
                "exclusiveMinimum" => rule.above = bound()?,
                "exclusiveMaximum" => rule.below = bound()?,
                "minLength" => rule.length.0 = limit()?,
                "maxLength" => rule.length.1 = limit()?,
                "minItems" => rule.count.0 = limit()?,
                "maxItems" => rule.count.1 = limit()?,
                note if NOTES.contains(&note) || note.starts_with("x-") => {}
                other => {
                    return Err(format!(
                        "'{}' is not checked here, and whoever wrote it relies on it; what is checked: {CHECKED}",
                        other.escape_debug()
                    ));
                }
            }
        }
        Ok(rule)
    }

    /// The names of the arguments that it knows.
    pub(in crate::extension) fn names(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there must be no others.
    pub(in crate::extension) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Checks arguments: checked, compact text of an object.
    ///
    /// # Errors
    /// The first that is not as it has to be.
    pub(in crate::extension) fn check(&self, arguments: &[u8]) -> Result<(), Fault> {
        self.value(arguments, &Place::Root)
    }

    fn value(&self, text: &[u8], place: &Place<'_>) -> Result<(), Fault> {
        if !self.types.is_empty() && !self.types.iter().any(|it| it.is_of(text)) {
            let names: Vec<_> = self.types.iter().map(|it| it.name()).collect();
            return Err(Fault::wrong_type(&names.join(" or ")).at(place));
        }
        if let Some(words) = &self.words {
            let value: Option<Value> = serde_json::from_slice(text).ok();
            if !words.iter().any(|word| value.as_ref().is_some_and(|value| same(word, value))) {
                let shown = match text.first() {
                    Some(b'"') => contents(text).into_owned(),
                    _ => String::from_utf8_lossy(text).into_owned(),
                };
                return Err(
                    Fault::new(Kind::BadValue(waga_builtins::qapi::shorten(&shown).to_owned())).at(place)
                );
            }
        }
        match text.first() {
            Some(b'{') => self.object(text, place),
            Some(b'[') => self.array(text, place),
            Some(b'"') => {
                let length = contents(text).chars().count();
                within(self.length, length, "characters", place)
            }
            Some(b'-' | b'0'..=b'9') => self.number(text, place),
            _ => Ok(()),
        }
    }

    fn object(&self, text: &[u8], place: &Place<'_>) -> Result<(), Fault> {
        let mut found = vec![false; self.required.len()];
        let mut unexpected = None;
        for (key, value) in members(text) {
            let key = contents(key);
            if let Some(at) = self.required.iter().position(|name| *name == key) {
                found[at] = true;
            }
            let inner = Place::Member(place, &key);
            match (self.properties.iter().find(|(name, _)| *name == key), &self.others) {
                (Some((_, rule)), _) => rule.value(value, &inner)?,
                (None, Some(rule)) => rule.value(value, &inner)?,
                // What is missing is told before what is too much, as the agent's own commands do.
                (None, None) if !self.is_closed => {}
                (None, None) => {
                    unexpected.get_or_insert_with(|| Fault::new(Kind::Unexpected).at(&inner));
                }
            }
        }
        if let Some(at) = found.iter().position(|found| !found) {
            return Err(Fault::new(Kind::Missing).at(&Place::Member(place, &self.required[at])));
        }
        unexpected.map_or(Ok(()), Err)
    }

    fn array(&self, text: &[u8], place: &Place<'_>) -> Result<(), Fault> {
        let mut count = 0;
        for (at, element) in elements(text).enumerate() {
            count = at + 1;
            if let Some(rule) = &self.items {
                rule.value(element, &Place::Element(place, at))?;
            }
        }
        within(self.count, count, "elements", place)
    }

    fn number(&self, text: &[u8], place: &Place<'_>) -> Result<(), Fault> {
        let Some(number) = number(text) else { return Ok(()) };
        let bounds = [
            (self.least, "at least", self.least.is_none_or(|bound| number >= bound)),
            (self.most, "at most", self.most.is_none_or(|bound| number <= bound)),
            (self.above, "more than", self.above.is_none_or(|bound| number > bound)),
            (self.below, "less than", self.below.is_none_or(|bound| number < bound)),
        ];
        match bounds.into_iter().find(|(_, _, holds)| !holds) {
            Some((Some(bound), words, _)) => Err(expects(&format!("{words} {bound}"), place)),
            _ => Ok(()),
        }
    }
}

fn within(
    (least, most): (Option<usize>, Option<usize>),
    is: usize,
    what: &str,
    place: &Place<'_>,
) -> Result<(), Fault> {
    match (least.filter(|least| is < *least), most.filter(|most| is > *most)) {
        (Some(least), _) => Err(expects(&format!("at least {least} {what}"), place)),
        (_, Some(most)) => Err(expects(&format!("at most {most} {what}"), place)),
        (None, None) => Ok(()),
    }
}

fn expects(what: &str, place: &Place<'_>) -> Fault {
    Fault::new(Kind::Other(format!("Parameter '{place}' expects {what}")))
}

/// Whether two values are the same, `1` and `1.0` among them.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

fn types(value: &Value) -> Result<Vec<Type>, String> {
    let known = |value: &Value| {
        let named = Type::ALL.iter().find(|(name, _)| value == name);
        named.map(|(_, it)| *it).ok_or_else(|| format!("{value} is no type of JSON Schema"))
    };
    match value {
        Value::Array(types) => types.iter().map(known).collect(),
        one => Ok(vec![known(one)?]),
    }
}

#[cfg(test)]
mod tests;
