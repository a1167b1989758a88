//! What must hold for whatever types, values, arguments and components come: the judge of property tests and of the fuzz targets in
//! `tests/fuzz`. Every function panics where something does not hold. Only built for tests, and under the feature `oracle`.

use wasmtime::component::{Component, Val};

use super::description::{Description, Kind};
use super::reflect;
use super::shape::Shape;
use super::values::{self, Budget, Unspelt};
use crate::config::command_name::is_command;
use crate::wire::{Event, Framer, Request};

/// The most that is written, and that values may take when they are read again.
const MOST: usize = 1 << 20;
/// Levels of the types that are made up.
const DEEPEST: usize = 5;
/// What members, cases, enums and flags are called.
const NAMES: [&str; 6] = ["a", "ok", "err", "value", "b-2", "long-name"];

/// The first bytes make up a type and a value of it, which is written and must read back as it was. The rest are arguments for that
/// type: they are refused, or are values within their budget that come back, too.
///
/// # Panics
/// It does not hold.
pub fn values(input: &[u8]) {
    let mut noise = Noise(input);
    let shape = if noise.choice(4) == 0 {
        Shape::Option(Box::new(noise.shape(DEEPEST)))
    } else {
        noise.shape(DEEPEST)
    };
    let value = noise.value(&shape);
    let budget = usize::from(noise.byte()) << 4;
    comes_back(&value, &shape);
    let Ok(text) = std::str::from_utf8(noise.0) else { return };
    let Ok(values) = read(text, &shape, budget) else { return };
    let [value] = &values[..] else { panic!("{values:?} of one argument") };
    assert!(cost(value) <= budget, "{} bytes of values where {budget} may be", cost(value));
    comes_back(value, &shape);
}

/// A script whose comments say what arguments are, then, from a line of `---` on, arguments: whatever its author wrote is a schema that can be
/// checked, or is refused with its line; what passes the check is what the schema says, as far as the words go that both know.
///
/// # Panics
/// It does not hold.
pub fn script(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, arguments) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    for said in super::scripts::said(text) {
        let Ok(schema) = said else { continue };
        let rule = super::scripts::Rule::of(&schema).expect("what a comment says can be checked");
        let message = format!("{{\"execute\":\"x\",\"arguments\":{arguments}}}\n");
        let Some(Event::Message(message)) = Framer::default().feed(message.as_bytes()).1 else { continue };
        let Ok(request) = Request::try_from(message) else { continue };
        if rule.check(request.arguments.text()).is_ok() {
            let given: serde_json::Value = serde_json::from_slice(request.arguments.text()).expect("checked");
            for name in schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
                assert!(given.get(name).is_some(), "{name} is required, and not in {given}");
            }
            let known = |name: &String| schema["properties"].get(name).is_some();
            let is_closed = schema["additionalProperties"] == false;
            assert!(!is_closed || given.as_object().is_some_and(|given| given.keys().all(known)), "{given}");
        }
    }
}

/// A value is written, and read as what it was.
fn comes_back(value: &Val, shape: &Shape) {
    let mut text = Vec::new();
    match values::write(&mut text, value, shape, MOST) {
        Ok(()) => {}
        Err(Unspelt::TooLong) => return,
        Err(fault) => panic!("{fault:?}: {value:?} of {shape:?}"),
    }
    assert!(text.len() <= MOST && text.is_ascii());
    let text = String::from_utf8(text).expect("ASCII");
    // As many values as it has bytes are the most that it can have.
    let again = read(&text, shape, (text.len() + 2) * 2 * size_of::<Val>());
    let again = again.unwrap_or_else(|fault| panic!("{fault}: {text} of {shape:?}"));
    assert_eq!(again.first(), Some(value), "{text}");
}

/// Reads the text of an argument as a client would send it.
fn read(text: &str, shape: &Shape, budget: usize) -> Result<Vec<Val>, String> {
    let request = format!(r#"{{"execute":"x","arguments":{{"x":{text}}}}}"#);
    let (taken, event) = Framer::default().feed(request.as_bytes());
    let Some(Event::Message(message)) = event.filter(|_| taken == request.len()) else {
        return Err("no message".into());
    };
    let request = Request::try_from(message).map_err(|response| format!("{response:?}"))?;
    let params = [("x".to_owned(), shape.clone())];
    values::arguments(request.arguments.text(), &params, &mut Budget::new(budget))
        .map_err(|fault| fault.to_string())
        .inspect_err(|fault| assert!(!fault.is_empty()))
}

/// Bytes that a value takes at the least.
fn cost(value: &Val) -> usize {
    let all = |values: &[Val]| values.iter().map(cost).sum::<usize>();
    let some = |value: &Option<Box<Val>>| value.as_deref().map_or(0, cost);
    size_of::<Val>()
        + match value {
            Val::String(text) | Val::Enum(text) => text.len(),
            Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => all(values),
            Val::Record(fields) => fields.iter().map(|(name, value)| name.len() + cost(value)).sum(),
            Val::Option(value) | Val::Result(Ok(value) | Err(value)) => some(value),
            Val::Variant(name, value) => name.len() + some(value),
            Val::Flags(names) => names.iter().map(String::len).sum(),
            _ => 0,
        }
}

/// A description in a cache: it is not understood, or reads back as what it says.
///
/// # Panics
/// It does not hold.
pub fn description(text: &[u8]) {
    if let Ok(description) = serde_json::from_slice::<Description>(text) {
        same(&description);
    }
}

/// A component that was accepted: what is found out about it has names of commands, each once, and can be kept.
///
/// # Panics
/// It does not hold.
pub fn component(component: &Component) {
    let description = reflect::describe(component);
    for (at, command) in description.commands.iter().enumerate() {
        assert!(is_command(&command.name), "{}", command.name);
        assert!(description.commands[..at].iter().all(|other| other.name != command.name));
        if let Kind::Refused(reason) = &command.kind {
            assert!(!reason.is_empty() && !reason.contains('\n'));
        }
    }
    same(&description);
}

fn same(description: &Description) {
    let text = serde_json::to_vec(description).expect("a description has a text");
    let again: Description = serde_json::from_slice(&text).expect("and is read from it");
    assert_eq!(again, *description);
}

/// Bytes that choose; zeros once there are no more.
struct Noise<'a>(&'a [u8]);

impl Noise<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn choice(&mut self, of: usize) -> usize {
        usize::from(self.byte()) % of
    }

    fn number(&mut self) -> u64 {
        // Of any size, small ones more often.
        let bytes = self.choice(9);
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn names(&mut self) -> Vec<String> {
        let count = 1 + self.choice(NAMES.len());
        NAMES[..count].iter().map(|name| (*name).to_owned()).collect()
    }

    fn shape(&mut self, depth: usize) -> Shape {
        let kinds = if depth == 0 { 16 } else { 23 };
        match self.choice(kinds) {
            0 => Shape::Bool,
            1 => Shape::U8,
            2 => Shape::S8,
            3 => Shape::U16,
            4 => Shape::S16,
            5 => Shape::U32,
            6 => Shape::S32,
            7 => Shape::U64,
            8 => Shape::S64,
            9 => Shape::F32,
            10 => Shape::F64,
            11 => Shape::Char,
            12 => Shape::String,
            13 => Shape::Bytes,
            14 => Shape::Enum(self.names()),
            15 => Shape::Flags(self.names()),
            16 | 17 => match self.shape(depth - 1) {
                Shape::U8 => Shape::Bytes,
                element => Shape::List(Box::new(element)),
            },
            18 => Shape::Array(Box::new(self.shape(depth - 1)), u32::from(self.byte() % 4)),
            19 => Shape::Tuple((0..self.choice(4)).map(|_| self.shape(depth - 1)).collect()),
            20 => Shape::Record(self.fields(depth - 1)),
            21 => {
                let cases = self.names().into_iter().map(|name| {
                    let payload = match self.choice(3) {
                        0 => None,
                        1 => Some(Shape::Record(self.fields(depth - 1))),
                        _ => Some(self.shape(depth - 1)),
                    };
                    (name, payload)
                });
                Shape::Variant(cases.collect())
            }
            _ => {
                let mut arm = || (self.choice(2) == 0).then(|| Box::new(self.shape(depth - 1)));
                Shape::Result(arm(), arm())
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Vec<(String, Shape)> {
        let names = self.names().into_iter();
        let field = |name| {
            let shape = self.shape(depth);
            let optional = self.choice(3) == 0;
            (name, if optional { Shape::Option(Box::new(shape)) } else { shape })
        };
        names.map(field).collect()
    }

    fn value(&mut self, shape: &Shape) -> Val {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        match shape {
            Shape::Bool => Val::Bool(self.choice(2) == 0),
            Shape::U8 => Val::U8(self.byte()),
            Shape::S8 => Val::S8(self.byte().cast_signed()),
            Shape::U16 => Val::U16(self.number() as u16),
            Shape::S16 => Val::S16(self.number() as i16),
            Shape::U32 => Val::U32(self.number() as u32),
            Shape::S32 => Val::S32(self.number() as i32),
            Shape::U64 => Val::U64(self.number()),
            Shape::S64 => Val::S64(self.number().cast_signed()),
            Shape::F32 => {
                let number = f32::from_bits(self.number() as u32);
                Val::Float32(if number.is_finite() { number } else { 0.5 })
            }
            Shape::F64 => {
                let number = f64::from_bits(self.number());
                Val::Float64(if number.is_finite() { number } else { 0.5 })
            }
            Shape::Char => Val::Char(self.character()),
            Shape::String => Val::String((0..self.choice(8)).map(|_| self.character()).collect()),
            Shape::Bytes => Val::List((0..self.choice(8)).map(|_| Val::U8(self.byte())).collect()),
            Shape::List(shape) => Val::List((0..self.choice(4)).map(|_| self.value(shape)).collect()),
            Shape::Array(shape, count) => {
                Val::FixedLengthList((0..*count).map(|_| self.value(shape)).collect())
            }
            Shape::Tuple(shapes) => Val::Tuple(shapes.iter().map(|shape| self.value(shape)).collect()),
            Shape::Record(fields) => {
                Val::Record(fields.iter().map(|(name, shape)| (name.clone(), self.value(shape))).collect())
            }
            Shape::Option(shape) => Val::Option((self.choice(2) == 0).then(|| Box::new(self.value(shape)))),
            Shape::Enum(names) => Val::Enum(names[self.choice(names.len())].clone()),
            Shape::Flags(names) => {
                let mut set: Vec<String> = names.iter().filter(|_| self.choice(2) == 0).cloned().collect();
                set.sort_unstable();
                Val::Flags(set)
            }
            Shape::Variant(cases) => {
                let (name, payload) = &cases[self.choice(cases.len())];
                Val::Variant(name.clone(), payload.as_ref().map(|shape| Box::new(self.value(shape))))
            }
            Shape::Result(ok, err) => {
                let is_ok = self.choice(2) == 0;
                let shape = if is_ok { ok } else { err };
                let payload = shape.as_ref().map(|shape| Box::new(self.value(shape)));
                Val::Result(if is_ok { Ok(payload) } else { Err(payload) })
            }
        }
    }

    fn character(&mut self) -> char {
        let character = char::from_u32(u32::try_from(self.number() & 0x1f_ffff).expect("21 bits"));
        character.filter(|&character| !is_noncharacter(character)).unwrap_or('\u{fffd}')
    }
}

/// The 66 of Unicode that are none: messages with them are refused, as qemu-ga does, so values with them do not come back.
pub(super) fn is_noncharacter(character: char) -> bool {
    ('\u{fdd0}'..='\u{fdef}').contains(&character) || u32::from(character) & 0xfffe == 0xfffe
}
