//! A file that gives a picture and its class a line: with a comma between them (CSV, with quotes where a name holds one), a tab or spaces.

use super::error::EvaluateError;
use super::truth::{Case, Shown};
use std::path::Path;

/// The pictures of a list, whose paths are relative to a folder. A class is an index or a name. Blank lines and lines that begin with `#` say
/// nothing; the first line may be a header.
pub(super) fn read(
    folder: &Path,
    file: &Path,
    classes: usize,
    labels: Option<&[String]>,
) -> Result<Vec<Case>, EvaluateError> {
    let text = std::fs::read_to_string(file).map_err(|source| EvaluateError::Io { path: file.into(), source })?;
    let fail = |line: usize, what: String| {
        Err(EvaluateError::Classes { path: file.into(), what: format!("line {}: {what}", line + 1) })
    };
    let mut cases = Vec::new();
    let mut first = true;
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = std::mem::take(&mut first);
        let Some((path, class)) = fields(line) else {
            return fail(at, format!("expected a path and a class, found {line:?}"));
        };
        let picture = folder.join(&path);
        let index = labels.and_then(|l| l.iter().position(|l| *l == class)).or_else(|| class.parse::<usize>().ok());
        let Some(index) = index else {
            if header && !picture.exists() {
                continue;
            }
            let names =
                if labels.is_some() { "neither a number nor the name of a class" } else { "not the number of a class" };
            return fail(at, format!("{class:?} is {names}"));
        };
        if index >= classes {
            return fail(at, format!("class {index} is given, and the artifact has the classes 0 to {}", classes - 1));
        }
        cases.push(Case { picture, shown: Shown::Class(index) });
    }
    if cases.is_empty() { fail(0, "lists no pictures".into()) } else { Ok(cases) }
}

/// Path and class of a line.
fn fields(line: &str) -> Option<(String, String)> {
    let pair = |path: &str, class: &str| {
        let (path, class) = (plain(path), plain(class));
        (!path.is_empty() && !class.is_empty()).then_some((path, class))
    };
    if line.contains(',') {
        let mut inside = false;
        let commas: Vec<usize> = line
            .char_indices()
            .filter(|&(_, c)| {
                inside ^= c == '"';
                c == ',' && !inside
            })
            .map(|(at, _)| at)
            .collect();
        return match commas[..] {
            [at] => pair(&line[..at], &line[at + 1..]),
            _ => None,
        };
    }
    let (path, class) = line.rsplit_once('\t').or_else(|| line.rsplit_once(' '))?;
    pair(path, class)
}

/// A field without its quotes.
fn plain(field: &str) -> String {
    let field = field.trim();
    match field.strip_prefix('"').and_then(|f| f.strip_suffix('"')) {
        Some(inside) => inside.replace("\"\"", "\""),
        None => field.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_paths_and_classes() {
        for (line, path, class) in [
            ("a/b.jpg,3", "a/b.jpg", "3"),
            ("a b.jpg 3", "a b.jpg", "3"),
            ("a b.jpg\tred fox", "a b.jpg", "red fox"),
            ("a.jpg,\"tench, Tinca tinca\"", "a.jpg", "tench, Tinca tinca"),
            ("\"a,b.jpg\", 3", "a,b.jpg", "3"),
        ] {
            assert_eq!(fields(line), Some((path.into(), class.into())), "{line}");
        }
        for line in ["a.jpg", "a.jpg,", ",3", "a.jpg,3,4", "\"a.jpg,3"] {
            assert_eq!(fields(line), None, "{line}");
        }
    }

    #[test]
    fn classes_are_numbers_or_names_and_a_header_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.csv");
        let labels: Vec<String> = ["cat", "dog", "2"].map(String::from).to_vec();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(folder.path(), &file, 3, Some(&labels))
        };
        let shown: Vec<Shown> =
            read("path,label\n\n# pets\na.jpg,dog\nb.jpg,0\nc.jpg,2\n").unwrap().into_iter().map(|c| c.shown).collect();
        assert_eq!(shown, [1, 0, 2].map(Shown::Class));
        for (text, what) in [
            ("a.jpg,dog\nb.jpg,bird\n", "line 2: \"bird\" is neither"),
            ("a.jpg,3\n", "line 1: class 3 is given"),
            ("a.jpg\n", "expected a path and a class"),
            ("path,label\n", "lists no pictures"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
