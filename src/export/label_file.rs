//! Names of classes out of a file: one a line; JSON as a list, `id2label` or ImageNet's index; CSV with an index and a name a row.

use crate::checkpoint;
use std::path::Path;

/// The names, in the order of their classes; what is wrong in words, if they cannot be had.
pub(super) fn read(text: &str, path: &Path) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with(['{', '[']) {
        return json(text);
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
        return csv(text);
    }
    Ok(text.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect())
}

fn json(text: &str) -> Result<Vec<String>, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"))?;
    let inner = ["id2label", "label_names", "class_names", "classes", "names"].iter().find_map(|key| json.get(*key));
    checkpoint::labels(inner.unwrap_or(&json)).ok_or_else(|| {
        "is JSON of another form\n  give a list of names, or names by class number: {\"0\": \"cat\", \"1\": \"dog\"}".into()
    })
}

fn csv(text: &str) -> Result<Vec<String>, String> {
    let rows: Vec<Vec<String>> = text.lines().filter(|l| !l.trim().is_empty()).map(fields).collect();
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

/// The fields of one row; quotes keep commas, two quotes are one.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().into_iter().for_each(|f| f.push('"'));
            }
            '"' => quoted = !quoted,
            ',' | ';' | '\t' if !quoted => fields.push(String::new()),
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
        ] {
            assert_eq!(read(text, Path::new(file)).unwrap(), ["cat", "dog, brown"], "{text}");
        }
        assert_eq!(read("a\nb", Path::new("l.csv")).unwrap(), ["a", "b"]);
        for (file, text) in
            [("l.json", "[1, 2]"), ("l.json", "{"), ("l.csv", "1,a\n2,b"), ("l.csv", "a,b\nc,d"), ("l.csv", "0,a\n0,b")]
        {
            assert!(read(text, Path::new(file)).is_err(), "{text}");
        }
    }
}
