//! Numbers and tables as people read them, and sizes as they write them.

pub(super) use crate::numbers::{bytes, si};

/// Rows with aligned columns, each line indented. A column is right-aligned if every cell below the first row starts with a digit or is a dash.
pub(super) fn table(rows: &[Vec<String>], indent: &str) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &'_ Vec<String>, c: usize| row.get(c).cloned().unwrap_or_default();
    let width: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|r| cell(r, c).chars().count()).max().unwrap_or(0)).collect();
    let numeric = |c: usize| {
        rows.iter()
            .skip(1)
            .all(|r| ["", "-"].contains(&cell(r, c).as_str()) || cell(r, c).starts_with(|x: char| x.is_ascii_digit()))
    };
    let right: Vec<bool> = (0..columns).map(|c| c > 0 && rows.len() > 1 && numeric(c)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_string();
        for c in 0..columns {
            let (cell, w) = (cell(row, c), width[c]);
            let cell = if right[c] { format!("{cell:>w$}") } else { format!("{cell:<w$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `224x224` as height and width; one number is a square.
pub(super) fn resolution(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| match s.parse::<usize>() {
        Ok(n) if (1..=8192).contains(&n) => Ok(n),
        _ => Err("expected a side such as 256, or HEIGHTxWIDTH such as 256x320, each from 1 to 8192".to_string()),
    };
    match text.split_once('x') {
        Some((h, w)) => Ok([side(h)?, side(w)?]),
        None => Ok([side(text)?; 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let rows = [["name", "n"], ["a", "10"], ["long", "5"]].map(|r| r.map(String::from).to_vec());
        assert_eq!(table(&rows, "  "), "  name   n\n  a     10\n  long   5\n");
    }

    #[test]
    fn resolutions() {
        assert_eq!(resolution("224"), Ok([224, 224]));
        assert_eq!(resolution("256x320"), Ok([256, 320]));
        for wrong in ["", "0", "x", "224x", "-1", "9000", "224,224"] {
            assert!(resolution(wrong).is_err(), "{wrong}");
        }
    }
}
