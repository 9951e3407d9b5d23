//! Characters to names, numbers, types and lists.

use super::error::{ParseError, Result};
use crate::ty::{DType, Dim, Shape, Type};
use crate::word::Word;

/// Largest number in a shape or an attribute, exclusive: products of two still fit.
const LIMIT: usize = 1 << 30;

/// Most brackets inside each other: bounds the parser's stack.
const MAX_DEPTH: usize = 64;

/// The part of a text that is not read yet. A line ends a statement, except inside brackets.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    pub(super) rest: &'a str,
    line: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a text, whose first line has this number.
    pub fn new(text: &'a str, line: usize) -> Self {
        Cursor { rest: text, line, depth: 0 }
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// An error here.
    ///
    /// # Errors
    /// Always.
    pub fn fail<T>(&self, expected: &str) -> Result<T> {
        let rest = self.rest.lines().next().unwrap_or_default();
        let found = match rest.char_indices().nth(24) {
            _ if rest.is_empty() => "the end of the line".to_string(),
            Some((cut, _)) => format!("`{}…`", &rest[..cut]),
            None => format!("`{rest}`"),
        };
        Err(ParseError::new(self.line, format!("expected {expected}, found {found}")))
    }

    /// Skip spaces, inside brackets also ends of lines and lines that begin with `#`.
    fn skip(&mut self) {
        loop {
            let end = self.rest.find(|c: char| !c.is_whitespace() || c == '\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
            if self.depth == 0 || !self.next_line() {
                return;
            }
            while self.rest.trim_start().starts_with('#') {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
                if !self.next_line() {
                    return;
                }
            }
        }
    }

    /// Go over the end of a line, if that is next.
    fn next_line(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix('\n') else { return false };
        self.rest = rest;
        self.line += 1;
        true
    }

    /// Go to the next line that says something; its indentation, or `None` at the end of the text.
    pub(super) fn next_statement(&mut self) -> Option<usize> {
        loop {
            let start = self.rest;
            self.skip();
            let indentation = start.len() - self.rest.len();
            if self.rest.starts_with('#') {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            }
            if self.rest.is_empty() {
                return None;
            }
            if !self.next_line() {
                return Some(indentation);
            }
        }
    }

    /// Take `token` if it comes next, spaces skipped before and after.
    pub fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        self.skip();
        true
    }

    /// Take `token`.
    ///
    /// # Errors
    /// If something else comes next.
    pub fn require(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { self.fail(&format!("`{token}`")) }
    }

    /// Nothing more stands on the line.
    ///
    /// # Errors
    /// If something does.
    pub fn end(&self) -> Result<()> {
        if self.rest.is_empty() || self.rest.starts_with('\n') { Ok(()) } else { self.fail("the end of the line") }
    }

    /// True if the next character satisfies `accept`.
    pub fn at(&self, accept: impl Fn(char) -> bool) -> bool {
        self.rest.starts_with(accept)
    }

    pub(super) fn starts_with(&self, token: &str) -> bool {
        self.rest.starts_with(token)
    }

    /// The longest run of characters that satisfy `accept`.
    pub(super) fn run(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let (run, rest) = self.rest.split_at(self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        run
    }

    /// A word of letters, digits and `._-+/`.
    ///
    /// # Errors
    /// If none comes next; the error says that `expected` was.
    pub fn word(&mut self, expected: &str) -> Result<&'a str> {
        match self.run(is_bare) {
            "" => self.fail(expected),
            word => Ok(word),
        }
    }

    /// A name, in quotes where it is not a word.
    ///
    /// # Errors
    /// If none comes next.
    pub fn name(&mut self) -> Result<String> {
        if self.rest.starts_with('"') { self.quoted() } else { self.word("a name").map(str::to_string) }
    }

    pub(super) fn quoted(&mut self) -> Result<String> {
        let Some(rest) = self.rest.strip_prefix('"') else { return self.fail("`\"`") };
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((at, 'u')) => {
                        let code =
                            rest[at + 1..].strip_prefix('{').and_then(|r| r.split_once('}')).map(|(code, _)| code);
                        let c = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
                        let (Some(code), Some(c)) = (code, c) else { return self.fail("escapes like `\\u{a}`") };
                        text.push(c);
                        chars.nth(code.len() + 1);
                    }
                    _ => return self.fail("the escapes `\\\"`, `\\\\` and `\\u{…}` only"),
                },
                '\n' => break,
                c => text.push(c),
            }
        }
        self.fail("a closing quote")
    }

    pub(super) fn number(&mut self) -> Result<usize> {
        let before = self.clone();
        number(self.run(|c| c.is_ascii_digit())).map_or_else(|| before.fail("a number below 2^30"), Ok)
    }

    /// `one` repeated with commas between, up to `close`.
    ///
    /// # Errors
    /// If `one` fails, anything else comes between, or brackets are too deep inside each other.
    pub fn list<T>(&mut self, close: &str, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if self.depth == MAX_DEPTH {
            return self.fail(&format!("at most {MAX_DEPTH} brackets inside each other"));
        }
        self.depth += 1;
        self.skip();
        let mut items = Vec::new();
        while !self.rest.starts_with(close) {
            if !items.is_empty() && !self.eat(",") {
                return self.fail(&format!("`,` or `{close}`"));
            }
            items.push(one(self)?);
            self.skip();
        }
        self.depth -= 1;
        self.require(close)?;
        Ok(items)
    }

    /// `f32[B,3,8,8]`.
    ///
    /// # Errors
    /// If no type comes next.
    pub fn ty(&mut self) -> Result<Type> {
        let Some(&dtype) = DType::ALL.iter().find(|d| self.eat(d.word())) else {
            return self.fail("a type like f32[1,3]");
        };
        self.require("[")?;
        let dims = self.list("]", |c| {
            if c.eat("B") {
                return Ok(Dim::Batch(1));
            }
            match c.number()? {
                0 => c.fail("a dimension of at least 1"),
                n if c.eat("B") => Ok(Dim::Batch(n)),
                n => Ok(Dim::Fixed(n)),
            }
        })?;
        Ok(Type::new(dtype, Shape(dims)))
    }
}

/// Characters of names that need no quotes.
pub(crate) fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "._-+/".contains(c)
}

/// A number without sign and below the limit.
pub(super) fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&n| digits && n < LIMIT)
}
