//! QAPI's comments: what a definition is for, then each of its members as a point.

/// How wide they are.
const WIDTH: usize = 70;

/// The comment of one definition.
#[derive(Debug)]
pub(super) struct Comment {
    lines: Vec<String>,
}

impl Comment {
    /// With the name and, if something is said, what it is for.
    pub(super) fn of(name: &str, docs: Option<&str>) -> Self {
        let mut comment = Self { lines: vec![format!("# @{name}:")] };
        for paragraph in docs.into_iter().flat_map(str::lines) {
            comment.paragraph(paragraph);
        }
        comment
    }

    /// A paragraph of its own.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.lines.push("#".to_owned());
        self.wrap("#", text);
    }

    /// What a member is.
    pub(super) fn point(&mut self, name: &str, docs: Option<&str>) {
        self.lines.push("#".to_owned());
        let docs = docs.unwrap_or("Not documented").replace('\n', " ");
        self.wrap("#    ", &format!("@{name}: {docs}"));
        // The first line stands out.
        if let Some(first) = self.lines.iter_mut().rev().find(|line| line.starts_with("#     @")) {
            *first = format!("# {}", first.trim_start_matches(['#', ' ']));
        }
    }

    fn wrap(&mut self, margin: &str, text: &str) {
        let mut line = margin.to_owned();
        for word in text.split_whitespace() {
            if line.len() > margin.len() && line.len() + 1 + word.len() > WIDTH {
                self.lines.push(std::mem::replace(&mut line, margin.to_owned()));
            }
            line.push(' ');
            line += word;
        }
        self.lines.push(line);
    }

    pub(super) fn text(&self) -> String {
        format!("##\n{}\n##\n", self.lines.join("\n"))
    }
}
