//! The table that `nvidia-smi --format=csv` prints: a header that names each column and its unit, a line for each GPU, warnings behind it.

use crate::cell::Cells;

/// What it has.
pub struct Table {
    pub rows: Vec<Cells>,
    /// Lines that are no row.
    pub warnings: Vec<String>,
}

impl Table {
    /// Reads what was printed for these fields.
    pub fn read(text: &str, fields: &[&str]) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut warnings = Vec::new();
        loop {
            let line = lines.next().ok_or("nvidia-smi prints no table")?;
            // Newer drivers may have another name for a field, `memory.total [MiB]` or not, but not another order.
            let mut names = cells(line);
            if names.next() == fields.first().copied() && names.count() + 1 == fields.len() {
                break;
            }
            match is_warning(line) {
                true => warnings.push(line.to_owned()),
                false => return Err(format!("nvidia-smi prints other columns: {}", shortened(line))),
            }
        }
        let mut rows = Vec::new();
        for line in lines {
            if is_warning(line) {
                warnings.push(line.to_owned());
                continue;
            }
            let values: Vec<&str> = cells(line).collect();
            if values.len() != fields.len() {
                return Err(format!(
                    "nvidia-smi prints {} values where {} were asked for: {}",
                    values.len(),
                    fields.len(),
                    shortened(line)
                ));
            }
            rows.push(Cells::new(fields.iter().zip(values).map(|(name, value)| (*name, value))));
        }
        Ok(Self { rows, warnings })
    }
}

fn is_warning(line: &str) -> bool {
    line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("warning:"))
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(str::trim)
}

fn shortened(line: &str) -> String {
    line.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_columns_that_were_asked_for() {
        let fields = ["index", "memory.total"];
        for (text, expected) in [
            ("index, memory.total [MiB]\n0, 1 MiB\r\n1, 2 MiB\n", Ok((2, 0))),
            ("index, memory.total [MiB]\n", Ok((0, 0))),
            ("WARNING: x\nindex, memory.total [MiB]\n0, 1 MiB\nWARNING: y\n\n", Ok((1, 2))),
            ("index, memory.all [MiB]\n0, 1 MiB\n", Ok((1, 0))),
            ("", Err("nvidia-smi prints no table")),
            ("0, 1 MiB\n", Err("nvidia-smi prints other columns: 0, 1 MiB")),
            ("memory.total, index\n", Err("nvidia-smi prints other columns: memory.total, index")),
            (
                "index, memory.total\n0, 1, 2\n",
                Err("nvidia-smi prints 3 values where 2 were asked for: 0, 1, 2"),
            ),
        ] {
            let read = Table::read(text, &fields).map(|it| (it.rows.len(), it.warnings.len()));
            assert_eq!(read, expected.map_err(str::to_owned), "{text}");
        }
    }
}
