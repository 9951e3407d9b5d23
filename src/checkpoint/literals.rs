//! Literals out of a configuration that is Python text: `crop_size=(512, 512)`, `'align_corners': False`. Nothing of it is run.

/// Deepest nesting of lists.
const MAX_DEPTH: usize = 4;
/// Most elements of a list.
const MAX_ITEMS: usize = 1 << 12;

/// Most values of one name that are told apart.
const MOST_VALUES: usize = 8;

/// A value written out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Number(f64),
    Bool(bool),
    Text(String),
    List(Vec<Literal>),
}

impl Literal {
    /// The numbers of a list, or the one number.
    pub(super) fn numbers(&self) -> Option<Vec<f64>> {
        let number = |l: &Literal| match l {
            Literal::Number(x) => Some(*x),
            _ => None,
        };
        match self {
            Literal::Number(x) => Some(vec![*x]),
            Literal::List(items) => items.iter().map(number).collect(),
            Literal::Bool(_) | Literal::Text(_) => None,
        }
    }
}

/// The value that the text gives this name everywhere; `None` if it gives none, or several that differ.
pub(super) fn literal(text: &str, name: &str) -> Option<Literal> {
    match &values(text, name)[..] {
        [value] => Some(value.clone()),
        _ => None,
    }
}

/// The different literals that the text gives this name, in their order.
pub(super) fn values(text: &str, name: &str) -> Vec<Literal> {
    let mut found: Vec<Literal> = Vec::new();
    for (at, _) in text.match_indices(name) {
        let value = given(text, name, at).and_then(|value| parse(value, MAX_DEPTH));
        found.extend(value.map(|(value, _)| value).filter(|value| !found.contains(value)));
        if found.len() > MOST_VALUES {
            break;
        }
    }
    found
}

/// What stands inside the brackets that the text gives this name, wherever it does: `neck=dict(…)`, `'neck': {…}`, `neck=[…]`.
pub(super) fn sections<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let in_brackets = |at| {
        let value = given(text, name, at)?;
        let open = value.find(['(', '{', '['])?;
        let call = value[..open].chars().all(|c| c.is_alphanumeric() || "._".contains(c));
        inside(value.get(open..).filter(|_| call)?)
    };
    text.match_indices(name).filter_map(|(at, _)| in_brackets(at)).collect()
}

/// What stands between the bracket that the text begins with and the one that closes it; brackets in quotes do not count.
fn inside(text: &str) -> Option<&str> {
    let (mut depth, mut quoted) = (0usize, None);
    for (at, c) in text.char_indices() {
        match (c, quoted) {
            ('\'' | '"', None) => quoted = Some(c),
            (c, Some(quote)) if c == quote => quoted = None,
            (_, Some(_)) => {}
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) if depth == 1 => return text.get(1..at),
            (')' | ']' | '}', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

/// What follows `=` or `:` behind the name at this place, if it is a whole word there.
fn given<'t>(text: &'t str, name: &str, at: usize) -> Option<&'t str> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let behind = &text[at + name.len()..];
    if text[..at].chars().next_back().is_some_and(in_word) || behind.chars().next().is_some_and(in_word) {
        return None;
    }
    let behind = behind.strip_prefix(['\'', '"']).unwrap_or(behind).trim_start();
    Some(behind.strip_prefix(['=', ':']).filter(|rest| !rest.starts_with('='))?.trim_start())
}

/// The literal at the start of the text, and what follows it.
fn parse(text: &str, depth: usize) -> Option<(Literal, &str)> {
    match text.chars().next()? {
        '[' | '(' => list(&text[1..], depth.checked_sub(1)?),
        quote @ ('\'' | '"') => {
            let end = text[1..].find(quote)?;
            Some((Literal::Text(text[1..=end].to_string()), &text[end + 2..]))
        }
        _ => {
            let end = text.find(|c: char| !(c.is_alphanumeric() || "+-._".contains(c))).unwrap_or(text.len());
            let value = match &text[..end] {
                "True" | "true" => Literal::Bool(true),
                "False" | "false" => Literal::Bool(false),
                word => Literal::Number(word.parse().ok().filter(|x: &f64| x.is_finite())?),
            };
            Some((value, &text[end..]))
        }
    }
}

/// The elements of a list or tuple up to its end.
fn list(mut text: &str, depth: usize) -> Option<(Literal, &str)> {
    let mut items = Vec::new();
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(rest) = text.strip_prefix([']', ')']) {
            return Some((Literal::List(items), rest));
        }
        let (item, rest) = parse(text, depth)?;
        items.push(item);
        if items.len() > MAX_ITEMS {
            return None;
        }
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_where_they_are_given() {
        let text = "crop_size = (512, 1024)\ndict(type='Resize', img_scale=(1333, 800), 'pool_scales': [1, 2])\nalign_corners=False, x_align_corners=True";
        let numbers = |name| literal(text, name).and_then(|l| l.numbers());
        assert_eq!(numbers("crop_size"), Some(vec![512.0, 1024.0]));
        assert_eq!(numbers("img_scale"), Some(vec![1333.0, 800.0]));
        assert_eq!(numbers("pool_scales"), Some(vec![1.0, 2.0]));
        assert_eq!(literal(text, "align_corners"), Some(Literal::Bool(false)));
        assert_eq!(literal(text, "type"), Some(Literal::Text("Resize".into())));
    }

    #[test]
    fn sections_are_what_brackets_hold() {
        let text = "model=dict(neck=dict(a=1, b='x)'), 'head': {c: [1, 2]}, heads=[dict(a=2), dict(a=3)]) neck=f(d=(1,)) neck=3 neck=dict(";
        assert_eq!(sections(text, "neck"), ["a=1, b='x)'", "d=(1,)"]);
        assert_eq!(sections(text, "head"), ["c: [1, 2]"]);
        assert_eq!(sections(text, "heads"), ["dict(a=2), dict(a=3)"]);
        assert_eq!(sections("neck=1 + (2)", "neck"), [""; 0]);
        assert_eq!(values(text, "a"), [1.0, 2.0, 3.0].map(Literal::Number));
    }

    #[test]
    fn what_is_no_literal_or_differs_is_absent() {
        for text in ["a=b", "a==1", "a=1\na=2", "a=(1, b)", "a=[1", "a=[[[[[1]]]]]", "a='x", "ba=1", "a", "a=", "a=nan"]
        {
            assert_eq!(literal(text, "a"), None, "{text}");
        }
    }
}
