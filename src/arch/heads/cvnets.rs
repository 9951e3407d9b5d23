//! What the segmentation heads of CVNets share: their layers, and how they end.

use super::numbers::rows;
use super::segmentation::HEAD_ACTIVATION;
use crate::arch::family::{ArchError, BuildOptions};
use crate::arch::layers::conv_bn;
use crate::arch::prediction::{PixelScores, Prediction};
use vitc_ir::{ConvSpec, Net, Op, UnaryKind, Value};

/// Convolution without bias, BatchNorm, the head's activation.
pub(super) struct SegmentationLayer<'a> {
    pub(super) options: &'a BuildOptions<'a>,
    pub(super) part: &'static str,
}

impl SegmentationLayer<'_> {
    pub(super) fn build(&self, net: &mut Net, x: Value, spec: ConvSpec) -> Value {
        let mut net = net.at("block");
        let x = conv_bn(&mut net, x, ["conv", "norm"], spec.no_bias());
        let slope = net.path("act.weight");
        if let Some(shape) = self.options.stored(&slope) {
            let slope = net.weight("act.weight", &[shape.iter().product()]);
            return net.push("act", Op::Prelu, &[x, slope]);
        }
        let swish = self.options.choice(&HEAD_ACTIVATION) == "swish";
        net.unary("act", if swish { UnaryKind::Silu } else { UnaryKind::Relu }, x)
    }
}

/// A 1x1 with bias and neither norm nor activation classifies; the scores are enlarged with their corners aligned.
pub(super) fn joined_scores(
    net: &mut Net,
    layer: &SegmentationLayer<'_>,
    x: Value,
    stride: usize,
) -> Result<Prediction, ArchError> {
    let classes = rows(net, layer.options, layer.part, "classifier.block.conv.weight")?;
    let value = net.at("classifier.block.conv").conv(x, ConvSpec::new(classes, 1));
    Ok(Prediction::Pixels(PixelScores { value, classes, stride, corners: true }))
}
