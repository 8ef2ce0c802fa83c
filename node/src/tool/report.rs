//! What a verb found: the same facts as a table for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Facts about the whole, rows about its parts, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Report {
    facts: Vec<(&'static str, Value)>,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    damage: Vec<String>,
}

impl Report {
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), ..Self::default() }
    }

    pub(super) fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    /// A row; as many values as there are columns.
    pub(super) fn row(&mut self, values: Vec<Value>) {
        self.rows.push(values);
    }

    pub(super) fn damage(&mut self, what: impl Into<String>) {
        self.damage.push(what.into());
    }

    /// Whether nothing was found, neither sound nor damaged.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.damage.is_empty()
    }

    /// Whether nothing is wrong.
    pub(super) fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// One object: the facts, `rows`, `damage`.
    pub(super) fn json(&self) -> String {
        let row = |values: &Vec<Value>| {
            let named = self.columns.iter().map(|name| name.replace(' ', "_")).zip(values.iter().cloned());
            Value::Object(named.collect())
        };
        let facts = self.facts.iter().map(|(name, value)| (name.replace(' ', "_"), value.clone()));
        let mut all: Map<String, Value> = facts.collect();
        all.insert("rows".to_owned(), self.rows.iter().map(row).collect());
        all.insert("damage".to_owned(), self.damage.iter().cloned().collect());
        format!("{:#}\n", Value::Object(all))
    }

    /// Facts, one a line; a table; what is wrong.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        // Writing to a string cannot fail.
        for (name, value) in &self.facts {
            let _ = writeln!(text, "{name:<width$}  {}", plain(value));
        }
        if !self.rows.is_empty() {
            let head = self.columns.iter().map(|name| (*name).to_owned()).collect();
            let lines: Vec<Vec<String>> =
                self.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
            let widths: Vec<usize> = (0..self.columns.len())
                .map(|column| {
                    let cells =
                        lines.iter().filter_map(|line| line.get(column).map(|cell| cell.chars().count()));
                    cells.chain(self.columns.get(column).map(|name| name.len())).max().unwrap_or(0)
                })
                .collect();
            for line in std::iter::once(&head).chain(&lines) {
                let cells: Vec<String> =
                    line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
                let _ = writeln!(text, "{}", cells.join("  ").trim_end());
            }
        }
        for what in &self.damage {
            let _ = writeln!(text, "DAMAGED  {what}");
        }
        text
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_json_say_the_same() {
        let mut report = Report::new(&["shard", "log index"]);
        report.fact("cluster", "ab");
        report.row(vec![3.into(), 77.into()]);
        report.row(vec![12.into(), Value::Null]);
        report.damage("shard 12: gone");
        let text = "cluster  ab\nshard  log index\n3      77\n12     -\nDAMAGED  shard 12: gone\n";
        assert_eq!((report.text().as_str(), report.is_sound()), (text, false));
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["cluster"], "ab");
        assert_eq!(json["rows"][0]["log_index"], 77);
        assert_eq!(json["damage"][0], "shard 12: gone");
    }
}
