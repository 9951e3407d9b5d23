//! mmcv's `ConvModule`: a convolution, and behind it a norm and an activation where there are some.

use super::choice::Choice;
use super::family::{ArchError, BuildOptions};
use super::layers::BN_EPS;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

/// Epsilon of a GroupNorm where the configuration does not set it: PyTorch's default.
const GN_EPS: f64 = 1e-5;

/// Groups of the GroupNorms behind convolutions.
pub(super) static NORM_GROUPS: Choice = Choice {
    name: "norm-groups",
    values: &["32"],
    help: "groups of the GroupNorms behind the convolutions of neck and head: 32 in the code base's configurations",
};

/// The convolution `conv`, behind it the BatchNorm `bn` or the GroupNorm `gn`, and the activation: a convolution in front of a norm has no bias. Of a
/// checkpoint the keys decide which norm there is, without one the spec.
pub(super) fn conv_module(
    net: &mut Net,
    options: &BuildOptions,
    x: Value,
    spec: ConvSpec,
    activation: Option<UnaryKind>,
) -> Result<Value, ArchError> {
    let grouped = options.holds(&net.path("gn.weight"), false);
    let normed = options.holds(&net.path("bn.running_mean"), !spec.bias);
    // One that is stored beside a norm is asked for too, and where both are missing the bias is what is missed.
    let spec = ConvSpec { bias: !(normed || grouped) || options.holds(&net.path("conv.bias"), false), ..spec };
    let mut y = net.at("conv").conv(x, spec);
    if normed {
        y = net.at("bn").batch_norm(y, BN_EPS);
    }
    if grouped {
        let (groups, channels) = (groups(options)?, net.dim(y, 1));
        if !channels.is_multiple_of(groups) {
            let what = format!(
                "{} has {channels} channels in {groups} groups: say the groups that were trained",
                net.path("gn")
            );
            return Err(ArchError::Part { part: "GroupNorm", what });
        }
        y = net.at("gn").group_norm(y, groups, GN_EPS);
    }
    Ok(activation.map_or(y, |kind| net.unary("act", kind, y)))
}

fn groups(options: &BuildOptions) -> Result<usize, ArchError> {
    let text = options.choice(&NORM_GROUPS);
    let groups = text.trim().parse().ok().filter(|groups| *groups > 0);
    let what = || format!("{} takes a number, found {text}", NORM_GROUPS.name);
    groups.ok_or_else(|| ArchError::Part { part: "GroupNorm", what: what() })
}
