//! One line of a graph's text.

use super::cursor::Cursor;
use super::error::{ParseError, Result};
use super::expression::{Call, value};
use crate::ty::Type;

/// One line `%path: type = word(operands){attributes}` or `@path: …`.
pub(super) struct Statement<'a> {
    pub(super) line: usize,
    pub(super) indent: usize,
    /// Written with `@`.
    pub(super) constant: bool,
    pub(super) path: String,
    pub(super) types: Vec<Type>,
    pub(super) call: Call<'a>,
    /// Constants that the lines below this one define for it alone.
    pub(super) constants: Vec<Statement<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>, indent: usize) -> Result<Self> {
        let (line, constant) = (cursor.line(), cursor.at(|c| c == '@'));
        let mut names = vec![value(cursor)?];
        while cursor.eat(",") {
            names.push(value(cursor)?);
        }
        cursor.require(":")?;
        let mut types = vec![cursor.ty()?];
        while cursor.eat(",") {
            types.push(cursor.ty()?);
        }
        cursor.require("=")?;
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
