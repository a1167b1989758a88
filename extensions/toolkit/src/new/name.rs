//! The name of a new extension, in the spellings that languages want.

use anyhow::{Result, ensure};
use waga::config::command_name::{is_command, is_protected};

/// A name that is fine in each of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name(String);

/// Single words that WIT, Rust, Python or cargo keep for themselves.
const KEPT: &str = "abstract alloc and as assert async await become box break class const constructor continue core crate def del do dyn \
    elif else enum except export extern false final finally flags fn for from func future gen global if impl import in include interface is \
    lambda let list loop macro match mod move mut nonlocal not option or override own package pass priv proc pub raise record ref resource \
    result return self static std stream string struct super test trait true try tuple type typeof union unsafe unsized use variant virtual \
    where while with world yield bool char u8 u16 u32 u64 s8 s16 s32 s64 f32 f64";

impl Name {
    /// Looks at what is to become a name.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn new(name: &str) -> Result<Self> {
        ensure!(!name.starts_with("guest-"), "write the name without guest-: its command is guest-NAME");
        let command = format!("guest-{name}");
        ensure!(
            is_command(&command),
            "{command} cannot be a command: a name is words of small letters and digits, each beginning with a letter, with '-' between \
             them, 58 characters at most; for example acme-disks"
        );
        let standard: serde_json::Value = serde_json::from_str(waga_wit::SCHEMA)?;
        ensure!(
            !is_protected(&command) && standard.get(&command).is_none(),
            "{command} is a command of the agent's own: say another name, for example acme-{name}"
        );
        ensure!(
            !KEPT.split_whitespace().any(|word| word == name),
            "{name} is a word of a language's own: say another name, for example acme-{name}"
        );
        Ok(Self(name.to_owned()))
    }

    /// As it was given, as WIT has it: `acme-disks`.
    pub(super) fn kebab(&self) -> &str {
        &self.0
    }

    /// Puts it where a text has `@name@` (`acme-disks`), `@name_@` (`acme_disks`) or `@Name@` (`AcmeDisks`).
    pub(super) fn fill(&self, text: &str) -> String {
        let camel: String = self.0.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        text.replace("@name@", &self.0)
            .replace("@name_@", &self.0.replace('-', "_"))
            .replace("@Name@", &camel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_as_languages_want() {
        let name = Name::new("acme-disks2-b").unwrap();
        assert_eq!(name.fill("@name@ @name_@ guest@Name@"), "acme-disks2-b acme_disks2_b guestAcmeDisks2B");
    }

    #[test]
    fn what_is_no_name_is_told_by_the_rule_it_breaks() {
        for (name, expected) in [
            ("", "words of small letters"),
            ("Acme", "words of small letters"),
            ("acme_disks", "words of small letters"),
            ("acme-", "words of small letters"),
            ("acme/../x", "words of small letters"),
            ("2acme", "words of small letters"),
            (&"a".repeat(59), "58 characters at most"),
            ("guest-acme", "without guest-"),
            ("ping", "the agent's own"),
            ("get-osinfo", "the agent's own"),
            ("fsfreeze-x", "the agent's own"),
            ("record", "for example acme-record"),
            ("class", "for example acme-class"),
        ] {
            let told = Name::new(name).unwrap_err().to_string();
            assert!(told.contains(expected), "{name}: {told}");
        }
        assert!(Name::new(&"a".repeat(58)).is_ok());
    }
}
