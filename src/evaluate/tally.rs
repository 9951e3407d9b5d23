//! Counting what is right.

use serde::Serialize;

/// What is counted for one artifact.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Per class: pictures that show it, those of them where it is the likeliest, and where it is among the five likeliest.
    pictures: Vec<[usize; 3]>,
    /// Per class: pixels that show it and are said to, that are said to, that show it.
    pixels: Vec<[u64; 3]>,
}

/// The entry of a class, made if need be.
fn of<const N: usize, T: Copy + Default>(counts: &mut Vec<[T; N]>, class: usize) -> &mut [T; N] {
    if counts.len() <= class {
        counts.resize(class + 1, [T::default(); N]);
    }
    &mut counts[class]
}

impl Tally {
    /// A picture that shows a class, and the classes, the likeliest first.
    pub(super) fn picture(&mut self, shown: usize, ranking: &[usize]) {
        let place = ranking.iter().position(|&c| c == shown).unwrap_or(usize::MAX);
        let counts = of(&mut self.pictures, shown);
        counts[0] += 1;
        counts[1] += usize::from(place < 1);
        counts[2] += usize::from(place < 5);
    }

    /// A pixel that shows a class.
    pub(super) fn pixel(&mut self, shown: usize, said: usize) {
        of(&mut self.pixels, shown)[2] += 1;
        of(&mut self.pixels, said)[1] += 1;
        if shown == said {
            of(&mut self.pixels, shown)[0] += 1;
        }
    }

    /// With what another counted.
    pub(super) fn add(&mut self, other: &Tally) {
        for (class, more) in other.pictures.iter().enumerate() {
            of(&mut self.pictures, class).iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        for (class, more) in other.pixels.iter().enumerate() {
            of(&mut self.pixels, class).iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
    }

    /// The figures; `None` if nothing was counted.
    pub(super) fn marks(&self, labels: Option<&[String]>) -> Option<Marks> {
        let label = |class: usize| labels.and_then(|l| l.get(class).cloned());
        let sum = |i: usize| self.pictures.iter().map(|c| c[i]).sum::<usize>();
        if sum(0) > 0 {
            let [pictures, correct, near] = [0, 1, 2].map(sum);
            let share = |n: usize| n as f64 / pictures as f64;
            let classes = self.pictures.iter().enumerate().filter(|(_, c)| c[0] > 0);
            let mark = |(class, c): (usize, &[usize; 3])| ClassMark {
                class,
                label: label(class),
                pictures: Some(c[0]),
                top1: Some(c[1] as f64 / c[0] as f64),
                ..ClassMark::default()
            };
            return Some(Marks {
                correct: Some(correct),
                top1: Some(share(correct)),
                top5: Some(share(near)),
                per_class: classes.map(mark).collect(),
                ..Marks::default()
            });
        }
        let shown: u64 = self.pixels.iter().map(|c| c[2]).sum();
        if shown == 0 {
            return None;
        }
        let right: u64 = self.pixels.iter().map(|c| c[0]).sum();
        // A class that is neither shown nor said has no share in the mean.
        let seen = self.pixels.iter().enumerate().filter(|(_, c)| c[1] + c[2] > 0);
        let mark = |(class, c): (usize, &[u64; 3])| ClassMark {
            class,
            label: label(class),
            pixels: Some(c[2]),
            iou: Some(c[0] as f64 / (c[1] + c[2] - c[0]) as f64),
            ..ClassMark::default()
        };
        let per_class: Vec<ClassMark> = seen.map(mark).collect();
        let sum: f64 = per_class.iter().filter_map(|c| c.iou).sum();
        Some(Marks {
            pixel_accuracy: Some(right as f64 / shown as f64),
            miou: Some(sum / per_class.len() as f64),
            per_class,
            ..Marks::default()
        })
    }
}

/// How often an artifact is right. Shares are of 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Marks {
    /// Pictures whose class is the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct: Option<usize>,
    /// Their share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Share of pictures whose class is among the five likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Mean over the classes of pixels that show and are said to show a class, over those that do either; classes that do neither are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miou: Option<f64>,
    /// Share of the pixels whose class is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_accuracy: Option<f64>,
    /// Each class that was seen.
    pub per_class: Vec<ClassMark>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ClassMark {
    /// Its index.
    pub class: usize,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Pictures that show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<usize>,
    /// Share of them where it is the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Pixels that show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<u64>,
    /// Pixels that show it and are said to, over those that do either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iou: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_by_class() {
        let mut tally = Tally::default();
        tally.picture(1, &[1, 0, 2, 3, 4, 5]);
        tally.picture(1, &[0, 1, 2, 3, 4, 5]);
        let mut other = Tally::default();
        other.picture(5, &[0, 1, 2, 3, 4, 5]);
        other.picture(0, &[0, 1, 2, 3, 4, 5]);
        tally.add(&other);
        let marks = tally.marks(None).unwrap();
        assert_eq!((marks.correct, marks.top1, marks.top5), (Some(2), Some(0.5), Some(0.75)));
        let classes: Vec<_> = marks.per_class.iter().map(|c| (c.class, c.pictures, c.top1)).collect();
        assert_eq!(classes, [(0, Some(1), Some(1.0)), (1, Some(2), Some(0.5)), (5, Some(1), Some(0.0))]);
    }

    #[test]
    fn a_class_that_nobody_sees_is_not_in_the_mean() {
        let mut tally = Tally::default();
        for (shown, said) in [(0, 0), (0, 0), (0, 2), (2, 2), (2, 0)] {
            tally.pixel(shown, said);
        }
        let marks = tally.marks(None).unwrap();
        // Class 0: 2 of 4, class 2: 1 of 3.
        assert!((marks.miou.unwrap() - (0.5 + 1.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!((marks.pixel_accuracy, marks.per_class.len()), (Some(0.6), 2));
        assert_eq!(Tally::default().marks(None), None);
    }
}
