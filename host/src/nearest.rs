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

#[cfg(test)]
mod tests {
    use super::*;

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
