//! The part of the zip format that `torch.save` and `numpy.savez` write: stored members, with zip64 fields above 4 GiB.
//!
//! A member is a range of the file, never a copy, so a compressed one is refused. Every offset is checked against the file's length.

use super::error::{CheckpointError, shortened};
use std::collections::BTreeMap;
use std::ops::Range;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const END64_LOCATOR: &[u8] = b"PK\x06\x07";

/// True if the bytes begin as a zip file does.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL) || bytes.starts_with(END)
}

/// Name and byte range of every stored member.
pub(crate) type Members<'a> = BTreeMap<&'a str, Member>;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its bytes in the file.
    pub(crate) range: Range<usize>,
    /// False if it is compressed; then the range is of no use.
    pub(crate) stored: bool,
}

/// The directory of the archive.
pub(crate) fn members(bytes: &[u8]) -> Result<Members<'_>, CheckpointError> {
    let (directory, entries) = directory(bytes)?;
    let mut rest = Reader { bytes: &bytes[directory], at: 0 };
    let mut members = BTreeMap::new();
    for _ in 0..entries {
        let (name, member) = entry(bytes, &mut rest).ok_or_else(|| {
            let why = format!("entry {} of {entries} does not describe a member of the file", members.len() + 1);
            CheckpointError::damaged("zip directory", why)
        })?;
        if members.insert(name, member).is_some() {
            let why = format!("two members are called {}", shortened(name));
            return Err(CheckpointError::damaged("zip directory", why));
        }
    }
    Ok(members)
}

/// Where the directory lies and how many entries it has.
fn directory(bytes: &[u8]) -> Result<(Range<usize>, u64), CheckpointError> {
    // The end record has 22 bytes and a comment of at most 65535 behind it.
    let from = bytes.len().saturating_sub(22 + 65_535);
    let end = (from..bytes.len().saturating_sub(21)).rev().find(|&i| bytes[i..].starts_with(END)).ok_or_else(|| {
        let why = "it begins as a zip archive, but the directory that stands at an archive's end is missing: the file was cut off";
        CheckpointError::damaged(format!("end of the file ({} bytes)", bytes.len()), why)
    })?;
    let outside = || CheckpointError::damaged("zip directory", "its recorded place lies outside the file");
    let mut record = Reader { bytes: &bytes[end..], at: 10 };
    let small = (|| Some((record.u16()?, record.u32()?, record.u32()?)))().ok_or_else(outside)?;
    let (mut entries, mut size, mut start) = (u64::from(small.0), u64::from(small.1), u64::from(small.2));
    if entries == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
        (|| {
            let mut locator = Reader { bytes, at: end.checked_sub(20)? };
            locator.expect(END64_LOCATOR)?;
            locator.skip(4)?;
            let mut wide = Reader { bytes, at: usize::try_from(locator.u64()?).ok()? };
            wide.expect(END64)?;
            wide.skip(28)?;
            (entries, size, start) = (wide.u64()?, wide.u64()?, wide.u64()?);
            Some(())
        })()
        .ok_or_else(|| CheckpointError::damaged("zip64 directory", "its record is missing or outside the file"))?;
    }
    let start = usize::try_from(start).map_err(|_| outside())?;
    let stop = usize::try_from(size).ok().and_then(|n| start.checked_add(n)).ok_or_else(outside)?;
    if stop > end || entries > (stop - start) as u64 / 46 {
        return Err(outside());
    }
    Ok((start..stop, entries))
}

fn entry<'a>(file: &'a [u8], rest: &mut Reader<'a>) -> Option<(&'a str, Member)> {
    rest.expect(CENTRAL)?;
    rest.skip(4)?;
    let flags = rest.u16()?;
    let method = rest.u16()?;
    rest.skip(8)?;
    let mut packed = u64::from(rest.u32()?);
    let mut size = u64::from(rest.u32()?);
    let [name, extra, comment] = [rest.u16()?, rest.u16()?, rest.u16()?].map(usize::from);
    rest.skip(8)?;
    let mut header = u64::from(rest.u32()?);
    let name = std::str::from_utf8(rest.take(name)?).ok()?;
    let mut fields = Reader { bytes: rest.take(extra)?, at: 0 };
    rest.skip(comment)?;
    while let (Some(tag), Some(length)) = (fields.u16(), fields.u16()) {
        let mut field = Reader { bytes: fields.take(usize::from(length))?, at: 0 };
        if tag == 1 {
            // The zip64 field holds, in this order, those of the three that did not fit 32 bits.
            for narrow in [&mut size, &mut packed, &mut header] {
                if *narrow == 0xffff_ffff {
                    *narrow = field.u64()?;
                }
            }
        }
    }
    let mut local = Reader { bytes: file, at: usize::try_from(header).ok()? };
    local.expect(LOCAL)?;
    local.skip(22)?;
    let [name_length, extra_length] = [local.u16()?, local.u16()?].map(usize::from);
    local.skip(name_length.checked_add(extra_length)?)?;
    let start = local.at;
    local.skip(usize::try_from(packed).ok()?)?;
    // Bit 0 of the flags: encrypted.
    let stored = method == 0 && flags & 1 == 0;
    if stored && size != packed {
        return None;
    }
    Some((name, Member { range: start..local.at, stored }))
}

/// Little-endian fields, `None` past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let stop = self.at.checked_add(n)?;
        let taken = self.bytes.get(self.at..stop)?;
        self.at = stop;
        Some(taken)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }

    fn expect(&mut self, magic: &[u8]) -> Option<()> {
        (self.take(magic.len())? == magic).then_some(())
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
