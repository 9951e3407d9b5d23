//! Python's pickle stream, read as data.
//!
//! A pickle is a program for a small stack machine whose only dangerous instructions are those that import a name and call it. This
//! interpreter has no such instructions: a name is recorded as a [`Value::Global`], and a call as a [`Value::Object`] that says what would have
//! been called with what. Nothing is imported, constructed or run, so a malicious pickle is a strange list of names.
//!
//! Bounds. An instruction has at least one byte and makes at most one value of fixed size; strings and bytes are borrowed from the file;
//! lists grow by what was on the stack. Memory is therefore linear in the file, and the number of instructions is capped besides. Values
//! refer to each other by index, so cycles and deep nesting cost the interpreter nothing; whoever walks them limits the depth.

use super::error::CheckpointError;
use std::collections::HashMap;
use std::ops::Range;

/// Most instructions that are read. A state dict takes about 30 per tensor.
const MAX_INSTRUCTIONS: usize = 8_000_000;

/// Index of a value in its [`Pickle`].
pub(super) type Id = u32;

/// A value of the stream. Strings are borrowed from the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// UTF-8 text.
    Str(&'a str),
    /// Bytes, or text that is not UTF-8: where they lie in the stream.
    Bytes(Range<usize>),
    /// Something that no reader here needs: an integer above 64 bits, a set.
    Other,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name that Python would import.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// What Python would make by a call.
    Object(Box<Object>),
    /// A reference to something outside the stream; torch stores tensors' data so.
    Persistent(Id),
}

/// A call that was not made, and what would have been done to its result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) callable: Id,
    pub(super) arguments: Id,
    pub(super) state: Option<Id>,
    pub(super) items: Vec<(Id, Id)>,
}

/// A decoded stream.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) values: Vec<Value<'a>>,
    pub(super) root: Id,
    /// Bytes of the stream, its end marker included.
    pub(super) length: usize,
}

impl<'a> Pickle<'a> {
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    pub(super) fn str(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Where raw bytes lie in the stream.
    pub(super) fn bytes(&self, id: Id) -> Option<Range<usize>> {
        match self.get(id) {
            Value::Bytes(range) => Some(range.clone()),
            _ => None,
        }
    }

    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.get(id) {
            Value::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The entries of a dict, of a subclass of dict, or of an object's attributes.
    pub(super) fn entries(&self, id: Id) -> &[(Id, Id)] {
        match self.get(id) {
            Value::Dict(items) => items,
            Value::Object(object) => match object.state.map(|s| self.get(s)) {
                Some(Value::Dict(items)) if object.items.is_empty() => items,
                _ => &object.items,
            },
            _ => &[],
        }
    }
}

/// Decode the stream at the start of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Pickle<'_>, CheckpointError> {
    let mut machine =
        Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_INSTRUCTIONS {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { values: machine.values, root, length: machine.at }),
            Err(why) => return Err(CheckpointError::damaged(format!("pickle stream, byte {at}"), why)),
        }
    }
    let why = format!("it has more than {MAX_INSTRUCTIONS} instructions");
    let todo = "save the state dict alone: torch.save(checkpoint['model'], 'weights.pth')";
    Err(CheckpointError::new("the checkpoint's pickle is absurdly long", "pickle stream", why, todo))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// One instruction; the result at the end of the stream.
    fn step(&mut self) -> Step<Option<Id>> {
        let [code] = self.array()?;
        match code {
            b'.' => return self.pop().map(Some),
            // Frames and protocol.
            0x80 => self.protocol(),
            0x95 => self.take(8).map(drop),
            // Scalars.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => self.number(4, true),
            b'K' => self.number(1, false),
            b'M' => self.number(2, false),
            0x8a => self.long(1),
            0x8b => self.long(4),
            b'G' => self.float(),
            // Text and bytes.
            b'U' | 0x8c => self.text(1),
            b'T' | b'X' => self.text(4),
            0x8d => self.text(8),
            b'C' => self.blob(1),
            b'B' => self.blob(4),
            0x8e | 0x96 => self.blob(8),
            // Containers, empty or of what lies above the mark.
            b'(' => self.mark(),
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x8f => self.push(Value::Other),
            0x85..=0x87 => self.tuple(usize::from(code - 0x84)),
            b't' => self.collect(|items| Ok(Value::Tuple(items))),
            b'l' => self.collect(|items| Ok(Value::List(items))),
            b'd' => self.collect(|items| pairs(&items).map(Value::Dict)),
            0x91 => self.collect(|_| Ok(Value::Other)),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_to_mark().and_then(|items| self.append(items)),
            b's' => self.set_item(),
            b'u' => self.pop_to_mark().and_then(|items| self.set_items(pairs(&items)?)),
            0x90 => self.pop_to_mark().map(drop),
            // Stack and memo.
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => self.top().map(|top| self.stack.push(top)),
            b'q' => self.remember(1),
            b'r' => self.remember(4),
            0x94 => self.remember_next(),
            b'h' => self.recall(1),
            b'j' => self.recall(4),
            // Names and calls, recorded only.
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' | 0x81 => self.call(),
            0x92 => self.pop().and_then(|_keywords| self.call()),
            b'b' => self.set_state(),
            b'Q' => self.pop().and_then(|id| self.push(Value::Persistent(id))),
            _ => Err(format!("0x{code:02x} is no instruction that torch.save writes")),
        }
        .map(|()| None)
    }

    fn protocol(&mut self) -> Step<()> {
        match self.array()? {
            [2..=5] => Ok(()),
            [n] => Err(format!("protocol {n}; torch.save writes 2 to 5")),
        }
    }

    fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..n));
        let taken = taken.ok_or_else(|| format!("it ends where {n} more bytes should follow"))?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        let taken = taken.ok_or_else(|| format!("it ends where {N} more bytes should follow"))?;
        self.at += N;
        Ok(*taken)
    }

    /// A length of `n` bytes, little-endian, that does not exceed what is left of the stream.
    fn length(&mut self, n: usize) -> Step<usize> {
        let mut wide = [0; 8];
        wide[..n].copy_from_slice(self.take(n)?);
        let length = u64::from_le_bytes(wide);
        let left = self.bytes.len() - self.at;
        usize::try_from(length)
            .ok()
            .filter(|&n| n <= left)
            .ok_or_else(|| format!("a string claims {length} bytes, {left} are left"))
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        // Dotted names are short; the cap keeps a file of lines without end from being searched again and again.
        let end = rest.iter().take(4096).position(|&b| b == b'\n').ok_or("a name has no end")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "a name is not text".into())
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn number(&mut self, n: usize, signed: bool) -> Step<()> {
        let mut wide = [0; 8];
        wide[..n].copy_from_slice(self.take(n)?);
        let value = i64::from_le_bytes(wide);
        self.push(Value::Int(if signed { i64::from(value as i32) } else { value }))
    }

    /// Two's complement, little-endian, behind its length, a number of `width` bytes.
    fn long(&mut self, width: usize) -> Step<()> {
        let n = self.length(width)?;
        let bytes = self.take(n)?;
        let value = if n > 8 {
            Value::Other
        } else {
            let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide[..n].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        };
        self.push(value)
    }

    fn float(&mut self) -> Step<()> {
        let bits = self.array()?;
        self.push(Value::Float(f64::from_be_bytes(bits)))
    }

    fn text(&mut self, width: usize) -> Step<()> {
        let n = self.length(width)?;
        let start = self.at;
        let value = std::str::from_utf8(self.take(n)?).map_or(Value::Bytes(start..start + n), Value::Str);
        self.push(value)
    }

    fn blob(&mut self, width: usize) -> Step<()> {
        let n = self.length(width)?;
        let start = self.at;
        self.take(n)?;
        self.push(Value::Bytes(start..start + n))
    }

    /// Height of the stack at the innermost mark: what lies below belongs to somebody else.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Step<Id> {
        let own = self.stack.get(self.floor()..).and_then(<[Id]>::last);
        own.copied().ok_or_else(|| "the stack is empty".into())
    }

    fn mark(&mut self) -> Step<()> {
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("there is no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    /// Replaces what lies above the mark by what is made of it.
    fn collect(&mut self, make: impl FnOnce(Vec<Id>) -> Step<Value<'a>>) -> Step<()> {
        let items = self.pop_to_mark()?;
        self.push(make(items)?)
    }

    /// A tuple of the `n` topmost values.
    fn tuple(&mut self, n: usize) -> Step<()> {
        let first = self.stack.len().checked_sub(n).filter(|&i| i >= self.floor()).ok_or("the stack is empty")?;
        let items = self.stack.split_off(first);
        self.push(Value::Tuple(items))
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let target = self.top()?;
        if let Value::List(list) = &mut self.values[target as usize] {
            list.extend(items);
        }
        Ok(())
    }

    fn set_item(&mut self) -> Step<()> {
        let (value, key) = (self.pop()?, self.pop()?);
        self.set_items(vec![(key, value)])
    }

    fn set_items(&mut self, items: Vec<(Id, Id)>) -> Step<()> {
        let target = self.top()?;
        match &mut self.values[target as usize] {
            Value::Dict(dict) => dict.extend(items),
            Value::Object(object) => object.items.extend(items),
            _ => return Err("entries are put into something that is no dict".into()),
        }
        Ok(())
    }

    /// A name in two lines of the stream.
    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Value::Global { module, name })
    }

    /// A name in two texts on the stack.
    fn stack_global(&mut self) -> Step<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.values[module as usize], &self.values[name as usize]) {
            (&Value::Str(module), &Value::Str(name)) => self.push(Value::Global { module, name }),
            _ => Err("a name is not text".into()),
        }
    }

    fn call(&mut self) -> Step<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        self.push(Value::Object(Box::new(Object { callable, arguments, state: None, items: Vec::new() })))
    }

    fn set_state(&mut self) -> Step<()> {
        let (state, target) = (self.pop()?, self.top()?);
        if let Value::Object(object) = &mut self.values[target as usize] {
            object.state = Some(state);
        }
        Ok(())
    }

    fn slot(&mut self, width: usize) -> Step<u32> {
        let mut wide = [0; 4];
        wide[..width].copy_from_slice(self.take(width)?);
        Ok(u32::from_le_bytes(wide))
    }

    fn remember(&mut self, width: usize) -> Step<()> {
        let (slot, top) = (self.slot(width)?, self.top()?);
        self.memo.insert(slot, top);
        Ok(())
    }

    /// In the next free slot.
    fn remember_next(&mut self) -> Step<()> {
        let (slot, top) = (self.memo.len() as u32, self.top()?);
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Step<()> {
        let slot = self.slot(width)?;
        let id = *self.memo.get(&slot).ok_or_else(|| format!("memo slot {slot} is empty"))?;
        self.stack.push(id);
        Ok(())
    }
}

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    if !items.len().is_multiple_of(2) {
        return Err("a dict has a key without a value".into());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
