//! The end of FFNet's super-resolution net: "MetaMixer Is All You Need", Yun et al. (arXiv 2406.02021).
//!
//! A 3x3 makes r² values per channel of the picture; each channel of the input, repeated r² times, is added, and channels become pixels.

use super::numbers::{part_error, rows};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::pixel_shuffle;
use crate::arch::prediction::Prediction;
use vitc_ir::{ConvSpec, Net, Value};

const NAME: &str = "super-resolution";
const CHANNELS: usize = 3;

/// The head.
pub(super) static SUPER_RESOLUTION: MapHead =
    MapHead { name: NAME, scope: "", anchors: &["conv_bef_up.weight"], choices: &[], backbone_stride: None, build };

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let rows = rows(net, options, NAME, "conv_bef_up.weight")?;
    let scale = (rows / CHANNELS).isqrt();
    let (Some(map), true) = (maps.last(), scale > 0 && rows == CHANNELS * scale * scale) else {
        return Err(part_error(NAME, format!("conv_bef_up has {rows} rows, which is not 3 times a square")));
    };
    let image = net.graph().inputs().next().map(|(id, _)| Value::from(id));
    let image = image.ok_or_else(|| part_error(NAME, "there is no picture to enlarge"))?;
    if net.dim(image, 1) != CHANNELS {
        return Err(part_error(NAME, format!("it enlarges colours, and the input has {} channels", net.dim(image, 1))));
    }
    let x = net.at("conv_bef_up").conv(map.value, ConvSpec::new(rows, 3));
    // Channel c of the picture is repeated for each of its r² channels.
    let planes = net.split("repeat.planes", image, 1, &[1; CHANNELS]);
    let repeated: Vec<Value> = planes.iter().flat_map(|&plane| vec![plane; scale * scale]).collect();
    let repeated = net.concat("repeat", &repeated, 1);
    let sum = net.at("conv_bef_up").add(x, repeated);
    let value = pixel_shuffle(net, "pixel_shuffle", sum, scale);
    Ok(Prediction::Picture { value, scale })
}
