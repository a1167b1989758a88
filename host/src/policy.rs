//! Who may run what. Asked at one place, by the dispatcher, once a request; it knows flags and lists, and runs nothing.

use std::collections::HashSet;

use waga_builtins::Caller;

use crate::registry::Slot;

/// What policy says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Run it.
    Allowed,
    /// Refuse it.
    Disabled,
}

/// The lists of the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allow: Option<HashSet<String>>,
    block: HashSet<String>,
}

impl Policy {
    /// Only commands of `allow`, if there is such a list, and none of `block`. Names that no command has mean nothing.
    pub fn new(allow: Option<Vec<String>>, block: Vec<String>) -> Self {
        Self { allow: allow.map(HashSet::from_iter), block: block.into_iter().collect() }
    }

    /// Whether this caller may run this command now.
    ///
    /// While frozen, just the commands that can run then, less the blocked ones. (qemu-ga lets its frozen list override the operator's.)
    pub fn verdict(&self, slot: &Slot, _caller: &Caller, frozen: bool) -> Verdict {
        let name = &*slot.name;
        let listed =
            !self.block.contains(name) && self.allow.as_ref().is_none_or(|allow| allow.contains(name));
        if listed && (!frozen || slot.flags.while_frozen) { Verdict::Allowed } else { Verdict::Disabled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn check(allow: Option<&[&str]>, block: &[&str], name: &str, frozen: bool) -> bool {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let policy = Policy::new(allow.map(owned), owned(block));
        let registry = Registry::builtins();
        let caller = Caller::Channel("test".into());
        policy.verdict(registry.find(name).unwrap(), &caller, frozen) == Verdict::Allowed
    }

    #[test]
    fn lists_subtract_and_intersect() {
        assert!(check(None, &[], "guest-ping", false));
        assert!(!check(None, &["guest-ping"], "guest-ping", false));
        assert!(check(Some(&["guest-ping"]), &[], "guest-ping", false));
        assert!(!check(Some(&["guest-ping"]), &[], "guest-info", false));
        assert!(!check(Some(&["guest-ping"]), &["guest-ping"], "guest-ping", false));
        assert!(!check(Some(&[]), &[], "guest-ping", false));
    }

    #[test]
    fn a_frozen_agent_keeps_what_can_run_then() {
        assert!(check(None, &[], "guest-ping", true));
        assert!(!check(None, &[], "guest-get-time", true));
        assert!(!check(None, &["guest-ping"], "guest-ping", true));
    }
}
