//! The values of one GPU, and what is made of each: `81559 MiB`, `39.32 W`, `N/A`, `[Unknown Error]`.

use std::str::FromStr;

/// What stands for a value where the GPU, its driver or its kind has none.
const NONE: [&str; 5] =
    ["N/A", "Not Supported", "Requested functionality has been deprecated", "Not Available", "Not Found"];

/// The values of a line by the names of their columns, and what was wrong with those that were taken.
pub struct Cells {
    values: Vec<(String, String)>,
    pub faults: Vec<String>,
}

impl Cells {
    pub fn new<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { values: values.collect(), faults: Vec::new() }
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.values.iter().find(|(known, _)| known == name)?;
        let bare = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        match bare.unwrap_or(value) {
            none if NONE.contains(&none) || none.is_empty() => None,
            // `[Unknown Error]`, `[GPU is lost]`, `[Insufficient Permissions]`: somebody should know.
            fault if bare.is_some() => {
                let fault = format!("{name}: {fault}");
                self.faults.push(fault);
                None
            }
            value => Some(value.to_owned()),
        }
    }

    /// A number with any unit, or none.
    pub fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.of(name, |number, _| number.parse().ok())
    }

    /// Bytes of a number with a unit of memory.
    pub fn bytes(&mut self, name: &str) -> Option<u64> {
        self.of(name, |number, unit| {
            let shift = ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|known| *known == unit)?;
            number.parse::<u64>().ok()?.checked_mul(1 << (10 * shift))
        })
    }

    /// Thousandths of a number of watts.
    pub fn milliwatts(&mut self, name: &str) -> Option<u64> {
        self.of(name, |number, unit| {
            let (watts, rest) = number.split_once('.').unwrap_or((number, ""));
            let digits = format!("{rest:0<3}");
            let thousandths: u64 = digits.get(..3)?.parse().ok()?;
            let milliwatts = watts.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
            (unit == "W").then_some(milliwatts)
        })
    }

    pub fn switch(&mut self, name: &str) -> Option<bool> {
        self.of(name, |word, _| match word {
            "Enabled" => Some(true),
            "Disabled" => Some(false),
            _ => None,
        })
    }

    /// What is made of a value and its unit. What nothing can be made of is a fault, and the rest is told all the same.
    fn of<T>(&mut self, name: &str, make: impl FnOnce(&str, &str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let (value, unit) = text.split_once(' ').unwrap_or((&text, ""));
        let made = make(value, unit.trim());
        if made.is_none() {
            let shown: String = text.chars().take(40).collect();
            self.faults.push(format!("{name}: '{shown}' is not understood"));
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(value: &str) -> Cells {
        Cells::new([("x", value)].into_iter())
    }

    #[test]
    fn values_have_units() {
        for (value, bytes) in [("81559 MiB", 85_520_809_984), ("0 MiB", 0), ("7 B", 7), ("2 GiB", 2 << 30)] {
            assert_eq!(cells(value).bytes("x"), Some(bytes), "{value}");
        }
        for (value, milliwatts) in
            [("39.32 W", 39_320), ("700.00 W", 700_000), ("5 W", 5000), ("0.1234 W", 123)]
        {
            assert_eq!(cells(value).milliwatts("x"), Some(milliwatts), "{value}");
        }
        assert_eq!(cells("2055 MHz").number("x"), Some(2055_u32));
        assert_eq!(cells("100 %").number("x"), Some(100_u8));
        assert_eq!(cells("-3").number("x"), Some(-3));
        assert_eq!(cells("Enabled").switch("x"), Some(true));
        assert_eq!(cells("NVIDIA L40S").text("x").as_deref(), Some("NVIDIA L40S"));
        assert_eq!(cells("1").number::<u8>("another"), None);
    }

    #[test]
    fn what_is_not_told_is_absent_and_what_is_wrong_is_told() {
        for value in ["[N/A]", "N/A", "[Not Supported]", "[Requested functionality has been deprecated]", ""]
        {
            let mut cells = cells(value);
            assert_eq!((cells.bytes("x"), cells.faults.len()), (None, 0), "{value}");
        }
        for (value, fault) in [
            ("[Unknown Error]", "x: Unknown Error"),
            ("[GPU is lost]", "x: GPU is lost"),
            ("12 apples", "x: '12 apples' is not understood"),
            ("-1 MiB", "x: '-1 MiB' is not understood"),
            ("99999999999999999999 MiB", "x: '99999999999999999999 MiB' is not understood"),
            ("18446744073709551615 MiB", "x: '18446744073709551615 MiB' is not understood"),
        ] {
            let mut cells = cells(value);
            assert_eq!((cells.bytes("x"), &*cells.faults), (None, &[fault.to_owned()][..]), "{value}");
        }
    }
}
