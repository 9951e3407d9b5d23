//! Names of classes out of a file: one a line, with the class's number in front or without; JSON as a list, `id2label` or ImageNet's index; CSV with an index and a name a row.

use crate::checkpoint;
use std::path::Path;

/// The names, in the order of their classes; what is wrong in words, if they cannot be had.
pub(super) fn read(text: &str, path: &Path) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with(['{', '[']) {
        return json(text);
    }
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if OTHER_FORMS.contains(&ending.as_str()) {
        return Err(format!("is of a form that is not read: .{ending}\n  give one name a line, JSON or CSV"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if ["csv", "tsv"].contains(&ending.as_str()) {
        return csv(text);
    }
    if lines.iter().all(|line| line.contains('\t'))
        && let Ok(names) = csv(text)
    {
        return Ok(names);
    }
    Ok(numbered(&lines).unwrap_or_else(|| lines.iter().map(|l| l.to_string()).collect()))
}

/// Endings of files that hold names among other things.
const OTHER_FORMS: &[&str] = &["yaml", "yml", "pbtxt", "xml", "toml"];

/// The names of lines that all begin with a number, in the order of the numbers, which count from 0 or 1.
fn numbered(lines: &[&str]) -> Option<Vec<String>> {
    let numbered = |line: &&str| {
        let digits = line.find(|c: char| !c.is_ascii_digit())?;
        let name = line[digits..].strip_prefix([':', ' ', ',', ';', '.', ')'])?.trim();
        Some((line[..digits].parse::<usize>().ok()?, name.to_string())).filter(|(_, name)| !name.is_empty())
    };
    let mut all: Vec<(usize, String)> = lines.iter().map(numbered).collect::<Option<_>>()?;
    all.sort();
    let first = all.first()?.0;
    let counted = first <= 1 && all.iter().enumerate().all(|(i, (number, _))| *number == first + i);
    counted.then(|| all.into_iter().map(|(_, name)| name).collect())
}

fn json(text: &str) -> Result<Vec<String>, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"))?;
    let inner = ["id2label", "label_names", "class_names", "classes", "names"].iter().find_map(|key| json.get(*key));
    checkpoint::labels(inner.unwrap_or(&json)).ok_or_else(|| {
        "is JSON of another form\n  give a list of names, or names by class number: {\"0\": \"cat\", \"1\": \"dog\"}".into()
    })
}

fn csv(text: &str) -> Result<Vec<String>, String> {
    let lines = || text.lines().filter(|l| !l.trim().is_empty());
    // Where every row has a tab, a comma is a name's.
    let separators: &[char] = if lines().all(|l| l.contains('\t')) { &['\t'] } else { &[',', ';', '\t'] };
    let rows: Vec<Vec<String>> = lines().map(|line| fields(line, separators)).collect();
    let number = |row: &[String], column: usize| row.get(column).and_then(|f| f.parse::<usize>().ok());
    if rows.iter().all(|row| row.len() == 1) {
        return Ok(rows.into_iter().flatten().collect());
    }
    for (index, name) in [(0, 1), (1, 0)] {
        // A header has no number in that column.
        let body = if rows.first().is_some_and(|row| number(row, index).is_none()) { &rows[1..] } else { &rows[..] };
        let mut names = vec![None; body.len()];
        let placed = body.iter().all(|row| {
            let slot = number(row, index).and_then(|i| names.get_mut(i));
            slot.zip(row.get(name)).is_some_and(|(slot, name)| slot.replace(name.clone()).is_none())
        });
        if let (true, Some(names)) = (placed && !body.is_empty(), names.into_iter().collect::<Option<Vec<_>>>()) {
            return Ok(names);
        }
    }
    Err("has no column of class numbers from 0 on beside the names\n  give two columns, number and name, or one name a line".into())
}

/// The fields of one row; quotes keep separators, two quotes are one.
fn fields(line: &str, separators: &[char]) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().into_iter().for_each(|f| f.push('"'));
            }
            '"' => quoted = !quoted,
            c if separators.contains(&c) && !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|f| f.push(c)),
        }
    }
    fields.into_iter().map(|f| f.trim().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_form() {
        for (file, text) in [
            ("l.txt", "cat\n\n dog, brown \n"),
            ("l.json", r#"["cat", "dog, brown"]"#),
            ("config.json", r#"{"id2label": {"1": "dog, brown", "0": "cat"}, "other": 1}"#),
            ("index.json", r#"{"0": ["n01", "cat"], "1": ["n02", "dog, brown"]}"#),
            ("l.csv", "class,name\n0,cat\n1,\"dog, brown\"\n"),
            ("l.csv", "\"dog, brown\",1\r\ncat,0\r\n"),
            ("l.txt", "1 dog, brown\n0 cat\n"),
            ("l.txt", "1: cat\n2: dog, brown\n"),
            ("l.txt", "dog, brown\t1\ncat\t0\n"),
        ] {
            assert_eq!(read(text, Path::new(file)).unwrap(), ["cat", "dog, brown"], "{text}");
        }
        assert_eq!(read("a\nb", Path::new("l.csv")).unwrap(), ["a", "b"]);
        assert_eq!(read("n01\ttench\nn02\tshark", Path::new("l.txt")).unwrap(), ["n01\ttench", "n02\tshark"]);
        // Numbers that do not count the lines are part of the names.
        assert_eq!(read("3 series\n5 series", Path::new("l.txt")).unwrap(), ["3 series", "5 series"]);
        for (file, text) in [
            ("l.yaml", "names:\n  0: a"),
            ("l.json", "[1, 2]"),
            ("l.json", "{"),
            ("l.csv", "1,a\n2,b"),
            ("l.csv", "a,b\nc,d"),
            ("l.csv", "0,a\n0,b"),
        ] {
            assert!(read(text, Path::new(file)).is_err(), "{text}");
        }
    }
}
