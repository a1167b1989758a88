//! Who may run what. Asked at one place, by the dispatcher, once a request; it knows flags and lists, and runs nothing.
//!
//! A policy is made of layers: each file of ours, and the options of qemu-ga's kind together. Whatever one layer takes away is away:
//! block lists add up, allow lists intersect, limits all hold. So a further file never widens what another narrowed.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waga_builtins::{Caller, Limits, WhileFrozen};

use crate::registry::Slot;

/// Where the operator said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Arc<Said>);

#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// `None` for the command line.
    file: Option<PathBuf>,
    /// Counted from 1; 0 where it is not known.
    line: usize,
    column: usize,
    /// The key or the option.
    key: String,
}

impl Origin {
    /// A place in a file, line and column counted from 1.
    pub fn place(file: &Path, line: usize, column: usize, key: impl Into<String>) -> Self {
        Self(Arc::new(Said { file: Some(file.into()), line, column, key: key.into() }))
    }

    /// A line of a file, counted from 1.
    pub fn line(file: &Path, line: usize, key: impl Into<String>) -> Self {
        Self::place(file, line, 0, key)
    }

    /// An option of the command line.
    pub fn option(name: &str) -> Self {
        Self(Arc::new(Said { file: None, line: 0, column: 0, key: name.into() }))
    }

    /// The file; `None` for the command line.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The line and the column, counted from 1, as far as they are known.
    pub fn position(&self) -> (Option<usize>, Option<usize>) {
        let known = |number: usize| (number > 0).then_some(number);
        (known(self.0.line), known(self.0.column))
    }

    /// The key or the option.
    pub fn key(&self) -> &str {
        &self.0.key
    }
}

/// `FILE:LINE:COLUMN: KEY`, or the option.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = self.file() {
            write!(f, "{}:", file.display())?;
            let (line, column) = self.position();
            for number in line.into_iter().chain(column) {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(self.key())
    }
}

/// Names, each with the place that first said it.
pub type Names = HashMap<String, Origin>;

/// Only these commands: one list, or several that add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    /// The commands.
    pub names: Names,
    /// Where the list is.
    pub origin: Origin,
}

/// What holds for a channel, or for all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// A command has to be in each of them.
    pub allow: Vec<AllowList>,
    /// A command must not be here.
    pub block: Names,
    /// Commands that are off by default and on here.
    pub enable: Names,
    /// What a command may do.
    pub limits: Arc<Limits>,
    /// Where `[policy.exec]` and `[policy.file]` stand.
    pub limited_by: Vec<Origin>,
}

impl Rules {
    /// What takes a command away, if anything does.
    fn against(&self, name: &str) -> Option<Reason<'_>> {
        if let Some(origin) = self.block.get(name) {
            return Some(Reason::Blocked(origin));
        }
        self.allow
            .iter()
            .find(|list| !list.names.contains_key(name))
            .map(|list| Reason::NotAllowed(&list.origin))
    }
}

/// The operator's word on every channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// For all channels.
    all: Rules,
    /// For those that may do less: their own rules, with the limits of all channels in them.
    channels: HashMap<Arc<str>, Rules>,
}

/// Why a command is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Nobody said anything.
    Default,
    /// A list of what is on has it.
    Allowed(&'a Origin),
    /// A block list has it.
    Blocked(&'a Origin),
    /// An allow list does not have it.
    NotAllowed(&'a Origin),
    /// It is off where nobody says anything.
    OffByDefault,
    /// It cannot run while filesystems are frozen.
    Frozen,
}

/// What policy says of one request.
#[derive(Debug, Clone)]
pub struct Verdict<'a> {
    /// Why.
    pub reason: Reason<'a>,
    /// What the command may do, if it is on.
    pub limits: &'a Arc<Limits>,
    /// Where limits are said, for all of the caller's commands.
    pub limited_by: &'a [Origin],
}

impl Verdict<'_> {
    /// Whether the command may run.
    pub fn is_allowed(&self) -> bool {
        matches!(self.reason, Reason::Default | Reason::Allowed(_))
    }
}

impl Policy {
    /// A policy of rules for all channels and further ones for some. A channel with rules of its own shares no handles with others.
    pub fn new(all: Rules, channels: impl IntoIterator<Item = (Arc<str>, Rules)>) -> Self {
        let own = |(name, mut rules): (Arc<str>, Rules)| {
            rules.limited_by = [&all.limited_by[..], &rules.limited_by].concat();
            rules.limits = Arc::new(Limits {
                owner: Some(name.clone()),
                exec: [&all.limits.exec[..], &rules.limits.exec].concat(),
                file: [&all.limits.file[..], &rules.limits.file].concat(),
            });
            (name, rules)
        };
        let channels = channels.into_iter().map(own).collect();
        Self { all, channels }
    }

    /// Whether this caller may run this command now, and why.
    ///
    /// While frozen, just the commands that can run then, less the blocked ones; but what ends it is always on. (qemu-ga lets all of its
    /// frozen list override the operator's.)
    pub fn verdict(&self, slot: &Slot, caller: &Caller, frozen: bool) -> Verdict<'_> {
        let own = match self.channels.is_empty() {
            true => None,
            false => self.channels.get(caller.channel()),
        };
        let name = &*slot.name;
        let against = match caller {
            Caller::Channel(_) => {
                self.all.against(name).or_else(|| own.and_then(|rules| rules.against(name)))
            }
            // What it may call is granted to it by name. But what is blocked is blocked, also for who asks through an extension.
            Caller::Extension(..) => {
                let blocks = [Some(&self.all), own].into_iter().flatten();
                blocks.filter_map(|rules| rules.block.get(name)).next().map(Reason::Blocked)
            }
        };
        let against = against.filter(|_| !frozen || slot.flags.while_frozen != WhileFrozen::Always);
        let reason = against.unwrap_or_else(|| {
            if frozen && slot.flags.while_frozen == WhileFrozen::Off {
                return Reason::Frozen;
            }
            let rules = || own.into_iter().chain([&self.all]);
            let lists = rules().flat_map(|rules| rules.allow.iter().map(|list| &list.names));
            let lists = lists.chain(rules().map(|rules| &rules.enable));
            let otherwise = if slot.flags.on_by_default { Reason::Default } else { Reason::OffByDefault };
            lists.filter_map(|names| names.get(name)).next().map_or(otherwise, Reason::Allowed)
        });
        let rules = own.unwrap_or(&self.all);
        Verdict { reason, limits: &rules.limits, limited_by: &rules.limited_by }
    }

    /// Every name in a list, with its place: what `check` looks for mistakes in.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &Origin)> {
        let rules = self.channels.values().chain([&self.all]);
        rules.flat_map(|rules| {
            let allowed = rules.allow.iter().flat_map(|list| &list.names);
            allowed.chain(&rules.block).chain(&rules.enable).map(|(name, origin)| (name.as_str(), origin))
        })
    }

    /// The names in those lists which say what is on besides.
    pub fn enabled(&self) -> impl Iterator<Item = (&str, &Origin)> {
        let rules = self.channels.values().chain([&self.all]);
        rules.flat_map(|rules| &rules.enable).map(|(name, origin)| (name.as_str(), origin))
    }

    /// The rules of all channels.
    pub fn all(&self) -> &Rules {
        &self.all
    }

    /// The rules of one channel besides, if it has any.
    pub fn channel(&self, name: &str) -> Option<&Rules> {
        self.channels.get(name)
    }

    /// The channels that have rules of their own.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn names(names: &[&str]) -> Names {
        names.iter().map(|&name| (name.to_owned(), Origin::option(name))).collect()
    }

    fn rules(allow: &[&[&str]], block: &[&str]) -> Rules {
        let list = |&list: &&[&str]| AllowList { names: names(list), origin: Origin::option("-a") };
        Rules { allow: allow.iter().map(list).collect(), block: names(block), ..Rules::default() }
    }

    fn on(policy: &Policy, channel: &str, name: &str, frozen: bool) -> bool {
        let registry = Registry::builtins();
        let caller = Caller::Channel(channel.into());
        policy.verdict(registry.find(name).unwrap(), &caller, frozen).is_allowed()
    }

    fn check(allow: &[&[&str]], block: &[&str], name: &str, frozen: bool) -> bool {
        on(&Policy::new(rules(allow, block), []), "test", name, frozen)
    }

    #[test]
    fn lists_subtract_and_intersect() {
        assert!(check(&[], &[], "guest-ping", false));
        assert!(!check(&[], &["guest-ping"], "guest-ping", false));
        assert!(check(&[&["guest-ping"]], &[], "guest-ping", false));
        assert!(!check(&[&["guest-ping"]], &[], "guest-info", false));
        assert!(!check(&[&["guest-ping"]], &["guest-ping"], "guest-ping", false));
        assert!(!check(&[&[]], &[], "guest-ping", false));
        let two: &[&[&str]] = &[&["guest-ping", "guest-info"], &["guest-info", "guest-sync"]];
        assert!(check(two, &[], "guest-info", false));
        assert!(!check(two, &[], "guest-ping", false) && !check(two, &[], "guest-sync", false));
    }

    #[test]
    fn what_is_off_by_default_is_on_where_a_list_has_it() {
        let reload = |policy: &Policy, channel: &str| on(policy, channel, "waga-reload", false);
        assert!(!reload(&Policy::default(), "test"));
        assert!(reload(&Policy::new(rules(&[&["waga-reload"]], &[]), []), "test"));
        assert!(!reload(&Policy::new(rules(&[&["waga-reload"], &["guest-ping"]], &[]), []), "test"));
        let enabling = |block: &[&str]| Rules { enable: names(&["waga-reload"]), ..rules(&[], block) };
        assert!(reload(&Policy::new(enabling(&[]), []), "test"));
        assert!(!reload(&Policy::new(enabling(&["waga-reload"]), []), "test"));
        let policy = Policy::new(Rules::default(), [("ops".into(), enabling(&[]))]);
        assert!(reload(&policy, "ops") && !reload(&policy, "test"));
        assert!(!on(&policy, "ops", "waga-reload", true));
        // It says what is on besides, and no more.
        assert!(on(&policy, "ops", "guest-ping", false));
    }

    #[test]
    fn a_frozen_agent_keeps_what_can_run_then() {
        assert!(check(&[], &[], "guest-ping", true));
        assert!(!check(&[], &[], "guest-get-time", true));
        assert!(!check(&[], &["guest-ping"], "guest-ping", true));
        // What ends it is on whatever the operator says, but only then.
        for name in ["guest-fsfreeze-thaw", "guest-fsfreeze-status"] {
            for (allow, block) in [(&[][..], &[name][..]), (&[&[][..]][..], &[])] {
                assert!(check(allow, block, name, true));
                assert!(!check(allow, block, name, false));
            }
        }
    }

    #[test]
    fn a_channel_may_do_less_and_never_more() {
        let all = rules(&[&["guest-ping", "guest-info"]], &[]);
        let own = rules(&[&["guest-ping", "guest-sync"]], &[]);
        let policy = Policy::new(all, [("small".into(), own)]);
        let channel = |channel: &str| {
            ["guest-ping", "guest-info", "guest-sync"].map(|name| on(&policy, channel, name, false))
        };
        assert_eq!(channel("other"), [true, true, false]);
        assert_eq!(channel("small"), [true, false, false]);
        let verdict = policy.verdict(
            Registry::builtins().find("guest-ping").unwrap(),
            &Caller::Channel("small".into()),
            false,
        );
        assert_eq!(verdict.limits.owner.as_deref(), Some("small"));
    }

    #[test]
    fn an_origin_reads_like_a_compilers_message() {
        assert_eq!(
            Origin::place(Path::new("/a"), 3, 7, "[policy] block").to_string(),
            "/a:3:7: [policy] block"
        );
        assert_eq!(Origin::line(Path::new("/a"), 3, "block-rpcs").to_string(), "/a:3: block-rpcs");
        assert_eq!(Origin::option("-b").to_string(), "-b");
    }
}
