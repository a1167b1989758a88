//! Numbers of bytes as an operator writes them.

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// `512KiB`, `32MiB` or `1GiB`, or a number without a unit; `None` if it is none of them.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (number, unit) =
        text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let times = match unit.trim_start() {
        "" | "B" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(times)
}

/// In the largest unit that says it exactly.
pub(crate) fn format(bytes: u64) -> String {
    let exact = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("512KiB", Some(512 << 10)),
            ("32 MiB", Some(32 << 20)),
            ("1GiB", Some(1 << 30)),
            ("17179869183GiB", Some(u64::MAX - (1 << 30) + 1)),
            ("17179869184GiB", None),
            ("18446744073709551616", None),
            ("", None),
            ("KiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("1K", None),
            ("1kib", None),
            ("1 MiB ", None),
            ("1MB", None),
            ("٣KiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (bytes, text) in
            [(0, "0"), (1, "1"), (1 << 10, "1KiB"), (1536, "1536"), (3 << 20, "3MiB"), (5 << 30, "5GiB")]
        {
            assert_eq!(format(bytes), text);
            assert_eq!(parse(text), Some(bytes));
        }
    }
}
