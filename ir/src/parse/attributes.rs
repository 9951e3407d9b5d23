//! Attributes of an operator: read as text first, then into the operator's fields.

use super::cursor::{Cursor, is_bare, number};
use super::error::{ParseError, Result};
use crate::op::{Op, SliceAxis};
use crate::real::Real;
use crate::ty::Type;
use crate::word::Word;
use crate::words::{self, Visitor};

/// What stands behind an attribute's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// Nothing.
    Flag,
    /// One word or number.
    Word(&'a str),
    /// `[a,b]`.
    List(Vec<&'a str>),
}

/// Attributes of one operator that nobody asked for yet.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    line: usize,
    word: &'a str,
    list: Vec<(&'a str, Attribute<'a>)>,
}

impl<'a> Attributes<'a> {
    /// `{key=value, …}`, or nothing, behind the operator `word`.
    pub(super) fn read(cursor: &mut Cursor<'a>, word: &'a str) -> Result<Self> {
        let line = cursor.line();
        let list = if cursor.eat("{") { cursor.list("}", attribute)? } else { vec![] };
        Ok(Attributes { line, word, list })
    }

    /// The attributes in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Attribute<'a>)> {
        self.list.iter().map(|(key, value)| (*key, value))
    }

    /// Take an attribute out.
    pub fn take(&mut self, key: &str) -> Option<Attribute<'a>> {
        let at = self.list.iter().position(|(k, _)| *k == key)?;
        Some(self.list.remove(at).1)
    }

    fn has(&self, key: &str) -> bool {
        self.list.iter().any(|(k, _)| *k == key)
    }

    fn error<T>(&self, what: String) -> Result<T> {
        Err(ParseError::new(self.line, what))
    }

    fn fail<T>(&self, key: &str, form: &str) -> Result<T> {
        self.error(format!("{}: expected the attribute `{key}={form}`", self.word))
    }

    fn text(&mut self, key: &str, form: &str) -> Result<&'a str> {
        match self.take(key) {
            Some(Attribute::Word(word)) => Ok(word),
            _ => self.fail(key, form),
        }
    }

    /// The operator that these attributes and its word spell. `ty` is the type that the text gives its first output.
    ///
    /// # Errors
    /// If there is no such word, an attribute is missing, malformed or unknown, or the operator needs a type and the text gives none.
    pub fn operator(mut self, ty: Option<&Type>) -> Result<Op> {
        let word = self.word;
        let mut op = match Op::example(word) {
            Some(Op::Weight { .. } | Op::Literal { .. }) => {
                let form = r#"weights and literals are written `weight"KEY":TYPE` and `literal[…]:TYPE`"#;
                return self.error(format!("expected an operator, found `{word}`: {form}"));
            }
            Some(op) => op,
            None => return self.error(format!("expected an operator, found `{word}`")),
        };
        words::attributes(&mut op, &mut self)?;
        self.end()?;
        if let Op::Reshape { shape } | Op::Expand { shape } | Op::Lookup { shape, .. } = &mut op {
            let Some(ty) = ty else { return self.error(format!("expected the type of `{word}` behind it")) };
            *shape = ty.shape.clone();
        }
        Ok(op)
    }

    /// The attribute `eps` of an operator that has no other.
    pub(super) fn only_eps(mut self) -> Result<Real> {
        let mut eps = Real(0.0);
        self.real("eps", &mut eps)?;
        self.end()?;
        Ok(eps)
    }

    fn end(&self) -> Result<()> {
        match self.list.first() {
            None => Ok(()),
            Some((key, _)) => self.error(format!("{} has no attribute `{key}`", self.word)),
        }
    }
}

fn attribute<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Attribute<'a>)> {
    let key = cursor.word("an attribute")?;
    if !cursor.eat("=") {
        return Ok((key, Attribute::Flag));
    }
    let item = |c: &mut Cursor<'a>| match c.run(|c| is_bare(c) || c == ':') {
        "" => c.fail("a value"),
        word => Ok(word),
    };
    let list = cursor.eat("[");
    Ok((key, if list { Attribute::List(cursor.list("]", item)?) } else { Attribute::Word(item(cursor)?) }))
}

/// Fills the operator's fields in.
impl Visitor for Attributes<'_> {
    type Error = ParseError;

    fn number(&mut self, key: &'static str, value: &mut usize) -> Result<()> {
        let text = self.text(key, "NUMBER")?;
        *value = number(text).map_or_else(|| self.fail(key, "NUMBER"), Ok)?;
        Ok(())
    }

    fn number_or(&mut self, key: &'static str, usual: usize, value: &mut usize) -> Result<()> {
        *value = usual;
        if self.has(key) { self.number(key, value) } else { Ok(()) }
    }

    fn real(&mut self, key: &'static str, value: &mut Real) -> Result<()> {
        let text = self.text(key, "REAL")?;
        *value = Real(text.parse().map_or_else(|_| self.fail(key, "REAL"), Ok)?);
        Ok(())
    }

    fn real_or(&mut self, key: &'static str, usual: f64, value: &mut Real) -> Result<()> {
        *value = Real(usual);
        if self.has(key) { self.real(key, value) } else { Ok(()) }
    }

    fn some_reals<const N: usize>(&mut self, key: &'static str, values: &mut Option<[Real; N]>) -> Result<()> {
        *values = None;
        if !self.has(key) {
            return Ok(());
        }
        let Some(Attribute::List(items)) = self.take(key) else { return self.fail(key, "[REAL,…]") };
        let reals: Option<Vec<Real>> = items.into_iter().map(|text| text.parse().ok().map(Real)).collect();
        let reals = reals.and_then(|all| <[Real; N]>::try_from(all).ok());
        *values = Some(reals.map_or_else(|| self.fail(key, &format!("a list of {N} reals")), Ok)?);
        Ok(())
    }

    fn flag(&mut self, key: &'static str, value: &mut bool) -> Result<()> {
        match self.take(key) {
            None => *value = false,
            Some(Attribute::Flag) => *value = true,
            Some(_) => return self.error(format!("{}: expected `{key}` without a value", self.word)),
        }
        Ok(())
    }

    fn numbers(&mut self, key: &'static str, values: &mut Vec<usize>) -> Result<()> {
        let Some(Attribute::List(items)) = self.take(key) else { return self.fail(key, "[NUMBER,…]") };
        let numbers: Option<Vec<usize>> = items.into_iter().map(number).collect();
        *values = numbers.map_or_else(|| self.fail(key, "[NUMBER,…]"), Ok)?;
        Ok(())
    }

    fn sides(&mut self, key: &'static str, values: &mut [usize]) -> Result<()> {
        let numbers: Option<Vec<usize>> = match self.take(key) {
            Some(Attribute::Word(word)) => number(word).map(|n| vec![n; values.len()]),
            Some(Attribute::List(items)) => items.into_iter().map(number).collect(),
            _ => None,
        };
        match numbers {
            Some(numbers) if numbers.len() == values.len() => values.copy_from_slice(&numbers),
            _ => return self.fail(key, &format!("NUMBER or a list of {}", values.len())),
        }
        Ok(())
    }

    fn sides_or_one(&mut self, key: &'static str, values: &mut [usize]) -> Result<()> {
        values.fill(1);
        if self.has(key) { self.sides(key, values) } else { Ok(()) }
    }

    fn word_or<T: Word + PartialEq>(&mut self, key: &'static str, usual: T, value: &mut T) -> Result<()> {
        *value = usual;
        if self.has(key) { self.word(key, value) } else { Ok(()) }
    }

    fn word<T: Word>(&mut self, key: &'static str, value: &mut T) -> Result<()> {
        let words = T::ALL.iter().map(|w| w.word()).collect::<Vec<_>>().join("|");
        let text = self.text(key, &words)?;
        *value = T::ALL.iter().copied().find(|w| w.word() == text).map_or_else(|| self.fail(key, &words), Ok)?;
        Ok(())
    }

    fn cuts(&mut self, cuts: &mut Vec<SliceAxis>) -> Result<()> {
        let cut = |(key, value): (&str, Attribute)| {
            let axis = number(key.strip_prefix("axis")?)?;
            let Attribute::Word(range) = value else { return None };
            let (start, rest) = range.split_once("..")?;
            let (stop, step) = rest.split_once(':').unwrap_or((rest, "1"));
            Some(SliceAxis { axis, start: number(start)?, stop: number(stop)?, step: number(step)? })
        };
        let read: Option<Vec<_>> = self.list.drain(..).map(cut).collect();
        *cuts = read.map_or_else(|| self.fail("axisN", "START..STOP or START..STOP:STEP"), Ok)?;
        Ok(())
    }
}
