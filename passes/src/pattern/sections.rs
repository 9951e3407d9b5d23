//! Cuts a text into rules and their sections: which line belongs to what.

/// One line of a section: its number in the text, from 1, and what it says.
pub(crate) type Line<'a> = (usize, &'a str);

/// One rule, its lines not read yet.
#[derive(Debug, Default)]
pub(crate) struct Sections<'a> {
    pub(crate) givens: Vec<Vec<Line<'a>>>,
    pub(crate) result: Vec<Line<'a>>,
    pub(crate) conditions: Vec<Line<'a>>,
}

/// The sections of every rule.
///
/// # Errors
/// If the text begins with anything but a rule, or a rule has no Result; the error names the line.
pub(crate) fn sections(text: &str) -> Result<Vec<Sections<'_>>, String> {
    let mut rules: Vec<Sections> = Vec::new();
    let mut keyword = "";
    for (at, line) in text.lines().enumerate().flat_map(|(at, line)| pieces(line).map(move |piece| (at + 1, piece))) {
        let (first, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let starts = ["Given", "Where", "Result"].contains(&first);
        let statement = if starts { rest.trim() } else { line.trim() };
        if starts {
            keyword = first;
        }
        if starts && first == "Given" {
            match rules.last_mut() {
                Some(rule) if rule.result.is_empty() => rule.givens.push(Vec::new()),
                _ => rules.push(Sections { givens: vec![Vec::new()], ..Sections::default() }),
            }
        }
        if statement.is_empty() {
            continue;
        }
        let unknown = !starts && !line.starts_with(' ');
        let section = rules.last_mut().filter(|_| !unknown).and_then(|rule| match keyword {
            "Given" => rule.givens.last_mut(),
            "Where" => Some(&mut rule.conditions),
            _ => Some(&mut rule.result),
        });
        let Some(section) = section else {
            return Err(format!("line {at}: expected Given, Where or Result, found `{statement}`"));
        };
        section.push((at, statement));
    }
    match rules.iter().position(|rule| rule.result.is_empty()) {
        Some(at) => Err(format!("rule {} has no Result", at + 1)),
        None => Ok(rules),
    }
}

/// A line, or both halves of one that holds a Given and its Result.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    match line.find("  Result ") {
        Some(at) if line.starts_with("Given") => vec![&line[..at], &line[at + 2..]],
        _ => vec![line],
    }
    .into_iter()
}

/// The block of a source file's header that begins with a Given.
pub(crate) fn header(source: &str) -> Option<String> {
    let mut lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut text = |line: &str| line.strip_prefix(' ').unwrap_or(line).to_string();
    while lines.by_ref().any(|line| line.trim() == "```text") {
        let block: Vec<String> = lines.by_ref().take_while(|line| line.trim() != "```").map(&mut text).collect();
        if block.first().is_some_and(|line| line.starts_with("Given")) {
            return Some(block.join("\n"));
        }
    }
    None
}
