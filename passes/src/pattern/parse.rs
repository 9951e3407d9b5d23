//! Reads rules from text.

use super::facts::{FACTS, FUNCTIONS};
use super::sections::{Line, Sections, header, sections};
use super::term::*;
use std::collections::HashMap;
use vitc_ir::parse::{Cursor, ParseError};

type Result<T> = std::result::Result<T, ParseError>;

/// The rules of a text, or of the header of a source file.
pub(crate) fn rules(source: &str) -> std::result::Result<Vec<Rule>, String> {
    let text = header(source).unwrap_or_else(|| source.to_string());
    let rules = sections(&text)?;
    rules.iter().map(|sections| rule(sections).map_err(|e| e.to_string())).collect()
}

fn rule(sections: &Sections) -> Result<Rule> {
    let mut names = Names::default();
    let mut givens = Vec::new();
    let mut root = None;
    for lines in &sections.givens {
        let (given, var) =
            Spelling { names: &mut names, given: Given::default(), known: HashMap::new() }.read(lines)?;
        if root.is_some_and(|root| root != var) {
            return Err(error(lines[0].0, "every Given of a rule ends with the same name"));
        }
        root = Some(var);
        givens.push(given);
    }
    let first = sections.result[0].0;
    let root = root.ok_or_else(|| error(first, "expected a Given"))?;
    let mut conditions = Vec::new();
    for &(at, text) in &sections.conditions {
        let mut cursor = Cursor::new(text, at);
        conditions.push(names.condition(&mut cursor)?);
        while cursor.eat(",") {
            conditions.push(names.condition(&mut cursor)?);
        }
        cursor.end()?;
    }
    let result = Making { names: &mut names, root, template: Template::default(), made: HashMap::new() }
        .read(&sections.result)?;
    Ok(Rule { givens, conditions, result, values: names.values, words: names.words, root })
}

fn error(line: usize, what: impl Into<String>) -> ParseError {
    ParseError::new(line, what)
}

/// The names of a rule, by number.
#[derive(Default)]
struct Names {
    values: Vec<String>,
    words: Vec<String>,
}

fn number_of(names: &mut Vec<String>, name: &str) -> Var {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_string());
        names.len() - 1
    })
}

impl Names {
    /// `%name`, without the sign.
    fn value(&mut self, cursor: &mut Cursor) -> Result<Var> {
        cursor.require("%")?;
        let name = cursor.word("a name")?;
        Ok(number_of(&mut self.values, name))
    }

    fn known(&self, cursor: &Cursor, name: &str) -> Result<Var> {
        let known = self.values.iter().position(|n| n == name);
        known.map_or_else(|| cursor.fail(&format!("a name of a Given; none is called `%{name}`")), Ok)
    }

    /// A single letter is a word of the rule, anything else the text itself.
    fn item(&mut self, cursor: &mut Cursor) -> Result<Item> {
        if cursor.eat("[") {
            return Ok(Item::List(cursor.list("]", |c| self.item(c))?));
        }
        let word = cursor.word("a value")?;
        if cursor.eat("(") {
            let Some(&function) = FUNCTIONS.iter().find(|f| f.name == word) else {
                return cursor.fail(&format!("a function; none is called `{word}`"));
            };
            return Ok(Item::Compute(function, cursor.list(")", |c| self.argument(c))?));
        }
        Ok(match is_letter(word) {
            true => Item::Word(number_of(&mut self.words, word)),
            false => Item::Text(word.to_string()),
        })
    }

    fn argument(&mut self, cursor: &mut Cursor) -> Result<Argument> {
        if !cursor.eat("%") {
            return Ok(Argument::Item(self.item(cursor)?));
        }
        let name = cursor.word("a name")?;
        Ok(Argument::Value(self.known(cursor, name)?))
    }

    /// `{axis=a, keep}`, or nothing.
    fn attributes(&mut self, cursor: &mut Cursor) -> Result<Vec<(String, Item)>> {
        if !cursor.eat("{") {
            return Ok(Vec::new());
        }
        cursor.list("}", |c| {
            let key = c.word("an attribute")?.to_string();
            let item = if c.eat("=") { self.item(c)? } else { Item::Text(String::new()) };
            Ok((key, item))
        })
    }

    fn shape(&mut self, cursor: &mut Cursor) -> Result<Option<ShapePattern>> {
        if !cursor.eat("[") {
            return Ok(None);
        }
        let open = cursor.eat("..");
        if open && !cursor.eat(",") {
            cursor.require("]")?;
            return Ok(Some(ShapePattern { open, dims: Vec::new() }));
        }
        Ok(Some(ShapePattern { open, dims: cursor.list("]", |c| self.item(c))? }))
    }

    fn condition(&mut self, cursor: &mut Cursor) -> Result<Condition> {
        let name = cursor.word("a fact")?;
        let Some(&fact) = FACTS.iter().find(|f| f.name == name) else {
            return cursor.fail(&format!("a fact; none is called `{name}`"));
        };
        cursor.require("(")?;
        Ok(Condition { fact, arguments: cursor.list(")", |c| self.argument(c))? })
    }
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && word.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A number written out, or `None` if something else comes next.
fn literal(cursor: &mut Cursor) -> Result<Option<f64>> {
    if !cursor.at(|c| c.is_ascii_digit() || c == '-') {
        return Ok(None);
    }
    let text = cursor.word("a number")?;
    text.parse().map_or_else(|_| cursor.fail(&format!("a number, not `{text}`")), |x| Ok(Some(x)))
}

/// The number that an operator makes of numbers.
fn folded(word: &str, operands: &[f64]) -> Option<f64> {
    Some(match (word, operands) {
        ("sqrt", [x]) => x.sqrt(),
        ("neg", [x]) => -x,
        ("add", [a, b]) => a + b,
        ("sub", [a, b]) => a - b,
        ("mul", [a, b]) => a * b,
        ("div", [a, b]) => a / b,
        _ => return None,
    })
}

// ---- Given ----------------------------------------------------------------------------------------------------------

/// One Given as it is read.
struct Spelling<'n> {
    names: &'n mut Names,
    given: Given,
    /// The terms of names.
    known: HashMap<Var, TermId>,
}

impl Spelling<'_> {
    fn read(mut self, lines: &[Line]) -> Result<(Given, Var)> {
        let mut root = None;
        for &(at, text) in lines {
            let mut cursor = Cursor::new(text, at);
            let var = self.names.value(&mut cursor)?;
            cursor.require("=")?;
            let term = self.term(&mut cursor)?;
            cursor.end()?;
            let Some(inner) = self.inner(term).filter(|inner| inner.var.is_none()) else {
                return Err(error(at, "expected an operator behind `=`"));
            };
            (inner.var, inner.reads) = (Some(var), 0);
            if self.known.insert(var, term).is_some() {
                return Err(error(at, "this name is taken"));
            }
            root = Some((term, var));
        }
        let (term, var) = root.ok_or_else(|| error(1, "a Given has no statement"))?;
        self.given.root = term;
        Ok((self.given, var))
    }

    fn inner(&mut self, term: TermId) -> Option<&mut Inner> {
        match &mut self.given.terms[term] {
            Term::Apply(apply) => Some(&mut apply.inner),
            Term::Chain(chain) => Some(&mut chain.inner),
            Term::Free(_) | Term::Number(_) => None,
        }
    }

    fn push(&mut self, term: Term) -> TermId {
        self.given.terms.push(term);
        self.given.terms.len() - 1
    }

    fn term(&mut self, cursor: &mut Cursor) -> Result<TermId> {
        if cursor.at(|c| c == '%') {
            return self.value(cursor, false);
        }
        if let Some(x) = literal(cursor)? {
            return Ok(self.push(Term::Number(Number::Fixed(x))));
        }
        let word = cursor.word("an expression")?;
        match word {
            "const" if cursor.eat("") && cursor.at(|c| c == '%') => self.value(cursor, true),
            "shared" if cursor.eat("") && cursor.at(|c| c.is_alphabetic()) => {
                let term = self.term(cursor)?;
                match self.inner(term) {
                    Some(inner) => inner.shared = true,
                    None => return cursor.fail("an operator behind `shared`"),
                }
                Ok(term)
            }
            _ if cursor.eat("(") => self.operator(word, cursor),
            _ if is_letter(word) => {
                let word = number_of(&mut self.names.words, word);
                Ok(self.push(Term::Number(Number::Word(word))))
            }
            _ => cursor.fail("`(`"),
        }
    }

    fn value(&mut self, cursor: &mut Cursor, constant: bool) -> Result<TermId> {
        let var = self.names.value(cursor)?;
        if let Some(&term) = self.known.get(&var) {
            if let Some(inner) = self.inner(term) {
                inner.reads += 1;
            }
            return Ok(term);
        }
        let shape = self.names.shape(cursor)?;
        Ok(self.push(Term::Free(Free { var, constant, shape })))
    }

    /// `operands){attributes}` behind `word(`.
    fn operator(&mut self, word: &str, cursor: &mut Cursor) -> Result<TermId> {
        let operands = cursor.list(")", |c| self.term(c))?;
        let numbers: Option<Vec<f64>> = operands.iter().map(|&t| self.fixed(t)).collect();
        if let Some(x) = numbers.and_then(|numbers| folded(word, &numbers)) {
            return Ok(self.push(Term::Number(Number::Fixed(x))));
        }
        let inner = Inner { var: None, reads: 1, shared: false };
        if let Some((group, inverted)) = Group::of(word) {
            let elements = self.elements(group, &operands, inverted);
            if elements.is_empty() || elements.len() > LONGEST_CHAIN {
                return cursor.fail(&format!("1 to {LONGEST_CHAIN} operands of one kind of operator"));
            }
            return Ok(self.push(Term::Chain(Chain { inner, group, elements })));
        }
        let attributes = self.names.attributes(cursor)?;
        Ok(self.push(Term::Apply(Apply { inner, word: word.to_string(), attributes, operands })))
    }

    fn fixed(&self, term: TermId) -> Option<f64> {
        match self.given.terms[term] {
            Term::Number(Number::Fixed(x)) => Some(x),
            _ => None,
        }
    }

    /// Operands flattened: those of operators of the same group without a name in their place, and no identities.
    fn elements(&self, group: Group, operands: &[TermId], inverted: [bool; 2]) -> Vec<Element> {
        let of = |(i, &term): (usize, &TermId)| {
            let inverse = inverted.get(i).copied().unwrap_or(false);
            match &self.given.terms[term] {
                Term::Chain(c) if c.group == group && c.inner.var.is_none() && !c.inner.shared => {
                    c.elements.iter().map(|e| Element { inverse: e.inverse != inverse, ..*e }).collect()
                }
                _ if self.fixed(term).is_some() && self.fixed(term) == group.identity() => Vec::new(),
                _ => vec![Element { term, inverse }],
            }
        };
        operands.iter().enumerate().flat_map(of).collect()
    }
}

// ---- Result ---------------------------------------------------------------------------------------------------------

/// The Result as it is read.
struct Making<'n> {
    names: &'n mut Names,
    root: Var,
    template: Template,
    /// What the names of the Result stand for.
    made: HashMap<String, Source>,
}

impl Making<'_> {
    fn read(mut self, lines: &[Line]) -> Result<Template> {
        for &(at, text) in lines {
            let mut cursor = Cursor::new(text, at);
            cursor.require("%")?;
            let name = cursor.word("a name")?;
            let (base, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
            let base = self.names.known(&cursor, base)?;
            cursor.require("=")?;
            let steps = self.template.steps.len();
            let source = self.source(&mut cursor)?;
            cursor.end()?;
            if let Some(step) = self.template.steps[steps..].last_mut() {
                step.path = (base, suffix.to_string());
            }
            self.made.insert(name.to_string(), source.clone());
            self.template.result = Some(source);
        }
        Ok(self.template)
    }

    fn source(&mut self, cursor: &mut Cursor) -> Result<Source> {
        if cursor.eat("%") {
            let name = cursor.word("a name")?;
            return match self.made.get(name) {
                Some(source) => Ok(source.clone()),
                None => Ok(Source::Given(self.names.known(cursor, name)?)),
            };
        }
        if let Some(x) = literal(cursor)? {
            return Ok(Source::Number(Number::Fixed(x)));
        }
        let word = cursor.word("an expression")?;
        if !cursor.eat("(") {
            return match is_letter(word) {
                true => Ok(Source::Number(Number::Word(number_of(&mut self.names.words, word)))),
                false => cursor.fail("`(`"),
            };
        }
        let operands = cursor.list(")", |c| self.source(c))?;
        let numbers = operands.iter().map(|source| match source {
            Source::Number(Number::Fixed(x)) => Some(*x),
            _ => None,
        });
        if let Some(x) = numbers.collect::<Option<Vec<f64>>>().and_then(|numbers| folded(word, &numbers)) {
            return Ok(Source::Number(Number::Fixed(x)));
        }
        let attributes = self.names.attributes(cursor)?;
        let path = (self.root, format!(".{word}"));
        self.template.steps.push(Step { word: word.to_string(), attributes, operands, path });
        Ok(Source::Step(self.template.steps.len() - 1))
    }
}
