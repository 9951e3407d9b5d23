//! The primitives of MLIR bytecode, version 6: variable-length integers, sections, and tables in which every entry stands once.

use std::collections::HashMap;
use std::hash::Hash;

/// First bytes of a file.
pub(super) const MAGIC: &[u8] = b"ML\xefR";

/// Version of the container: the newest that the systems read.
pub(super) const VERSION: u64 = 6;

/// Fills the space in front of aligned data.
const PADDING: u8 = 0xcb;

/// Sections of a file, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Strings = 0,
    Dialects = 1,
    Attributes = 2,
    AttributeSizes = 3,
    Operations = 4,
    Resources = 5,
    ResourceDirectory = 6,
    DialectVersion = 7,
    Properties = 8,
}

/// Bytes in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    /// An integer of as many bytes as it needs: the number of trailing zeros of the first byte is the number of bytes that follow.
    pub(super) fn varint(mut self, v: u64) -> Self {
        match (1..9).find(|n| v >> (7 * n) == 0) {
            Some(n) => {
                let spelled = (u128::from(v) << n) | 1 << (n - 1);
                self.0.extend_from_slice(&spelled.to_le_bytes()[..n]);
            }
            None => {
                self.0.push(0);
                self.0.extend_from_slice(&v.to_le_bytes());
            }
        }
        self
    }

    /// A signed integer, its sign in the lowest bit.
    pub(super) fn svarint(self, v: i64) -> Self {
        self.varint(((v << 1) ^ (v >> 63)) as u64)
    }

    /// An integer with a flag in the lowest bit.
    pub(super) fn flagged(self, v: u64, flag: bool) -> Self {
        self.varint(v << 1 | u64::from(flag))
    }

    /// A number of integers and the integers.
    pub(super) fn list(self, items: &[u64]) -> Self {
        items.iter().fold(self.varint(items.len() as u64), |bytes, &item| bytes.varint(item))
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn byte(self, byte: u8) -> Self {
        self.raw(&[byte])
    }

    /// A section with its length.
    pub(super) fn section(self, section: Section, body: &Bytes) -> Self {
        self.byte(section as u8).varint(body.0.len() as u64).raw(&body.0)
    }

    /// The head of a section whose body, of `length` bytes, begins at a multiple of `alignment` of the file. `self` begins the file.
    pub(super) fn aligned_section(self, section: Section, length: u64, alignment: u64) -> Self {
        self.byte(section as u8 | 0x80).varint(length).varint(alignment).padded(alignment)
    }

    /// Filled up to a multiple of `alignment`.
    pub(super) fn padded(mut self, alignment: u64) -> Self {
        self.0.resize(self.0.len().next_multiple_of(alignment as usize), PADDING);
        self
    }
}

/// Different entries, numbered in the order of their first use.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<T>,
    numbers: HashMap<T, u64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { entries: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// The entry's number.
    pub(super) fn number(&mut self, entry: T) -> u64 {
        if let Some(&number) = self.numbers.get(&entry) {
            return number;
        }
        let number = self.entries.len() as u64;
        self.entries.push(entry.clone());
        self.numbers.insert(entry, number);
        number
    }

    pub(super) fn entries(&self) -> &[T] {
        &self.entries
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(v: u64) -> Vec<u8> {
        Bytes::default().varint(v).0
    }

    #[test]
    fn integers_take_the_bytes_they_need() {
        assert_eq!(bytes(0), [0x01]);
        assert_eq!(bytes(5), [0x0b]);
        assert_eq!(bytes(127), [0xff]);
        assert_eq!(bytes(128), [0x02, 0x02]);
        assert_eq!(bytes((1 << 56) - 1).len(), 8);
        assert_eq!(bytes(1 << 56), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes(u64::MAX)[1..], [0xff; 8]);
        assert_eq!(Bytes::default().svarint(-1).0, bytes(1));
        assert_eq!(Bytes::default().svarint(i64::MIN).0, bytes(u64::MAX));
        assert_eq!(Bytes::default().flagged(3, true).0, bytes(7));
    }

    #[test]
    fn aligned_sections_begin_at_a_multiple() {
        for before in 0..40 {
            let head = Bytes(vec![0; before]).aligned_section(Section::Resources, 300, 16);
            assert_eq!(head.0.len() % 16, 0);
        }
    }

    #[test]
    fn equal_entries_are_one() {
        let mut table = Table::default();
        assert_eq!(["a", "b", "a", "c"].map(|s| table.number(s)), [0, 1, 0, 2]);
        assert_eq!(table.entries(), ["a", "b", "c"]);
    }
}
