//! What stands behind a backbone, one file per kind.

mod answer;
mod classifier;
mod cvnets;
mod deeplab;
mod ffnet_head;
mod fpn;
mod input_projection;
mod mmseg;
mod mmseg_heads;
mod numbers;
pub(super) mod own;
mod pspnet;
mod pyramid_pooling;
mod retinanet;
mod segmentation;
mod semantic_fpn;
pub mod sequence;
mod super_resolution;
mod upernet;

pub(super) use answer::{answer, flattened, max_and_mean};
pub use classifier::Classifier;
pub use own::{ACTIVATION, HeadName, Kind, Layer, OwnHead, Reads};

use super::family::{MapHead, Neck};

/// Every neck.
pub static NECKS: &[&Neck] = &[&fpn::FPN, &input_projection::INPUT_PROJECTION];

/// Every head that reads maps.
pub static MAP_HEADS: &[&MapHead] = &[
    &semantic_fpn::SEMANTIC_FPN,
    &upernet::UPERNET,
    &ffnet_head::FFNET_HEAD,
    &deeplab::DEEPLAB_V3,
    &pspnet::PSPNET,
    &mmseg_heads::PSP_HEAD,
    &mmseg_heads::ASPP_HEAD,
    &mmseg_heads::FCN_HEAD,
    &mmseg_heads::SEGFORMER_HEAD,
    &retinanet::RETINANET,
    &super_resolution::SUPER_RESOLUTION,
];
