//! What an import asks the operator for, and the line of agent.toml that grants it.

use serde::Serialize;

/// What it takes to have something.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "permission", content = "line")]
pub(crate) enum Permission {
    /// Nothing: everyone has it.
    Given,
    /// It loads without; what it reaches is what this key names, and nothing without the key.
    Reaches(String),
    /// This line.
    Line(String),
    /// It may be called, and always refuses.
    Denied,
    /// No agent grants it: the component is refused when it is loaded.
    Unknown,
}

/// What an import takes.
pub(crate) fn of_import(import: &str) -> Permission {
    let (path, version) = import.split_once('@').unwrap_or((import, ""));
    match path.split_once('/') {
        Some(("waga:extension", interface)) if version.starts_with("1.") => match interface {
            "log" | "config" | "state" | "next" => Permission::Given,
            "exec" => Permission::Line(r#"exec = [{ program = "/PATH/TO/PROGRAM", args = ["..."] }]"#.into()),
            "call" => Permission::Line(r#"commands = ["guest-..."]"#.into()),
            _ => Permission::Unknown,
        },
        Some(("waga:guest", command)) if version.starts_with("1.") => {
            Permission::Line(format!("commands = [\"{command}\"]"))
        }
        Some(("wasi:cli", "environment")) if wasi(version) => {
            Permission::Reaches(r#"env = { NAME = "value" }"#.into())
        }
        Some(("wasi:filesystem", _)) if wasi(version) => {
            Permission::Reaches(r#"read = ["/PATH"], or write = ["/PATH"]"#.into())
        }
        Some(("wasi:sockets", _)) if wasi(version) => Permission::Denied,
        Some(("wasi:cli" | "wasi:clocks" | "wasi:io" | "wasi:random", _)) if wasi(version) => {
            Permission::Given
        }
        _ => Permission::Unknown,
    }
}

/// What an export takes to have an effect, if it is not one of commands.
pub(crate) fn of_export(export: &str) -> Option<Permission> {
    export
        .starts_with("waga:extension/freeze-hooks@1.")
        .then(|| Permission::Line("freeze-hooks = true".into()))
}

fn wasi(version: &str) -> bool {
    version.starts_with("0.2.")
}

impl Permission {
    /// In words.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Given => "always given".into(),
            Self::Reaches(line) => format!("reaches what is granted by {line}"),
            Self::Line(line) => line.clone(),
            Self::Denied => "always denied when it is used".into(),
            Self::Unknown => "not granted by any key: the agent refuses to load this".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_import_has_its_line() {
        for (import, expected) in [
            ("waga:extension/log@1.0.0", "always given"),
            ("waga:extension/exec@1.0.0", "exec = ["),
            ("waga:extension/call@1.1.0", "commands = [\"guest-...\"]"),
            ("waga:guest/guest-get-fsinfo@1.0.0", "commands = [\"guest-get-fsinfo\"]"),
            ("wasi:filesystem/types@0.2.9", "read = [\"/PATH\"]"),
            ("wasi:cli/environment@0.2.6", "env = {"),
            ("wasi:clocks/wall-clock@0.2.0", "always given"),
            ("wasi:sockets/tcp@0.2.9", "always denied"),
            ("wasi:http/outgoing-handler@0.2.9", "not granted"),
            ("wasi:clocks/wall-clock@0.3.0", "not granted"),
            ("waga:extension/log@2.0.0", "not granted"),
            ("waga:extension/log", "not granted"),
            ("acme:own/thing", "not granted"),
        ] {
            let text = of_import(import).text();
            assert!(text.contains(expected), "{import}: {text}");
        }
        assert!(of_export("waga:extension/freeze-hooks@1.0.0").is_some());
        assert_eq!(of_export("waga:extension/handler@1.0.0"), None);
    }
}
