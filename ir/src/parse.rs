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
mod error;
mod expression;
mod statement;

pub use attributes::{Attribute, Attributes};
pub use cursor::Cursor;
pub(crate) use cursor::is_bare;
pub use error::ParseError;
pub use expression::{Call, Expression};

use crate::graph::Graph;
use crate::stage::Stage;
use crate::word::Word;
use build::Builder;
use error::Result;
use statement::Statement;

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

fn header(cursor: &mut Cursor) -> Result<Graph> {
    cursor.require("graph")?;
    let name = cursor.name()?;
    cursor.require("stage=")?;
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
            cursor.require(",")?;
        }
        let name = cursor.name()?;
        cursor.require("=")?;
        list.push((name, Expression::read(cursor)?));
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
