//! Which names a command may have, and which interfaces a component asks for or provides.

/// Most characters of a command's name; WIT's own rule.
const LONGEST: usize = 64;

/// Whether an exported function of this name is a command: `guest(-[a-z][a-z0-9]*)+`. Others are ignored.
pub(crate) fn is_command(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let words = name.strip_prefix("guest-").map(|rest| rest.split('-').all(word));
    name.len() <= LONGEST && words == Some(true)
}

/// Whether nobody but the agent may have a command of this name, whatever the mode: to come into step with it and to end a freeze must
/// always work.
pub(crate) fn is_protected(name: &str) -> bool {
    name.starts_with("guest-sync")
        || name.starts_with("guest-fsfreeze-")
        || name.starts_with("waga-")
        || matches!(name, "guest-ping" | "guest-info")
}

/// Whether `name` (`waga:extension/log@1.0.0`) is this interface (`waga:extension/log`) in a version that goes with `major`.
pub(crate) fn is_interface(name: &str, interface: &str, major: &str) -> bool {
    match name.split_once('@') {
        Some((path, version)) => path == interface && version.split('.').next() == Some(major),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_names_of_their_own_kind() {
        for name in ["guest-acme-memory", "guest-x2", "guest-get-fsinfo"] {
            assert!(is_command(name), "{name}");
        }
        let long = format!("guest-{}", "a".repeat(59));
        for name in
            ["guest", "guest-", "guest-A", "guest-2x", "guest-a--b", "init", "waga-x", "guest-a_b", &long]
        {
            assert!(!is_command(name), "{name}");
        }
        assert!(is_command(&long[..64]));
        for name in [
            "guest-sync",
            "guest-sync-delimited",
            "guest-fsfreeze-thaw",
            "guest-ping",
            "guest-info",
            "waga-reload",
        ] {
            assert!(is_protected(name), "{name}");
        }
        assert!(!is_protected("guest-get-time"));
        assert!(is_interface("waga:extension/log@1.2.0", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/log@2.0.0", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/log", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/logs@1.0.0", "waga:extension/log", "1"));
    }
}
