//! The page about a command: for a terminal of 80 columns, and without control characters, for a guest wrote it.

use serde_json::Value;

use super::sample;
use super::types::Types;
use crate::call::error::tame;
use crate::call::known::Schema;
use crate::call::options::Place;
use crate::call::request::is_silent;

/// The longest line.
const WIDTH: usize = 79;
/// However deep something stands, so much is left to its text.
const NARROWEST: usize = 30;

/// The page. `instead` is why this program speaks of the command, and not the agent.
pub(super) fn text(schema: &Schema, place: Option<&Place>, instead: Option<&str>) -> String {
    let mut page = Page(String::new());
    let mut title = schema.name.clone();
    if let Some(extension) = &schema.extension {
        title += &format!(", added by the extension {extension}");
    }
    if let Some(reason) = instead {
        title += &format!(", as this waga has it; the agent did not say: {reason}");
    }
    page.wrapped(0, 2, &title);
    for text in [&schema.docs, &schema.note].into_iter().flatten() {
        page.blank();
        page.docs(0, text);
    }

    page.blank();
    let arguments = &schema.arguments;
    let mut types = Types::new(arguments, true);
    match arguments["properties"].as_object() {
        Some(members) if !members.is_empty() => {
            page.line("Arguments:");
            types.members(&mut page, 2, arguments);
        }
        _ if arguments["additionalProperties"] == Value::Bool(false) => page.line("Arguments: none"),
        _ => page.line("Arguments: any"),
    }

    page.blank();
    if is_silent(&schema.name) {
        page.line("Result: none; success is not answered");
    } else {
        let mut types = Types::new(&schema.result, false);
        let phrase = types.phrase(&schema.result);
        page.wrapped(0, 2, &format!("Result: {phrase}"));
        types.inside(&mut page, 2, &schema.result);
    }

    page.blank();
    let (least, all) = sample::calls(schema, place);
    page.line("To call it:");
    page.words(2, &least);
    if all != least {
        page.line("With all it takes:");
        page.words(2, &all);
    }
    page.0
}

/// What is printed so far.
pub(super) struct Page(String);

impl Page {
    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn line(&mut self, text: &str) {
        self.0 += text;
        self.0.push('\n');
    }

    /// Text from a column on, its further lines from `hang` columns beyond that.
    pub(super) fn wrapped(&mut self, column: usize, hang: usize, text: &str) {
        let text = tame(text);
        let words = text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        self.broken(column, hang, &words, "");
    }

    /// Paragraphs, a line each.
    pub(super) fn docs(&mut self, column: usize, text: &str) {
        for paragraph in text.lines() {
            let hang = if paragraph.starts_with("- ") { 2 } else { 0 };
            self.wrapped(column, hang, paragraph);
        }
    }

    /// Words of a shell, which are never broken.
    fn words(&mut self, column: usize, words: &[String]) {
        let words: Vec<_> = words.iter().map(|word| tame(word)).collect();
        self.broken(column, 4, &words, " \\");
    }

    /// Words on as many lines as they take, all but the last of which end in `end`.
    fn broken(&mut self, column: usize, hang: usize, words: &[String], end: &str) {
        let column = column.min(WIDTH - NARROWEST - hang);
        let mut line = " ".repeat(column);
        let mut empty = true;
        for word in words {
            let width = line.chars().count() + 1 + word.chars().count() + end.len();
            if !empty && width > WIDTH {
                self.line(&format!("{line}{end}"));
                line = " ".repeat(column + hang);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line += word;
            empty = false;
        }
        self.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::known;

    #[test]
    fn every_command_fits_on_a_terminal() {
        for name in known::our_names() {
            let schema = known::of_ours(&name).unwrap();
            let reason = "waga-get-schema: CommandNotFound: The command waga-get-schema has not been found";
            let text = text(&schema, Some(&Place::Socket("/run/vm.agent".into())), Some(reason));
            assert!(text.starts_with(&format!("{name}, as this waga has it; the agent did")), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH && line.trim_end() == line, "{name}: {line:?}");
            }
            for argument in schema.arguments["properties"].as_object().into_iter().flatten() {
                assert!(text.contains(&format!("\n  {}: ", argument.0)), "{name}: {text}");
            }
        }
    }

    /// A guest may say whatever it likes; it costs what it sent and gives no orders.
    #[test]
    fn what_a_guest_says_is_bounded_text() {
        let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        let wide = json!({"type": "object", "properties": {"x\u{1b}[2J": {"$ref": "#/$defs/a", "description": "\u{9b}"}},
            "$defs": {"a": {"type": "object", "required": ["p", "q"], "properties":
                {"p": {"$ref": "#/$defs/a"}, "q": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}}});
        let many: Vec<_> = (0..50).map(|_| json!({"$ref": "#/$defs/t"})).collect();
        let tuples = json!({"properties": {"=": {"$ref": "#/$defs/t"}}, "required": ["="],
            "$defs": {"t": {"type": "array", "prefixItems": many, "items": false}}});
        let mut deep = json!({"type": "string"});
        for _ in 0..60 {
            deep = json!({"type": "object", "properties": {"deep": deep}});
        }
        for schema in [own, wide, tuples, deep, json!([]), json!({"properties": 5, "type": []})] {
            let schema = Schema {
                name: "guest-\u{7}".to_owned(),
                docs: Some("a\n\u{1b}b".to_owned()),
                arguments: schema.clone(),
                result: schema,
                extension: Some("\u{8}".to_owned()),
                note: None,
            };
            let text = text(&schema, None, None);
            assert!(text.len() < 64 << 10, "{}", text.len());
            assert!(!text.contains(|it: char| it.is_control() && it != '\n'), "{text:?}");
        }
    }
}
