//! The name that somebody probably meant.

/// The known name that is most like `name`, if one is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// More than this is not a name that somebody mistyped.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    // A third of the letters may be wrong; an abbreviation is like what it begins.
    let (distance, best) = distances.min()?;
    (distance <= (name.chars().count().max(best.len()) / 3).max(1)).then_some(best)
}

/// The known command whose name is most like `name`. That both begin with `guest-` makes them no more alike.
pub(crate) fn nearest_command<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    fn own(name: &str) -> &str {
        name.strip_prefix("guest-").unwrap_or(name)
    }
    let known: Vec<&str> = known.into_iter().collect();
    let best = nearest(own(name), known.iter().map(|known| own(known)))?;
    known.into_iter().find(|known| own(known) == best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_all_share_is_no_likeness() {
        let known = ["guest-info", "guest-ping", "waga-get-schema", "guest-get-fsinfo"];
        for (name, expected) in [
            ("guest-pign", Some("guest-ping")),
            ("ping", Some("guest-ping")),
            ("guest-get-fs-info", Some("guest-get-fsinfo")),
            ("waga-get-shema", Some("waga-get-schema")),
            ("guest-foo", None),
            ("guest-", None),
        ] {
            assert_eq!(nearest_command(name, known), expected, "{name}");
        }
    }

    #[test]
    fn slips_are_understood_and_guesses_are_not_made() {
        let known = ["allow", "block", "channel", "guest-get-osinfo", "guest-get-fsinfo"];
        for (name, expected) in [
            ("blok", Some("block")),
            ("lbock", Some("block")),
            ("chanels", Some("channel")),
            ("guest-get-osnifo", Some("guest-get-osinfo")),
            ("zebra", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), known), None);
        assert_eq!(nearest("x", []), None);
    }
}
