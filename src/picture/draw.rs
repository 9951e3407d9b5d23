//! Pictures of what a dense model answers: coloured maps, maps over the picture, boxes on it; and the PNG files they go to.

use super::decode::Picture;
use super::returned::{ClassMap, Detection};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

/// Colour of each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette(Vec<[u8; 3]>);

impl Palette {
    /// Of `#rrggbb` with commas between them.
    pub fn read(text: &str) -> Option<Palette> {
        let colour = |word: &str| {
            let hex = word.trim().strip_prefix('#').filter(|hex| hex.len() == 6 && hex.is_ascii())?;
            let level = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok();
            Some([level(0)?, level(1)?, level(2)?])
        };
        text.split(',').map(colour).collect::<Option<Vec<_>>>().map(Palette)
    }

    /// The colour of a class; beyond the palette one that its number makes, as the VOC palette's bits do.
    pub fn colour(&self, class: usize) -> [u8; 3] {
        if let Some(colour) = self.0.get(class) {
            return *colour;
        }
        Palette::numbered(class)
    }

    /// The colour of a box: class 0 has one too where no palette is given.
    fn line(&self, class: usize) -> [u8; 3] {
        if self.0.is_empty() { Palette::numbered(class + 1) } else { self.colour(class) }
    }

    fn numbered(class: usize) -> [u8; 3] {
        let mut colour = [0u8; 3];
        for bit in 0..8 {
            for (channel, level) in colour.iter_mut().enumerate() {
                *level |= ((class >> (3 * bit + channel) & 1) as u8) << (7 - bit);
            }
        }
        colour
    }
}

impl Default for Palette {
    /// No colour given.
    fn default() -> Palette {
        Palette(Vec::new())
    }
}

/// The map in the colours of its classes.
pub fn coloured(map: &ClassMap, palette: &Palette) -> Picture {
    let [height, width] = map.size;
    Picture::new(width, height, |x, y| palette.colour(map.classes[y * width + x]))
}

/// The picture with the coloured map over it, each half.
pub fn overlaid(picture: &Picture, map: &Picture) -> Picture {
    let mixed = |x, y| {
        let (below, above) = (picture.at(x, y), map.at(x, y));
        [0, 1, 2].map(|c| ((u16::from(below[c]) + u16::from(above[c])) / 2) as u8)
    };
    Picture::new(picture.width, picture.height, mixed)
}

/// The picture with the outline of every box, in the colour of its class.
pub fn boxed(picture: &Picture, found: &[Detection], palette: &Palette) -> Picture {
    let line = (picture.width.max(picture.height) / 400).max(1) as f32;
    // The least probable first, so that the best lies on top.
    let edge = |x: usize, y: usize| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        found.iter().find(|d| {
            let [left, top, right, bottom] = d.corners;
            let inside = |by: f32| x >= left + by && x < right - by && y >= top + by && y < bottom - by;
            inside(0.0) && !inside(line)
        })
    };
    let pixel = |x, y| edge(x, y).map_or_else(|| picture.at(x, y), |d| palette.line(d.class));
    Picture::new(picture.width, picture.height, pixel)
}

/// A picture `[3,H,W]` of values in 0..1.
pub fn of_values(values: &[f32], [height, width]: [usize; 2]) -> Picture {
    let level = |c: usize, at: usize| (values[c * height * width + at].clamp(0.0, 1.0) * 255.0).round() as u8;
    Picture::new(width, height, |x, y| [0, 1, 2].map(|c| level(c, y * width + x)))
}

/// Write a PNG file.
///
/// # Errors
/// If the system refuses.
pub fn write(picture: &Picture, path: &Path) -> io::Result<()> {
    let side = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("the picture is too large for a PNG file"));
    let mut encoder =
        png::Encoder::new(BufWriter::new(File::create(path)?), side(picture.width)?, side(picture.height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::from)?;
    writer.write_image_data(picture.pixels.as_flattened()).map_err(io::Error::from)?;
    writer.finish().map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_read_back() {
        let palette = Palette::read("#102030,#ff0000").expect("two colours");
        assert_eq!((Palette::read("#12"), Palette::read("#gg0000")), (None, None));
        let map = coloured(&ClassMap { size: [1, 3], classes: vec![1, 0, 2] }, &palette);
        assert_eq!((map.at(0, 0), map.at(1, 0), map.at(2, 0)), ([255, 0, 0], [16, 32, 48], [0, 128, 0]));
        let over = overlaid(&Picture::new(3, 1, |_, _| [0, 100, 200]), &map);
        assert_eq!(over.at(0, 0), [127, 50, 100]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("map.png");
        write(&map, &path).expect("it is written");
        assert_eq!(super::super::read(&path).expect("it is read").pixels, map.pixels);
    }

    #[test]
    fn a_box_is_its_outline() {
        let plain = Picture::new(8, 8, |_, _| [9, 9, 9]);
        let found = [Detection { class: 0, probability: 0.9, corners: [2.0, 2.0, 6.0, 6.0] }];
        let drawn = boxed(&plain, &found, &Palette::default());
        let changed: Vec<(usize, usize)> =
            (0..64).map(|i| (i % 8, i / 8)).filter(|&(x, y)| drawn.at(x, y) != [9, 9, 9]).collect();
        assert_eq!(changed.len(), 12, "the border of 4 x 4 pixels");
        assert!(!changed.contains(&(3, 3)) && changed.contains(&(2, 5)));
    }

    #[test]
    fn values_beyond_a_picture_are_clipped() {
        let picture = of_values(&[-1.0, 0.5, 2.0], [1, 1]);
        assert_eq!(picture.at(0, 0), [0, 128, 255]);
    }
}
