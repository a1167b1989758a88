//! The figures as a table: aligned for a terminal, and Markdown for the README.

/// What a figure counts; figures come in seconds, bytes, bytes a second, or pieces.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Micros,
    Millis,
    Megabytes,
    /// Megabytes more than before: a ratio of these says nothing.
    Growth,
    Rate,
    Count,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Micros => format!("{:.1} µs", figure * 1e6),
            Self::Millis => format!("{:.2} ms", figure * 1e3),
            Self::Megabytes => format!("{:.2} MB", figure / 1e6),
            Self::Growth => format!("{:+.2} MB", figure / 1e6),
            Self::Rate => format!("{:.0} MB/s", figure / 1e6),
            Self::Count => format!("{figure:.0}"),
        }
    }
}

/// What the design asks of waga's figure.
#[derive(Clone, Copy)]
pub(super) enum Target {
    None,
    /// Times qemu-ga's figure.
    AtMostTimes(f64),
    AtLeastTimes(f64),
    /// Whatever qemu-ga's figure is.
    AtMost(f64),
}

pub(super) struct Line {
    row: String,
    /// Unit, qemu-ga's figure, waga's.
    figures: Option<(Unit, f64, f64)>,
    limit: Option<f64>,
    target: Target,
}

impl Line {
    pub(super) fn new(row: &str, unit: Unit, reference: f64, waga: f64) -> Self {
        Self { row: row.into(), figures: Some((unit, reference, waga)), limit: None, target: Target::None }
    }

    /// A row that could not be run.
    pub(super) fn failed(row: &str) -> Self {
        Self { row: row.into(), figures: None, limit: None, target: Target::None }
    }

    pub(super) fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    pub(super) fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    fn cells(&self) -> [String; 7] {
        let nothing = || "–".to_owned();
        let Some((unit, reference, waga)) = self.figures else {
            return [
                self.row.clone(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                "not run".into(),
                nothing(),
            ];
        };
        let ratio = waga / reference;
        let (target, met) = match self.target {
            Target::None => (nothing(), None),
            Target::AtMostTimes(most) => (format!("≤ {most} ×"), Some(ratio <= most)),
            Target::AtLeastTimes(least) => (format!("≥ {least} ×"), Some(ratio >= least)),
            Target::AtMost(most) => (format!("≤ {}", unit.show(most)), Some(waga <= most)),
        };
        let verdict = met.map_or_else(nothing, |met| if met { "met" } else { "missed" }.to_owned());
        let ratio = match unit {
            Unit::Growth | Unit::Count => nothing(),
            _ => format!("{ratio:.2} ×"),
        };
        let limit = self.limit.map_or_else(nothing, |limit| unit.show(limit));
        [self.row.clone(), unit.show(reference), unit.show(waga), ratio, target, verdict, limit]
    }
}

pub(super) fn render(lines: &[Line]) -> String {
    let head = ["", "qemu-ga", "waga", "ratio", "target", "", "limit here"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(lines.iter().map(Line::cells)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(2)
    });

    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, figures to the right.
            table += &if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
        }
        table += "|\n";
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { '-' } else { ':' };
                table += &format!("|{}{end}", "-".repeat(width + 1));
            }
            table += "|\n";
        }
    }
    table
}
