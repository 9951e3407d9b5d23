//! The container: MLIR bytecode as sections, tables and operations, before anything of the dialect is understood.

use super::cursor::Cursor;

/// The one dialect.
const DIALECT: &str = "aicode";

/// The encodings of the dialect that are read here.
const ENCODING: u64 = 2;

/// A file's tables; strings and entries borrow its bytes.
#[derive(Debug)]
pub(super) struct Container<'a> {
    pub(super) strings: Vec<&'a str>,
    /// Names of operations, without the dialect.
    pub(super) operations: Vec<&'a str>,
    pub(super) attributes: Vec<&'a [u8]>,
    pub(super) types: Vec<&'a [u8]>,
    pub(super) properties: Vec<&'a [u8]>,
    /// Key of each constant of the resource section, and where its bytes begin and end in the file.
    pub(super) resources: Vec<(&'a str, std::ops::Range<usize>)>,
    /// The one operation of the file.
    pub(super) asset: Operation<'a>,
}

/// An operation. Its regions are not read until they are wanted.
#[derive(Debug, Clone)]
pub(super) struct Operation<'a> {
    /// Number of its name.
    pub(super) name: usize,
    pub(super) location: usize,
    pub(super) properties: Option<usize>,
    /// Numbers of the results' types.
    pub(super) results: Vec<usize>,
    /// Numbers of values of the region.
    pub(super) operands: Vec<usize>,
    pub(super) regions: Option<Cursor<'a>>,
}

/// One block.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// Numbers of the arguments' types.
    pub(super) arguments: Vec<usize>,
    pub(super) operations: Vec<Operation<'a>>,
}

fn index(n: u64) -> Result<usize, String> {
    usize::try_from(n).map_err(|_| "a number is too large".to_string())
}

fn indices(list: Vec<u64>) -> Result<Vec<usize>, String> {
    list.into_iter().map(index).collect()
}

impl<'a> Container<'a> {
    /// The tables of a file.
    pub(super) fn read(file: &'a [u8]) -> Result<Container<'a>, String> {
        let mut all = Cursor::new(file);
        if all.take(4) != Ok(b"ML\xefR") {
            return Err("is not MLIR bytecode".into());
        }
        let version = all.varint()?;
        if !(5..=6).contains(&version) {
            return Err(format!("is bytecode of version {version}; 5 and 6 are read"));
        }
        while all.byte()? != 0 {}
        let mut sections: [Option<Cursor<'a>>; 9] = [None; 9];
        while !all.is_empty() {
            let (number, body) = all.section()?;
            let place = sections.get_mut(usize::from(number)).ok_or(format!("has a section {number}"))?;
            if place.replace(body).is_some() {
                return Err(format!("has two sections {number}"));
            }
        }
        let section = |n: usize, what: &str| sections[n].ok_or(format!("has no section of {what}"));
        let strings = strings(section(0, "strings")?)?;
        let operations = dialects(section(1, "dialects")?, &strings)?;
        let [attributes, types] = entries(section(3, "sizes")?, section(2, "attributes")?)?;
        let mut listed = section(8, "properties")?;
        let count = listed.count()?;
        let properties = (0..count)
            .map(|_| {
                let length = listed.varint()?;
                listed.take(length)
            })
            .collect::<Result<_, _>>()?;
        let resources = match (sections[6], sections[5]) {
            (Some(directory), Some(bytes)) => resources(directory, bytes, &strings)?,
            _ => Vec::new(),
        };
        let mut top = section(4, "operations")?;
        let block = block(&mut top)?;
        let [asset] = <[_; 1]>::try_from(block.operations).map_err(|_| "holds not one operation")?;
        Ok(Container { strings, operations, attributes, types, properties, resources, asset })
    }

    pub(super) fn name(&self, operation: &Operation<'_>) -> Result<&'a str, String> {
        self.operations.get(operation.name).copied().ok_or_else(|| "an operation has no name".into())
    }

    pub(super) fn properties(&self, operation: &Operation<'_>) -> Result<Cursor<'a>, String> {
        let entry = operation.properties.and_then(|p| self.properties.get(p));
        entry.map(|bytes| Cursor::new(bytes)).ok_or_else(|| "has no properties".into())
    }

    pub(super) fn string(&self, number: u64) -> Result<&'a str, String> {
        self.strings.get(index(number)?).copied().ok_or_else(|| "a string is missing".into())
    }
}

/// Strings: their sizes in reverse order, then the strings, each ended by a zero.
fn strings(mut section: Cursor<'_>) -> Result<Vec<&str>, String> {
    let count = section.count()?;
    let mut sizes = (0..count).map(|_| section.varint()).collect::<Result<Vec<_>, _>>()?;
    sizes.reverse();
    let mut string = |size| match section.take(size)? {
        [text @ .., 0] => std::str::from_utf8(text).map_err(|_| "a string is not UTF-8".to_string()),
        _ => Err("a string does not end".to_string()),
    };
    sizes.into_iter().map(&mut string).collect()
}

/// The names of operations.
fn dialects<'a>(mut section: Cursor<'a>, strings: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let string = |n: u64| strings.get(n as usize).copied().ok_or("a dialect has no name".to_string());
    if section.varint()? != 1 {
        return Err("has other dialects than aicode".into());
    }
    let (name, versioned) = section.flagged()?;
    if string(name)? != DIALECT || !versioned {
        return Err(format!("is of the dialect {:?}, not a versioned {DIALECT}", string(name)?));
    }
    let (number, mut version) = section.section()?;
    let encoding = version.varint()?;
    if number != 7 || encoding != ENCODING {
        return Err(format!("has encoding {encoding} of {DIALECT}; {ENCODING} is read"));
    }
    let total = section.count()?;
    let mut names = Vec::with_capacity(total);
    while !section.is_empty() {
        if section.varint()? != 0 {
            return Err("has an operation of another dialect".into());
        }
        for _ in 0..section.count()? {
            names.push(string(section.flagged()?.0)?);
        }
    }
    if names.len() != total {
        return Err(format!("announces {total} names of operations and has {}", names.len()));
    }
    Ok(names)
}

/// Attributes and types: the lengths of the entries in one section, the entries in another.
fn entries<'a>(mut sizes: Cursor<'a>, mut bytes: Cursor<'a>) -> Result<[Vec<&'a [u8]>; 2], String> {
    let (attributes, types) = (index(sizes.varint()?)?, index(sizes.varint()?)?);
    let mut all = Vec::new();
    while !sizes.is_empty() {
        if sizes.varint()? != 0 {
            return Err("has an attribute of another dialect".into());
        }
        for _ in 0..sizes.count()? {
            let (length, own) = sizes.flagged()?;
            let entry = bytes.take(length)?;
            if !own {
                return Err("has attributes as text, which are not read".into());
            }
            all.push(entry);
        }
    }
    if attributes.checked_add(types) != Some(all.len()) {
        return Err("has another number of attributes and types than it says".into());
    }
    let types = all.split_off(attributes);
    Ok([all, types])
}

/// Keys and places of the constants in the resource section.
fn resources<'a>(
    mut directory: Cursor<'a>,
    mut bytes: Cursor<'a>,
    strings: &[&'a str],
) -> Result<Vec<(&'a str, std::ops::Range<usize>)>, String> {
    if directory.varint()? != 0 {
        return Err("has external resources".into());
    }
    let mut resources = Vec::new();
    while !directory.is_empty() {
        directory.varint()?;
        for _ in 0..directory.count()? {
            let key = strings.get(index(directory.varint()?)?).ok_or("a resource has no key")?;
            let length = directory.varint()?;
            if directory.byte()? != 0 {
                return Err(format!("the resource {key} is not a blob"));
            }
            let mut entry = bytes.part(length)?;
            let (alignment, length) = (entry.varint()?, entry.varint()?);
            entry.align(alignment)?;
            let start = entry.at();
            let data = entry.take(length)?;
            resources.push((*key, start..start + data.len()));
        }
    }
    Ok(resources)
}

/// The one region of an operation, isolated.
pub(super) fn region<'a>(operation: &Operation<'a>) -> Result<Block<'a>, String> {
    let mut bytes = operation.regions.ok_or("has no region")?;
    let (number, mut body) = bytes.section()?;
    if number != 4 || body.varint()? != 1 {
        return Err("its region is not one block".into());
    }
    body.varint()?;
    block(&mut body)
}

fn block<'a>(bytes: &mut Cursor<'a>) -> Result<Block<'a>, String> {
    let (count, has_arguments) = bytes.flagged()?;
    let mut arguments = Vec::new();
    if has_arguments {
        for _ in 0..bytes.count()? {
            let (ty, located) = bytes.flagged()?;
            if located {
                bytes.varint()?;
            }
            arguments.push(index(ty)?);
        }
        if bytes.byte()? != 0 {
            return Err("a use-list order is not read".into());
        }
    }
    let mut operations = Vec::new();
    for _ in 0..count {
        operations.push(operation(bytes)?);
    }
    Ok(Block { arguments, operations })
}

fn operation<'a>(bytes: &mut Cursor<'a>) -> Result<Operation<'a>, String> {
    let (name, mask, location) = (index(bytes.varint()?)?, bytes.byte()?, index(bytes.varint()?)?);
    if mask & !(0x40 | 0x02 | 0x04 | 0x10) != 0 {
        return Err(format!("an operation with the mask {mask:#x} is not read"));
    }
    let properties = if mask & 0x40 != 0 { Some(index(bytes.varint()?)?) } else { None };
    let results = if mask & 0x02 != 0 { indices(bytes.list()?)? } else { Vec::new() };
    let operands = if mask & 0x04 != 0 { indices(bytes.list()?)? } else { Vec::new() };
    let mut regions = None;
    if mask & 0x10 != 0 {
        let (count, isolated) = bytes.flagged()?;
        if count != 1 || !isolated {
            return Err("an operation has other than one isolated region".into());
        }
        regions = Some(*bytes);
        bytes.section()?;
    }
    Ok(Operation { name, location, properties, results, operands, regions })
}
