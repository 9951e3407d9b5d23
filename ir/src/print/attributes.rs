//! Attributes of an operator as text.

use super::joined;
use crate::op::{Op, SliceAxis};
use crate::real::Real;
use crate::word::Word;
use crate::words::{self, Visitor};
use std::convert::Infallible;
use std::fmt::Display;

impl Op {
    /// `key=value` and flags, without what the word or the declared type says: `stride=2`, `pad=1`, `groups=48`.
    pub fn attributes(&self) -> Vec<String> {
        let mut list = Written(Vec::new());
        let Ok(()) = words::attributes(&mut self.clone(), &mut list);
        list.0
    }
}

/// Attributes as text.
struct Written(Vec<String>);

impl Written {
    fn add(&mut self, key: &str, value: impl Display) -> Result<(), Infallible> {
        self.0.push(format!("{key}={value}"));
        Ok(())
    }
}

impl Visitor for Written {
    type Error = Infallible;

    fn number(&mut self, key: &'static str, value: &mut usize) -> Result<(), Infallible> {
        self.add(key, value)
    }

    fn number_or(&mut self, key: &'static str, usual: usize, value: &mut usize) -> Result<(), Infallible> {
        if *value == usual { Ok(()) } else { self.add(key, value) }
    }

    fn real(&mut self, key: &'static str, value: &mut Real) -> Result<(), Infallible> {
        self.add(key, value)
    }

    fn real_or(&mut self, key: &'static str, usual: f64, value: &mut Real) -> Result<(), Infallible> {
        if *value == Real(usual) { Ok(()) } else { self.add(key, value) }
    }

    fn some_reals<const N: usize>(
        &mut self,
        key: &'static str,
        values: &mut Option<[Real; N]>,
    ) -> Result<(), Infallible> {
        match values {
            Some(values) => self.add(key, format_args!("[{}]", joined(",", values.iter()))),
            None => Ok(()),
        }
    }

    fn flag(&mut self, key: &'static str, value: &mut bool) -> Result<(), Infallible> {
        self.0.extend(value.then(|| key.to_string()));
        Ok(())
    }

    fn numbers(&mut self, key: &'static str, values: &mut Vec<usize>) -> Result<(), Infallible> {
        self.add(key, format_args!("[{}]", joined(",", values.iter())))
    }

    fn sides(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Infallible> {
        match values {
            [first, others @ ..] if others.iter().all(|n| n == first) => self.add(key, first),
            _ => self.add(key, format_args!("[{}]", joined(",", values.iter()))),
        }
    }

    fn sides_or_one(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Infallible> {
        if values.iter().all(|&n| n == 1) { Ok(()) } else { self.sides(key, values) }
    }

    fn word_or<T: Word + PartialEq>(&mut self, key: &'static str, usual: T, value: &mut T) -> Result<(), Infallible> {
        if *value == usual { Ok(()) } else { self.word(key, value) }
    }

    fn word<T: Word>(&mut self, key: &'static str, value: &mut T) -> Result<(), Infallible> {
        self.add(key, value.word())
    }

    fn cuts(&mut self, cuts: &mut Vec<SliceAxis>) -> Result<(), Infallible> {
        self.0.extend(cuts.iter().map(|c| {
            let step = if c.step == 1 { String::new() } else { format!(":{}", c.step) };
            format!("axis{}={}..{}{step}", c.axis, c.start, c.stop)
        }));
        Ok(())
    }
}
