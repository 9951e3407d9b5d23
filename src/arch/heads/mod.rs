//! What stands behind a backbone, one file per kind.

mod answer;
mod classifier;
mod cvnets;
mod deeplab;
mod fcn;
mod ffnet_head;
mod fpn;
mod input_projection;
mod mmseg;
mod mmseg_deeplab;
mod mmseg_pspnet;
mod numbers;
pub(super) mod own;
mod pspnet;
mod pyramid_pooling;
mod retinanet;
mod segformer;
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
    &mmseg_pspnet::MMSEG_PSPNET,
    &mmseg_deeplab::MMSEG_DEEPLAB_V3,
    &fcn::FCN,
    &segformer::SEGFORMER,
    &retinanet::RETINANET,
    &super_resolution::SUPER_RESOLUTION,
];
