//! One value as two computations hold it: passes order the axes of tokens anew and drop axes of length one, the elements stay. Where windows are no
//! longer first, the images of a batch lie behind the windows instead of in front of them.

/// How a candidate holds a value of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The reference's dimensions.
    pub(super) reference: Vec<usize>,
    /// The candidate's.
    pub(super) candidate: Vec<usize>,
    /// The reference's axis that each of the candidate's axes is, both without axes of length one.
    order: Vec<usize>,
    /// Images whose windows the reference's first axis counts, if they moved behind the windows; else 1.
    images: usize,
}

impl Layout {
    /// The layout that dimensions tell, `None` in the place of one that depends on the batch. Maps `[B,C,H,W]` are held as they are everywhere; of other
    /// values with two axes of one length it cannot be told.
    pub(super) fn between(reference: &[usize], candidate: &[Option<usize>], images: usize) -> Option<Layout> {
        let known: usize = candidate.iter().flatten().product();
        let unknown = candidate.iter().filter(|d| d.is_none()).count();
        let missing = reference.iter().product::<usize>().checked_div(known)?;
        if unknown > 1 {
            return None;
        }
        let candidate: Vec<usize> = candidate.iter().map(|d| d.unwrap_or(missing)).collect();
        let [long, of_candidate] =
            [reference, &candidate].map(|dims| -> Vec<usize> { dims.iter().copied().filter(|&d| d != 1).collect() });
        let order = if reference.len() == 4 && reference == candidate {
            (0..long.len()).collect()
        } else {
            let at = |d: &usize| {
                let mut places = (0..long.len()).filter(|&i| long[i] == *d);
                places.next().filter(|_| places.next().is_none())
            };
            of_candidate.iter().map(at).collect::<Option<Vec<_>>>()?
        };
        let all = order.len() == long.len() && (0..long.len()).all(|i| order.contains(&i));
        let sets = reference.first().is_some_and(|d| *d != 1 && d.is_multiple_of(images));
        let moved = sets && order.first().is_some_and(|&axis| axis != 0);
        let images = if moved { images } else { 1 };
        all.then(|| Layout { reference: reference.to_vec(), candidate, order, images })
    }

    /// The reference's elements in the candidate's order.
    pub(super) fn to_candidate(&self, data: &[f32]) -> Vec<f32> {
        self.places().into_iter().map(|place| data[place]).collect()
    }

    /// The candidate's elements in the reference's order.
    pub(super) fn to_reference(&self, data: &[f32]) -> Vec<f32> {
        let mut result = vec![0.0; data.len()];
        self.places().into_iter().zip(data).for_each(|(place, &x)| result[place] = x);
        result
    }

    /// Where the reference holds each of the candidate's elements.
    fn places(&self) -> Vec<usize> {
        let long: Vec<usize> = self.reference.iter().copied().filter(|&d| d != 1).collect();
        let stride = |axis: usize| long[axis + 1..].iter().product::<usize>();
        self.order.iter().fold(vec![0], |places, &axis| {
            let windows = long[axis] / self.images;
            let set = |i: usize| if axis == 0 { i % self.images * windows + i / self.images } else { i };
            places.into_iter().flat_map(|p| (0..long[axis]).map(move |i| p + set(i) * stride(axis))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(reference: &[usize], candidate: &[usize]) -> Option<Layout> {
        Layout::between(reference, &candidate.iter().map(|&d| Some(d)).collect::<Vec<_>>(), 1)
    }

    #[test]
    fn axes_are_told_by_their_length() {
        let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let same = between(&[1, 3, 8], &[3, 1, 8]).expect("only an axis of length one moved");
        assert_eq!(same.to_candidate(&data), data);
        let windows = between(&[2, 3, 4], &[3, 2, 4]).expect("three lengths");
        let moved = windows.to_candidate(&data);
        assert_eq!(moved[4..8], data[12..16], "the first token of the second window");
        assert_eq!(windows.to_reference(&moved), data);
        assert!(between(&[1, 2, 3, 3], &[1, 2, 3, 3]).is_some(), "a map");
    }

    #[test]
    fn what_cannot_be_told_is_no_layout() {
        assert_eq!(between(&[3, 3, 8], &[3, 3, 8]), None, "windows or tokens first?");
        assert_eq!(between(&[2, 3, 4], &[2, 3, 5]), None);
        assert_eq!(between(&[2, 12], &[2, 3, 4]), None);
        assert_eq!(Layout::between(&[2, 3, 4], &[None, None, Some(4)], 1), None);
        let batch = Layout::between(&[2, 3, 4], &[Some(3), None, Some(4)], 1).expect("one unknown");
        assert_eq!(batch.candidate, [3, 2, 4]);
    }

    #[test]
    fn images_move_behind_their_windows() {
        // Two images of three windows of one token and one channel: image and window are the digits.
        let windows: Vec<f32> = [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]].concat();
        let data: Vec<f32> = windows.iter().flat_map(|&w| [w, w + 100.0]).collect();
        let layout = Layout::between(&[6, 2, 1], &[Some(2), None, Some(1)], 2).expect("one unknown");
        let moved = layout.to_candidate(&data);
        assert_eq!(moved[..6], [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
        assert_eq!(layout.to_reference(&moved), data);
        let kept = Layout::between(&[6, 2, 1], &[None, Some(2), Some(1)], 2).expect("one unknown");
        assert_eq!(kept.to_candidate(&data), data);
    }
}
