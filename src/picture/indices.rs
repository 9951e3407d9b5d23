//! PNG files whose pixels are numbers of classes: grey levels or places in a palette as they are stored, never as they look.

use super::decode::{DecodeError, LARGEST};
use std::io::Cursor;

/// Numbers, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indices {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// A number for each.
    pub values: Vec<u16>,
}

/// The numbers in `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Indices, DecodeError> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: LARGEST });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let (colour, depth) = reader.output_color_type();
    if !matches!(colour, png::ColorType::Grayscale | png::ColorType::Indexed) {
        return Err(DecodeError::Colours);
    }
    let large = || DecodeError::Large(format!("{width}x{height}"));
    let size = reader.output_buffer_size().filter(|&n| n <= LARGEST).ok_or_else(large)?;
    let mut samples = vec![0; size];
    reader.next_frame(&mut samples)?;
    let row = reader.output_line_size(width as u32).unwrap_or(0).max(1);
    let values =
        samples.chunks_exact(row).take(height).flat_map(|row| unpacked(row, depth).take(width).collect::<Vec<_>>());
    Ok(Indices { width, height, values: values.collect() })
}

/// The samples of a row, the first in the high bits of a byte.
fn unpacked(row: &[u8], depth: png::BitDepth) -> Box<dyn Iterator<Item = u16> + '_> {
    let bits = match depth {
        png::BitDepth::One => 1,
        png::BitDepth::Two => 2,
        png::BitDepth::Four => 4,
        png::BitDepth::Eight => return Box::new(row.iter().map(|&b| u16::from(b))),
        png::BitDepth::Sixteen => return Box::new(row.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]]))),
    };
    let of = move |&byte: &u8| (0..8 / bits).map(move |i| u16::from(byte >> (8 - bits * (i + 1)) & ((1 << bits) - 1)));
    Box::new(row.iter().flat_map(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(colour: png::ColorType, depth: png::BitDepth, width: u32, rows: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == png::ColorType::Indexed {
            encoder.set_palette([9u8; 3 * 16].to_vec());
        }
        encoder.write_header().unwrap().write_image_data(rows).unwrap();
        file
    }

    #[test]
    fn numbers_are_as_they_are_stored() {
        for (colour, depth, rows) in [
            (png::ColorType::Grayscale, png::BitDepth::Eight, &[0u8, 1, 255, 7, 3, 2][..]),
            (png::ColorType::Grayscale, png::BitDepth::Sixteen, &[0, 0, 0, 1, 0, 255, 0, 7, 0, 3, 0, 2]),
            (png::ColorType::Indexed, png::BitDepth::Four, &[0x01, 0xf0, 0x73, 0x20]),
            (png::ColorType::Grayscale, png::BitDepth::Two, &[0b0001_1100, 0b1111_1000]),
        ] {
            let found = decode(&written(colour, depth, 3, rows)).unwrap();
            let wanted: Vec<u16> = match depth {
                png::BitDepth::Four => vec![0, 1, 15, 7, 3, 2],
                png::BitDepth::Two => vec![0, 1, 3, 3, 3, 2],
                _ => vec![0, 1, 255, 7, 3, 2],
            };
            assert_eq!((found.width, found.height, found.values), (3, 2, wanted), "{colour:?} {depth:?}");
        }
    }

    #[test]
    fn colours_and_damage_are_errors() {
        let colours = written(png::ColorType::Rgb, png::BitDepth::Eight, 1, &[0; 6]);
        assert!(matches!(decode(&colours), Err(DecodeError::Colours)));
        let grey = written(png::ColorType::Grayscale, png::BitDepth::Eight, 3, &[0; 6]);
        for cut in 0..grey.len() {
            let _ = decode(&grey[..cut]);
        }
        for at in 0..grey.len() {
            let mut damaged = grey.clone();
            damaged[at] ^= 0x24;
            let _ = decode(&damaged);
        }
    }
}
