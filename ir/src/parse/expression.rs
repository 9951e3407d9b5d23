//! Expressions: what stands right of `=` and where an operand does.
//!
//! ```text
//! %x, %x:1                                        a value by its name, and its second output
//! @w                                              a constant by its name
//! 0.5, literal[0.5,1]:f32[2], weight"k":f32[8]    numbers and weights
//! reshape(sqrt(%x)):f32[8,1]                      an operator; the type may be left out wherever it follows
//! add(%x, %y, %z)                                 add(add(%x, %y), %z); likewise with mul
//! ```

use super::attributes::Attributes;
use super::cursor::Cursor;
use super::error::Result;
use crate::batch_norm::{Affine, PARAMETERS};
use crate::op::Op;
use crate::real::Real;
use crate::ty::Type;

/// An expression as it is written: names and words are not looked up yet.
#[derive(Debug, Clone)]
pub enum Expression<'a> {
    /// `%name:index`.
    Value {
        /// Name.
        name: String,
        /// Output, 0 where none is written.
        index: u32,
    },
    /// `@name:index`.
    Constant {
        /// Name.
        name: String,
        /// Output, 0 where none is written.
        index: u32,
    },
    /// A weight or a literal.
    Leaf {
        /// [`Op::Weight`] or [`Op::Literal`].
        op: Op,
        /// Its type; `f32[]` for a plain number.
        ty: Type,
    },
    /// An operator with its operands.
    Call(Call<'a>),
}

/// `word(operands){attributes}:index:TYPE`.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Line on which it begins.
    pub line: usize,
    /// The operator's word.
    pub word: &'a str,
    /// Operands.
    pub operands: Vec<Expression<'a>>,
    /// Attributes; [`Attributes::operator`] makes the operator of them.
    pub attributes: Attributes<'a>,
    /// Which output is read.
    pub index: u32,
    /// Type of that output, where it is written.
    pub ty: Option<Type>,
}

impl<'a> Expression<'a> {
    /// Read an expression.
    ///
    /// # Errors
    /// If none comes next.
    pub fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let before = cursor.clone();
        if cursor.at(|c| c == '%' || c == '@') {
            let constant = cursor.at(|c| c == '@');
            let (name, index) = value(cursor)?;
            return Ok(if constant { Self::Constant { name, index } } else { Self::Value { name, index } });
        }
        let expected = "`%NAME`, `@NAME`, a number, a weight, a literal or an operator";
        let word = cursor.word(expected)?;
        if word == "weight" && cursor.at(|c| c == '"') {
            let key = cursor.quoted()?;
            cursor.require(":")?;
            return Ok(Self::Leaf { op: Op::Weight { key }, ty: cursor.ty()? });
        }
        if word == "literal" && cursor.eat("[") {
            let values = cursor.list("]", number)?;
            cursor.require(":")?;
            return Ok(Self::Leaf { op: Op::Literal { values }, ty: cursor.ty()? });
        }
        if Op::example(word).is_none() && !cursor.at(|c| c == '(' || c == '{') {
            let Ok(x) = word.parse() else { return before.fail(expected) };
            let ty = if cursor.eat(":") { cursor.ty()? } else { Type::f32(&[]) };
            return Ok(Self::Leaf { op: Op::Literal { values: vec![Real(x)] }, ty });
        }
        let mut call = Call::behind(cursor, word)?;
        if cursor.eat(":") {
            if cursor.at(|c| c.is_ascii_digit()) {
                call.index = cursor.number()? as u32;
                call.ty = if cursor.eat(":") { Some(cursor.ty()?) } else { None };
            } else {
                call.ty = Some(cursor.ty()?);
            }
        }
        Ok(Self::Call(call))
    }
}

impl<'a> Call<'a> {
    /// `word(operands){attributes}`.
    ///
    /// # Errors
    /// If that is not what comes next.
    pub fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let word = cursor.word("an operator")?;
        Self::behind(cursor, word)
    }

    fn behind(cursor: &mut Cursor<'a>, word: &'a str) -> Result<Self> {
        let line = cursor.line();
        let operands = if cursor.eat("(") { cursor.list(")", |c| operands(c, word))?.concat() } else { vec![] };
        let attributes = Attributes::read(cursor, word)?;
        Ok(Call { line, word, operands, attributes, index: 0, ty: None })
    }
}

/// One operand, or the parameters of a whole BatchNorm: `bn"KEY":f32[C]`.
fn operands<'a>(cursor: &mut Cursor<'a>, word: &str) -> Result<Vec<Expression<'a>>> {
    let names = match Affine::of_word(word) {
        Some(affine) => affine.keys(),
        None if word == "batch_norm" => &PARAMETERS,
        None => &[],
    };
    if names.is_empty() || !cursor.starts_with("bn\"") {
        return Ok(vec![Expression::read(cursor)?]);
    }
    cursor.require("bn")?;
    let norm = cursor.quoted()?;
    cursor.require(":")?;
    let ty = cursor.ty()?;
    let weight = |name| Expression::Leaf { op: Op::Weight { key: format!("{norm}.{name}") }, ty: ty.clone() };
    Ok(names.iter().map(weight).collect())
}

/// `%path` or `%path:1`.
pub(super) fn value(cursor: &mut Cursor) -> Result<(String, u32)> {
    if !cursor.eat("@") {
        cursor.require("%")?;
    }
    let name = cursor.name()?;
    let mut behind = cursor.clone();
    if behind.eat(":") && behind.at(|c| c.is_ascii_digit()) {
        *cursor = behind;
        return Ok((name, cursor.number()? as u32));
    }
    Ok((name, 0))
}

fn number(cursor: &mut Cursor) -> Result<Real> {
    let before = cursor.clone();
    cursor.word("a number")?.parse().map_or_else(|_| before.fail("a number"), |x| Ok(Real(x)))
}
