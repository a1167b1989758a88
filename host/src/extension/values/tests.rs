//! What becomes what, what is refused and where, and that values come back as they went.

use proptest::prelude::*;
use wasmtime::component::Val;

use super::*;
use crate::extension::oracle::is_noncharacter;
use crate::extension::shape::Shape;

fn text(text: &str) -> String {
    text.to_owned()
}

fn read(json: &str, shape: &Shape) -> Result<Val, String> {
    let json = format!(r#"{{"x":{json}}}"#);
    let params = [(text("x"), shape.clone())];
    let values = arguments(json.as_bytes(), &params, &mut Budget::new(1 << 20));
    values.map(|mut values| values.remove(0)).map_err(|fault| fault.to_string())
}

fn written(value: &Val, shape: &Shape) -> Result<String, Unspelt> {
    let mut out = Vec::new();
    write(&mut out, value, shape, 1 << 20)?;
    Ok(String::from_utf8(out).unwrap())
}

fn record() -> Shape {
    Shape::Record(vec![(text("size"), Shape::U64), (text("label"), Shape::Option(Box::new(Shape::String)))])
}

fn choice() -> Shape {
    Shape::Variant(vec![
        (text("none"), None),
        (text("disk"), Some(record())),
        (text("count"), Some(Shape::U8)),
    ])
}

#[test]
fn each_type_has_its_json_and_comes_back() {
    let numbers = Shape::List(Box::new(Shape::S16));
    for (shape, json) in [
        (Shape::Bool, "true"),
        (Shape::U8, "255"),
        (Shape::S8, "-128"),
        (Shape::U64, "18446744073709551615"),
        (Shape::S64, "-9223372036854775808"),
        (Shape::F32, "0.10000000000000001"),
        (Shape::F64, "0.10000000000000001"),
        (Shape::Char, r#""\u00E9""#),
        (Shape::String, r#""a\n\"\u0001""#),
        (Shape::Bytes, r#""aGk=""#),
        (numbers.clone(), "[-1, 0, 1]"),
        (Shape::Array(Box::new(Shape::U8), 2), "[1, 2]"),
        (Shape::Tuple(vec![Shape::U8, Shape::String]), r#"[1, "x"]"#),
        (record(), r#"{"size": 1, "label": "x"}"#),
        (record(), r#"{"size": 1}"#),
        (Shape::Enum(vec![text("up"), text("down")]), r#""down""#),
        (Shape::Flags(vec![text("a"), text("b")]), r#"["a", "b"]"#),
        (choice(), r#"{"type": "none"}"#),
        (choice(), r#"{"type": "disk", "size": 2, "label": "y"}"#),
        (choice(), r#"{"type": "count", "value": 3}"#),
        (Shape::Result(Some(Box::new(Shape::U8)), None), r#"{"ok": 1}"#),
        (Shape::Result(Some(Box::new(Shape::U8)), None), r#"{"err": {}}"#),
        (Shape::Option(Box::new(Shape::U8)), "null"),
        (Shape::Option(Box::new(Shape::U8)), "1"),
    ] {
        // The text between framer and commands has no white space between tokens.
        let checked = json.replace("\": ", "\":").replace(", ", ",");
        let value = read(&checked, &shape).unwrap_or_else(|fault| panic!("{json}: {fault}"));
        assert_eq!(written(&value, &shape).unwrap(), json);
    }
}

#[test]
fn faults_name_their_place() {
    let list = Shape::List(Box::new(record()));
    for (shape, json, expected) in [
        (Shape::Bool, "1", "Invalid parameter type for 'x', expected: boolean"),
        (Shape::U8, "256", "Parameter 'x' expects uint8"),
        (Shape::U8, "-1", "Parameter 'x' expects uint8"),
        (Shape::U64, "18446744073709551616", "Parameter 'x' expects uint64"),
        (Shape::U64, "1.0", "Invalid parameter type for 'x', expected: integer"),
        (Shape::U64, "1e3", "Invalid parameter type for 'x', expected: integer"),
        (Shape::U64, "\"1\"", "Invalid parameter type for 'x', expected: integer"),
        (Shape::F32, "1e300", "Parameter 'x' expects a number that 32 bits hold"),
        (Shape::F64, "1e400", "Parameter 'x' expects a number that 64 bits hold"),
        (Shape::F64, "null", "Invalid parameter type for 'x', expected: number"),
        (Shape::Char, r#""ab""#, "Parameter 'x' expects one character"),
        (Shape::Char, r#""""#, "Parameter 'x' expects one character"),
        (Shape::String, "[]", "Invalid parameter type for 'x', expected: string"),
        (Shape::Bytes, r#""a*""#, "Parameter 'x' expects base64"),
        (Shape::Tuple(vec![Shape::U8]), "[1,2]", "Parameter 'x' expects an array of 1"),
        (Shape::Array(Box::new(Shape::U8), 2), "[1]", "Parameter 'x' expects an array of 2"),
        (list.clone(), "{}", "Invalid parameter type for 'x', expected: array"),
        (
            list.clone(),
            r#"[{"size":1},{"size":true}]"#,
            "Invalid parameter type for 'x[1].size', expected: integer",
        ),
        (list.clone(), r#"[{"label":"x"}]"#, "Parameter 'x[0].size' is missing"),
        (list, r#"[{"size":1,"color":"red"}]"#, "Parameter 'x[0].color' is unexpected"),
        (Shape::Enum(vec![text("up")]), r#""down""#, "Parameter 'x' does not accept value 'down'"),
        (Shape::Flags(vec![text("a")]), r#"["b"]"#, "Parameter 'x[0]' does not accept value 'b'"),
        (choice(), "{}", "Parameter 'x.type' is missing"),
        (choice(), r#"{"type":"tape"}"#, "Parameter 'x.type' does not accept value 'tape'"),
        (choice(), r#"{"type":"none","value":1}"#, "Parameter 'x.value' is unexpected"),
        (choice(), r#"{"type":"disk"}"#, "Parameter 'x.size' is missing"),
        (Shape::Result(None, None), "{}", "Parameter 'x' expects one of 'ok' and 'err'"),
    ] {
        assert_eq!(read(json, &shape), Err(expected.to_owned()), "{json}");
    }
    let missing = arguments(b"{}", &[(text("x"), Shape::U8)], &mut Budget::new(1 << 20));
    assert_eq!(missing.unwrap_err().to_string(), "Parameter 'x' is missing");
    let unknown = arguments(br#"{"y":1}"#, &[], &mut Budget::new(1 << 20));
    assert_eq!(unknown.unwrap_err().to_string(), "Parameter 'y' is unexpected");
}

#[test]
fn what_a_message_may_cost_bounds_both_ways() {
    let list = Shape::List(Box::new(Shape::Bool));
    let json = format!(r#"{{"x":[{}true]}}"#, "true,".repeat(1 << 16));
    let params = [(text("x"), list.clone())];
    let fault = arguments(json.as_bytes(), &params, &mut Budget::new(1 << 20)).unwrap_err();
    assert_eq!(fault.to_string(), "the arguments come to more values than the limit on messages lets pass");
    assert!(arguments(json.as_bytes(), &params, &mut Budget::new(8 << 20)).is_ok());
    let value = Val::List(vec![Val::Bool(true); 1 << 16]);
    let mut out = Vec::new();
    assert_eq!(write(&mut out, &value, &list, 1 << 10), Err(Unspelt::TooLong));
    assert!(out.len() <= 1 << 10);
    let value = Val::String("\u{1}".repeat(1000));
    assert_eq!(write(&mut Vec::new(), &value, &Shape::String, 5_000), Err(Unspelt::TooLong));
    assert_eq!(written(&Val::Float64(f64::NAN), &Shape::F64), Err(Unspelt::NotFinite));
    assert_eq!(written(&Val::U8(1), &Shape::String), Err(Unspelt::Shape));
}

/// A shape and a value of it.
fn pair() -> impl Strategy<Value = (Shape, Val)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (Shape::Bool, Val::Bool(value))),
        any::<u64>().prop_map(|value| (Shape::U64, Val::U64(value))),
        any::<i64>().prop_map(|value| (Shape::S64, Val::S64(value))),
        any::<i8>().prop_map(|value| (Shape::S8, Val::S8(value))),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| (Shape::F64, Val::Float64(value))),
        any::<f32>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| (Shape::F32, Val::Float32(value))),
        any::<char>()
            .prop_filter("noncharacters", |value| !is_noncharacter(*value))
            .prop_map(|value| (Shape::Char, Val::Char(value))),
        any::<String>()
            .prop_filter("noncharacters", |value| !value.contains(is_noncharacter))
            .prop_map(|value| (Shape::String, Val::String(value))),
        any::<Vec<u8>>()
            .prop_map(|value| (Shape::Bytes, Val::List(value.into_iter().map(Val::U8).collect()))),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|pairs| {
                let (shapes, values) = pairs.into_iter().unzip();
                (Shape::Tuple(shapes), Val::Tuple(values))
            }),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|pairs| {
                let name = |at: usize| format!("f{at}");
                let shapes =
                    pairs.iter().enumerate().map(|(at, (shape, _))| (name(at), shape.clone())).collect();
                let values =
                    pairs.into_iter().enumerate().map(|(at, (_, value))| (name(at), value)).collect();
                (Shape::Record(shapes), Val::Record(values))
            }),
            (inner.clone(), 0..4_usize)
                .prop_map(|((shape, value), count)| {
                    (Shape::List(Box::new(shape)), Val::List(vec![value; count]))
                })
                .prop_filter("bytes are no list", |(shape, _)| *shape != Shape::List(Box::new(Shape::U8))),
            inner.clone().prop_map(|(shape, value)| {
                let cases = vec![(text("other"), None), (text("this"), Some(shape))];
                (Shape::Variant(cases), Val::Variant(text("this"), Some(Box::new(value))))
            }),
            inner.prop_map(|(shape, value)| {
                (Shape::Result(None, Some(Box::new(shape))), Val::Result(Err(Some(Box::new(value)))))
            }),
        ]
    })
}

#[test]
fn a_wide_type_and_a_long_text_cost_their_sum_and_not_their_product() {
    let fields = (0..5000).map(|at| (format!("f{at:04}"), Shape::Option(Box::new(Shape::U8)))).collect();
    let params = [(text("x"), Shape::Record(fields))];
    let members = vec!["\"g0000\":1"; 300_000].join(",");
    let begun = std::time::Instant::now();
    let fault = arguments(format!("{{\"x\":{{{members}}}}}").as_bytes(), &params, &mut Budget::new(40 << 20));
    assert_eq!(fault.unwrap_err().to_string(), "Parameter 'x.g0000' is unexpected");
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
}

proptest! {
    #[test]
    fn values_come_back_as_they_went((shape, value) in pair()) {
        let spelt = written(&value, &shape).unwrap();
        // As it would come again: through the framer.
        let mut framer = crate::wire::Framer::default();
        let request = format!(r#"{{"execute":"x","arguments":{{"x":{spelt}}}}}"#);
        let (_, event) = framer.feed(request.as_bytes());
        let Some(crate::wire::Event::Message(message)) = event else { panic!("{event:?}") };
        let request = crate::wire::Request::try_from(message).unwrap_or_else(|response| panic!("{response:?}"));
        let params = [(text("x"), shape)];
        let again = arguments(request.arguments.text(), &params, &mut Budget::new(8 << 20));
        prop_assert_eq!(again.unwrap(), vec![value], "{}", spelt);
    }

    #[test]
    fn whatever_the_type_values_come_back_and_arguments_keep_their_budget(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in prop_oneof![Just("null".to_owned()), "[\\[\\]{},:\"a01.e-]{0,40}", "\\PC{0,20}"],
    ) {
        crate::extension::oracle::values(&[&bytes[..], text.as_bytes()].concat());
        crate::extension::oracle::description(text.as_bytes());
    }
}
