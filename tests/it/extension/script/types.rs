//! What a script's author says of arguments: checked before the call, and told to whoever asks.

use serde_json::json;

use super::agent;
use crate::extension::failure;

const GREET: &str = r#"
/**
 * Greets somebody.
 * @param {string} name - who is greeted
 * @param {integer} [times=1] - how often
 * @returns {string} the greeting
 */
exports["guest-test-greet"] = ({ name, times = 1 }) => `Hello, ${name}! `.repeat(times).trim();

exports["guest-test-any"] = (args) => args;
"#;

const PORT: &str = r#"{
  "description": "Looks at a port.",
  "type": "object",
  "properties": { "port": { "type": "integer", "minimum": 1, "maximum": 65535 } },
  "required": ["port"],
  "additionalProperties": false
}"#;

#[test]
fn arguments_are_checked_and_told() {
    let files = [
        ("greet.js", GREET),
        (
            "port.js",
            "exports[\"guest-test-port\"] = ({ port }) => { if (typeof port !== \"number\") throw \"called\"; return port; };",
        ),
        ("guest-test-port.json", PORT),
    ];
    let Some(agent) = agent(&files, "") else { return };
    let mut client = agent.client();
    assert_eq!(
        client.run("guest-test-greet", json!({"name": "x", "times": 2})).unwrap(),
        "Hello, x! Hello, x!"
    );
    assert_eq!(client.run("guest-test-any", json!({"x": [1]})).unwrap(), json!({"x": [1]}));
    assert_eq!(client.run("guest-test-port", json!({"port": 80})).unwrap(), 80);
    for (command, arguments, expected) in [
        ("guest-test-greet", json!({}), "Parameter 'name' is missing"),
        ("guest-test-greet", json!({"name": "x", "tims": 2}), "Parameter 'tims' is unexpected"),
        ("guest-test-greet", json!({"name": 7}), "Invalid parameter type for 'name', expected: string"),
        ("guest-test-port", json!({"port": "80"}), "Invalid parameter type for 'port', expected: integer"),
        ("guest-test-port", json!({"port": 0}), "Parameter 'port' expects at least 1"),
        ("guest-test-port", json!({"port": 65536}), "Parameter 'port' expects at most 65535"),
    ] {
        assert_eq!(failure(&mut client, command, arguments), expected);
    }
    let mut schema =
        |command: &str| client.run("waga-get-schema", json!({"command": command})).unwrap()[0].take();
    let greet = schema("guest-test-greet");
    assert_eq!((&greet["docs"], &greet["extension"]), (&json!("Greets somebody."), &json!("x")));
    let name = json!({"type": "string", "description": "who is greeted"});
    assert_eq!(
        (&greet["arguments"]["properties"]["name"], &greet["arguments"]["required"]),
        (&name, &json!(["name"]))
    );
    assert_eq!(greet["result"], json!({"type": "string", "description": "the greeting"}));
    let port = schema("guest-test-port");
    assert_eq!(port["docs"], "Looks at a port.");
    assert_eq!(port["arguments"]["properties"]["port"]["maximum"], 65535);
    assert!(schema("guest-test-any")["note"].as_str().unwrap().contains("JSON of its own"));
}
