//! PNG and JPEG files as 8-bit RGB.
//!
//! Sixteen bits are rounded to eight, a palette is looked up, a grey picture has three equal channels, CMYK becomes RGB. Transparency is dropped, and
//! colour profiles are not applied. Picture files come from anywhere: what would take more than `LARGEST` bytes is refused from its header.

use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Bytes that a decoded picture may take.
pub(super) const LARGEST: usize = 512 << 20;

/// A picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each.
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// The picture with `colour(x, y)` at each place.
    pub(super) fn new(width: usize, height: usize, colour: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| colour(x, y)).collect();
        Picture { width, height, pixels }
    }

    /// The same in grey: ITU-R 601-2 luma in sixteenths of a thousand, as PIL rounds it.
    pub(super) fn grey(&self) -> Picture {
        let luma = |[r, g, b]: [u8; 3]| {
            let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000;
            [(sum >> 16) as u8; 3]
        };
        Picture { pixels: self.pixels.iter().map(|p| luma(*p)).collect(), ..*self }
    }

    pub(super) fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }
}

/// Why bytes are no picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They begin like neither format.
    #[error("The image format could not be determined")]
    Format,
    /// It has colours where numbers of classes are wanted.
    #[error(
        "it is a colour picture, and a mask holds a number of a class for each pixel: grey levels or places in a palette"
    )]
    Colours,
    /// A header promises too much.
    #[error("its {0} pixels take more memory than a picture may")]
    Large(String),
    /// What the PNG decoder says.
    #[error(transparent)]
    Png(#[from] png::DecodingError),
    /// What the JPEG decoder says.
    #[error("{0}")]
    Jpeg(String),
}

/// The picture in `bytes`, whose beginning decides the format.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, DecodeError> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png(bytes),
        [0xff, 0xd8, 0xff, ..] => jpeg(bytes),
        _ => Err(DecodeError::Format),
    }
}

fn png(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: LARGEST });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let large = || DecodeError::Large(format!("{width}x{height}"));
    let size = reader.output_buffer_size().filter(|&n| n <= LARGEST).ok_or_else(large)?;
    let (colour, depth) = reader.output_color_type();
    let mut samples = vec![0; size];
    reader.next_frame(&mut samples)?;
    if depth == png::BitDepth::Sixteen {
        samples = samples.chunks_exact(2).map(|b| eight_bits(u16::from_be_bytes([b[0], b[1]]))).collect();
    }
    Ok(Picture { width, height, pixels: pixels(&samples, colour.samples()) })
}

/// The nearest level: 65535 is 255.
fn eight_bits(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

fn jpeg(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let failed = |e: zune_jpeg::errors::DecodeErrors| DecodeError::Jpeg(e.to_string());
    // Not strict: a file whose last lines are damaged shows what is there, as viewers do. The format itself ends at 65,535 on a side.
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let kept = [ColorSpace::Luma, ColorSpace::LumaA, ColorSpace::RGBA];
    let colour = decoder.input_colorspace().filter(|c| kept.contains(c)).unwrap_or(ColorSpace::RGB);
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let channels = colour.num_components();
    if width * height * channels > LARGEST {
        return Err(DecodeError::Large(format!("{width}x{height}")));
    }
    // The output colour must be known before the headers are read.
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options.jpeg_set_out_colorspace(colour));
    Ok(Picture { width, height, pixels: pixels(&decoder.decode().map_err(failed)?, channels) })
}

/// Samples of grey or colour, with or without transparency, as colours.
fn pixels(samples: &[u8], channels: usize) -> Vec<[u8; 3]> {
    let colour = |p: &[u8]| match p {
        [r, g, b, ..] => [*r, *g, *b],
        _ => [p[0]; 3],
    };
    samples.chunks_exact(channels).map(colour).collect()
}
