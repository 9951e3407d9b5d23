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

/// A number for each channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Colours(pub(super) Vec<f64>);

/// Mean of each channel.
pub(super) fn mean(text: &str) -> Result<Colours, String> {
    let what = "a number from 0 to 1 for each channel, such as 0.485,0.456,0.406";
    colours(text, what, |x| (0.0..=1.0).contains(&x))
}

/// Standard deviation of each channel.
pub(super) fn std(text: &str) -> Result<Colours, String> {
    let what = "a number above 0 and up to 1 for each channel, such as 0.229,0.224,0.225";
    colours(text, what, |x| x > 0.0 && x <= 1.0)
}

/// A share above 0 and up to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a number above 0 and up to 1, such as 0.875".into())
}

/// Numbers with commas between them, each fitting pixels in 0..1.
fn colours(text: &str, what: &str, fits: impl Fn(f64) -> bool) -> Result<Colours, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|x| x.trim().parse().ok()).collect();
    match numbers {
        Some(numbers) if numbers.iter().all(|x| fits(*x)) => Ok(Colours(numbers)),
        Some(numbers) if numbers.iter().all(|x| x.is_finite() && fits(x / 255.0)) => {
            Err(format!("expected {what}\n  these are for pixels in 0..255: divide them by 255"))
        }
        _ => Err(format!("expected {what}")),
    }
}

/// A level in dB.
pub(super) fn decibels(text: &str) -> Result<f64, String> {
    let level: f64 = text.trim_end_matches("dB").trim().parse().map_err(|_| "is no number of dB".to_string())?;
    if (0.0..=120.0).contains(&level) { Ok(level) } else { Err("lies outside of 0 to 120 dB".into()) }
}

/// A share, as in `98%` or `0.98`.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let (number, hundred) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share: f64 = number.trim().parse().map_err(|_| "is no share, as in 98%".to_string())?;
    let share = share / hundred;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("lies outside of 0 to 100%".into()) }
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
    fn means_and_deviations_are_for_pixels_in_0_to_1() {
        assert_eq!(mean("0.485,0.456,0.406"), Ok(Colours(vec![0.485, 0.456, 0.406])));
        assert_eq!((mean("0,0,0"), std("1")), (Ok(Colours(vec![0.0; 3])), Ok(Colours(vec![1.0]))));
        for wrong in ["", "0.5,,0.5", "0.5,NaN,0.5", "0.5,-0.1,0.5", "0.5,inf,0.5", "a,b,c"] {
            assert!(mean(wrong).is_err() && std(wrong).is_err(), "{wrong}");
        }
        assert!(std("0.2,0,0.2").is_err());
        assert!(mean("123.675,116.28,103.53").is_err_and(|e| e.contains("divide them by 255")));
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
