//! Untrusted bytes, read from front to back. Every length is compared with what is left.

/// What is left of a part of a file, and where it begins in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Cursor { file, at: 0, end: file.len() }
    }

    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    /// Place in the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).ok().filter(|&n| n <= self.left());
        let length = length.ok_or("something is longer than what holds it")?;
        self.at += length;
        Ok(&self.file[self.at - length..self.at])
    }

    /// The next bytes as a part of their own.
    pub(super) fn part(&mut self, length: u64) -> Result<Cursor<'a>, String> {
        let at = self.at;
        self.take(length)?;
        Ok(Cursor { file: self.file, at, end: self.at })
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// The number of trailing zeros of the first byte is the number of bytes that follow.
    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let first = self.byte()?;
        let more = first.trailing_zeros().min(8) as usize;
        let mut bytes = [0; 16];
        bytes[0] = first;
        bytes[1..=more].copy_from_slice(self.take(more as u64)?);
        let all = u128::from_le_bytes(bytes);
        Ok((if more == 8 { all >> 8 } else { all >> (more + 1) }) as u64)
    }

    pub(super) fn svarint(&mut self) -> Result<i64, String> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    pub(super) fn flagged(&mut self) -> Result<(u64, bool), String> {
        let v = self.varint()?;
        Ok((v >> 1, v & 1 == 1))
    }

    /// A number of things, each of at least one byte.
    pub(super) fn count(&mut self) -> Result<usize, String> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|&n| n <= self.left())
            .ok_or_else(|| format!("{count} things in {} bytes", self.left()))
    }

    /// As many integers as the first says.
    pub(super) fn list(&mut self) -> Result<Vec<u64>, String> {
        let count = self.count()?;
        (0..count).map(|_| self.varint()).collect()
    }

    /// Number and body of a section.
    pub(super) fn section(&mut self) -> Result<(u8, Cursor<'a>), String> {
        let (head, length) = (self.byte()?, self.varint()?);
        if head & 0x80 != 0 {
            let alignment = self.varint()?;
            self.align(alignment)?;
        }
        Ok((head & 0x7f, self.part(length)?))
    }

    /// Pass the padding in front of aligned bytes.
    pub(super) fn align(&mut self, alignment: u64) -> Result<(), String> {
        let alignment = usize::try_from(alignment).ok().filter(|a| a.is_power_of_two() && *a <= 4096);
        let alignment = alignment.ok_or("an alignment that is none")?;
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.take(padding as u64).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length() {
        let read = |bytes: &[u8]| Cursor::new(bytes).varint();
        assert_eq!(read(&[0x01]), Ok(0));
        assert_eq!(read(&[0x0b]), Ok(5));
        assert_eq!(read(&[0xff]), Ok(127));
        assert_eq!(read(&[0x02, 0x02]), Ok(128));
        assert_eq!(read(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(0x0807_0605_0403_0201));
        assert!(read(&[0x80]).is_err() && read(&[0]).is_err() && read(&[]).is_err());
        assert_eq!(Cursor::new(&[0x07]).svarint(), Ok(-2));
    }

    #[test]
    fn nothing_reaches_beyond_its_part() {
        let mut whole = Cursor::new(&[1, 2, 3, 4]);
        let mut part = whole.part(2).unwrap();
        assert_eq!(part.take(2), Ok(&[1, 2][..]));
        assert!(part.byte().is_err() && whole.part(3).is_err());
        assert!(whole.clone().align(3).is_err() && whole.take(u64::MAX).is_err());
    }
}
