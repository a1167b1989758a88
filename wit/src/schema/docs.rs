//! Docs of WIT as plain text: lines become paragraphs again, and what a function's docs say of its arguments (WIT has no place for that) is
//! taken from the list in which each stands as ``- `name`: text``.

use wit_parser::Docs;

/// What a function's docs say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Function {
    /// What it does.
    pub(super) text: Option<String>,
    arguments: Vec<(String, String)>,
}

impl Function {
    /// What is said of an argument.
    pub(super) fn argument(&self, name: &str) -> Option<String> {
        self.arguments.iter().find(|(argument, _)| argument == name).map(|(_, text)| text.clone())
    }

    /// The arguments of which something is said.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(|(name, _)| name.as_str())
    }
}

/// The docs of a function, without the list of its arguments.
pub(super) fn of_function(docs: &Docs) -> Function {
    let mut function = Function::default();
    let mut text = Vec::new();
    for block in blocks(docs) {
        let argument = block.strip_prefix("- `").and_then(|rest| rest.split_once("`: "));
        match argument {
            Some((name, says)) => function.arguments.push((name.to_owned(), says.to_owned())),
            None => text.push(block),
        }
    }
    function.text = joined(&text);
    function
}

/// The docs of anything else.
pub(super) fn of(docs: &Docs) -> Option<String> {
    joined(&blocks(docs))
}

/// Paragraphs and the points of lists, each on one line.
fn blocks(docs: &Docs) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in docs.contents.as_deref().unwrap_or_default().lines().map(str::trim) {
        match blocks.last_mut() {
            Some(block) if goes_on && !line.is_empty() && !line.starts_with("- ") => {
                block.push(' ');
                block.push_str(line);
            }
            _ if !line.is_empty() => blocks.push(line.to_owned()),
            _ => {}
        }
        goes_on = !line.is_empty();
    }
    blocks
}

fn joined(blocks: &[String]) -> Option<String> {
    (!blocks.is_empty()).then(|| blocks.join("\n"))
}
