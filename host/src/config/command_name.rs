//! Names: what an extension and its commands may be called, and what no extension may touch.

/// Most bytes of a name.
pub(crate) const LONGEST: usize = 64;

/// Whether an extension may be called that: `[a-z][a-z0-9-]*`.
pub fn is_extension(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a command of an extension may be called that: `guest(-[a-z][a-z0-9]*)+`.
pub fn is_command(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let words = name.strip_prefix("guest-").filter(|_| name.len() <= LONGEST);
    words.is_some_and(|words| words.split('-').all(is_word))
}

/// Whether no extension may touch it, in whatever mode: clients find the agent by these, and what is frozen is thawed by them.
pub fn is_protected(name: &str) -> bool {
    ["guest-sync", "guest-fsfreeze-", "waga-"].iter().any(|start| name.starts_with(start))
        || ["guest-ping", "guest-info"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_to_be_wits_own() {
        for (name, fine) in [
            ("guest-a", true),
            ("guest-acme-memory2", true),
            ("guest", false),
            ("guest-", false),
            ("guest-a-", false),
            ("guest--a", false),
            ("guest-2a", false),
            ("guest-A", false),
            ("guest-a_b", false),
            ("guest-é", false),
            ("host-a", false),
            ("", false),
        ] {
            assert_eq!(is_command(name), fine, "{name}");
        }
        let long = format!("guest-{}", "a".repeat(58));
        assert!(is_command(&long) && !is_command(&(long + "a")));
        for (name, fine) in
            [("a", true), ("a2-b-", true), ("2a", false), ("-a", false), ("aB", false), ("", false)]
        {
            assert_eq!(is_extension(name), fine, "{name}");
        }
        assert!(is_extension(&"a".repeat(64)) && !is_extension(&"a".repeat(65)));
    }

    #[test]
    fn what_brings_a_client_in_step_and_what_thaws_is_nobody_elses() {
        for name in [
            "guest-sync",
            "guest-sync-delimited",
            "guest-ping",
            "guest-info",
            "guest-fsfreeze-thaw",
            "waga-x",
        ] {
            assert!(is_protected(name), "{name}");
        }
        for name in ["guest-pings", "guest-get-osinfo", "guest-fsfreeze", "guest-acme-sync"] {
            assert!(!is_protected(name), "{name}");
        }
    }
}
