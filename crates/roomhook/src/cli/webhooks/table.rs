//! Tables for terminals.

use serde_json::Value;

use super::when::now_ms;
use crate::out::say;

/// Rows under a head; columns as wide as their widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&name| name.to_owned()).collect()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn print(&self) {
        for line in self.lines() {
            say!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// A value as a person reads it. Control characters cannot reach the terminal.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// How long each part of an exchange took.
pub(super) fn phases(timings: &Value) -> String {
    let part = |name: &str| cell(&timings[name]);
    format!(
        "{} ms: name {}, connect {}, TLS {}, first byte {}",
        part("total_ms"),
        part("dns_ms"),
        part("connect_ms"),
        part("tls_ms"),
        part("first_byte_ms"),
    )
}

/// What an endpoint answered, on one line: as it came, but for what would harm a terminal.
pub(super) fn answered(text: &str) -> String {
    let plain = |c: &char| matches!(c, '"' | '\'' | '\\');
    let shown = |c: char| if plain(&c) { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(shown).collect()
}

/// A time (Unix milliseconds) as its distance from now.
pub(super) fn age(value: &Value) -> String {
    let Some(at) = value.as_u64() else { return "-".to_owned() };
    let now = now_ms();
    let secs = at.abs_diff(now) / 1_000;
    let text = match secs {
        0..120 => format!("{secs}s"),
        120..7_200 => format!("{}min", secs / 60),
        7_200..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    };
    if at > now { format!("in {text}") } else { format!("{text} ago") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "URL"]);
        table.row(["default".to_owned(), "http://a".to_owned()]);
        table.row(["x".to_owned(), "-".to_owned()]);
        assert_eq!(table.lines(), ["ID       URL", "default  http://a", "x        -"]);
    }

    #[test]
    fn cells_hold_no_control_characters() {
        assert_eq!(cell(&json!("a\u{1b}[31mb\n")), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(cell(&json!(["a", 1, null])), "a, 1, -");
        assert_eq!(answered("{\"a\":\"it's\"}\u{1b}[31m\n\u{202e}"), "{\"a\":\"it's\"}\\u{1b}[31m\\n\\u{202e}");
    }
}
