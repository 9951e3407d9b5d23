//! Reads the text form of [`crate::print`] back into a graph.
//!
//! `parse(print(g))` is `g` up to ids and the names of constants. Types left of `=` are checked against the shape rules. Blank lines and lines
//! that begin with `#` are skipped, so that tests can be annotated. An operand may be a whole [`Expression`], and a line goes on inside brackets.
//! Any text is safe to parse: brackets are at most 64 deep, numbers stay below 2³⁰ and values below 2⁴⁸ elements, so neither the stack nor a size
//! overflows, and memory is bounded by the text's length.
//!
//! [`Cursor`], [`Expression`] and [`Attributes`] are the parts that other languages of graphs are read with.

mod attributes;
mod build;
mod cursor;
mod expression;

pub use attributes::{Attribute, Attributes};
pub use cursor::Cursor;
pub(crate) use cursor::is_bare;
pub use expression::{Call, Expression};

use crate::graph::{Graph, Stage};
use crate::ty::Type;
use crate::words::Word;
use build::Builder;

/// Text that is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What was expected and what was found.
    pub what: String,
}

impl ParseError {
    /// An error on a line.
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        ParseError { line, what: what.into() }
    }
}

type Result<T> = std::result::Result<T, ParseError>;

/// Read a graph.
///
/// # Errors
/// If the text does not follow the form, a name is undefined or taken, or operands and types do not fit their operator; the error names the line.
pub fn parse(text: &str) -> Result<Graph> {
    let end = text.lines().count().max(1);
    let nothing = |expected: &str| ParseError::new(end, format!("expected {expected}"));
    let mut cursor = Cursor::new(text, 1);
    cursor.next_statement().ok_or_else(|| nothing("`graph NAME  stage=…`, found nothing"))?;
    let mut graph = header(&mut cursor)?;

    let mut statements: Vec<Statement> = Vec::new();
    let outputs = loop {
        let indent = cursor.next_statement().ok_or_else(|| nothing("`outputs NAME=%VALUE, …` at the end"))?;
        if cursor.at(|c| c != '%' && c != '@') && cursor.clone().run(is_bare) == "outputs" {
            break outputs(&mut cursor)?;
        }
        let statement = Statement::read(&mut cursor, indent)?;
        match statements.last_mut() {
            Some(above) if statement.constant && !above.constant && indent > above.indent => {
                above.constants.push(statement)
            }
            _ => statements.push(statement),
        }
    };
    let line = cursor.line();
    if cursor.next_statement().is_some() {
        return Err(ParseError::new(cursor.line(), "expected nothing after `outputs`"));
    }

    let mut builder = Builder::new(&mut graph);
    builder.declare(&statements)?;
    for statement in statements {
        builder.define(statement)?;
    }
    builder.outputs(line, outputs)?;
    Ok(graph)
}

/// One line `%path: type = word(operands){attributes}` or `@path: …`.
struct Statement<'a> {
    line: usize,
    indent: usize,
    /// Written with `@`.
    constant: bool,
    path: String,
    types: Vec<Type>,
    call: Call<'a>,
    /// Constants that the lines below this one define for it alone.
    constants: Vec<Statement<'a>>,
}

impl<'a> Statement<'a> {
    fn read(cursor: &mut Cursor<'a>, indent: usize) -> Result<Self> {
        let (line, constant) = (cursor.line(), cursor.at(|c| c == '@'));
        let mut names = vec![expression::value(cursor)?];
        while cursor.eat(",") {
            names.push(expression::value(cursor)?);
        }
        cursor.expect(":")?;
        let mut types = vec![cursor.ty()?];
        while cursor.eat(",") {
            types.push(cursor.ty()?);
        }
        cursor.expect("=")?;
        let call = Call::read(cursor)?;
        cursor.end()?;

        let path = names[0].0.clone();
        let odd = names.iter().enumerate().any(|(i, (p, index))| *p != path || *index != i as u32);
        if odd || names.len() != types.len() {
            let what = format!("expected outputs %{path}, %{path}:1, … and a type for each");
            return Err(ParseError::new(line, what));
        }
        Ok(Statement { line, indent, constant, path, types, call, constants: vec![] })
    }
}

fn header(cursor: &mut Cursor) -> Result<Graph> {
    cursor.expect("graph")?;
    let name = cursor.name()?;
    cursor.expect("stage=")?;
    let Some(&stage) = Stage::ALL.iter().find(|s| cursor.eat(s.word())) else {
        return cursor.fail("paper, deploy or target");
    };
    cursor.end()?;
    Ok(Graph::new(name, stage))
}

/// `NAME=%VALUE, …`, up to the end of the line.
fn outputs<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<(String, Expression<'a>)>> {
    let mut list = Vec::new();
    cursor.eat("outputs");
    while cursor.end().is_err() {
        if !list.is_empty() {
            cursor.expect(",")?;
        }
        let name = cursor.name()?;
        cursor.expect("=")?;
        list.push((name, Expression::read(cursor)?));
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
