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
    /// Whatever the other figure is.
    AtMost(f64),
    /// More than the other figure.
    AtMostMore(f64),
}

impl Target {
    /// As text, and whether a figure meets it beside another.
    fn judge(self, unit: Unit, other: f64, figure: f64) -> (String, &'static str) {
        let (text, met) = match self {
            Self::None => return ("–".into(), "–"),
            Self::AtMostTimes(most) => (format!("≤ {most} ×"), figure / other <= most),
            Self::AtLeastTimes(least) => (format!("≥ {least} ×"), figure / other >= least),
            Self::AtMost(most) => (format!("≤ {}", unit.show(most)), figure <= most),
            Self::AtMostMore(most) => (format!("≤ +{}", unit.show(most)), figure - other <= most),
        };
        (text, if met { "met" } else { "missed" })
    }
}

/// A row of waga beside qemu-ga.
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
        let (target, verdict) = self.target.judge(unit, reference, waga);
        let ratio = match unit {
            Unit::Growth | Unit::Count => nothing(),
            _ => format!("{:.2} ×", waga / reference),
        };
        let limit = self.limit.map_or_else(nothing, |limit| unit.show(limit));
        [self.row.clone(), unit.show(reference), unit.show(waga), ratio, target, verdict.into(), limit]
    }
}

/// A row of what something adds: a figure without it and one with it.
pub(super) struct Added {
    row: String,
    figures: Option<(Unit, f64, f64)>,
    target: Target,
}

impl Added {
    pub(super) fn new(row: &str, unit: Unit, without: f64, with: f64) -> Self {
        Self { row: row.into(), figures: Some((unit, without, with)), target: Target::None }
    }

    /// A row that could not be run.
    pub(super) fn failed(row: &str) -> Self {
        Self { row: row.into(), figures: None, target: Target::None }
    }

    pub(super) fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    fn cells(&self) -> [String; 6] {
        let nothing = || "–".to_owned();
        let Some((unit, without, with)) = self.figures else {
            return [self.row.clone(), nothing(), nothing(), nothing(), nothing(), "not run".into()];
        };
        let (target, verdict) = self.target.judge(unit, without, with);
        let more = with - without;
        let difference = match unit {
            Unit::Growth | Unit::Count => nothing(),
            _ => format!("{}{}", if more < 0.0 { '−' } else { '+' }, unit.show(more.abs())),
        };
        [self.row.clone(), unit.show(without), unit.show(with), difference, target, verdict.into()]
    }
}

/// waga beside qemu-ga.
pub(super) fn beside(lines: &[Line]) -> String {
    let head = ["", "qemu-ga", "waga", "ratio", "target", "", "limit here"];
    render(head, lines.iter().map(Line::cells))
}

/// What something adds to waga.
pub(super) fn added(lines: &[Added]) -> String {
    render(["", "without", "with", "difference", "target", ""], lines.iter().map(Added::cells))
}

fn render<const N: usize>(head: [&str; N], lines: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(lines).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
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
