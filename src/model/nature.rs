//! What tensors that the trunk does not ask for are, as far as their names tell: leftovers of training, which are known to compute nothing, and
//! what computes.
//!
//! The lists hold segments of names as training code in public repositories uses them. A name on no list is unknown, and unknown tensors stop
//! an export; so a list that is too short costs a flag, and one that is too long would cost a wrong file.

/// What a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Nature {
    // Known to compute nothing.
    Counter,
    Optimizer,
    Copy,
    Teacher,
    Loss,
    Metric,
    Auxiliary,
    Training,
    // Computes, or may.
    Calibration,
    Adapter,
    OutputNorm,
    Dense,
    Head,
    Unknown,
}

impl Nature {
    /// Why the model does not need it, if it is known to compute nothing.
    pub(super) fn leftover(self) -> Option<&'static str> {
        match self {
            Nature::Counter => Some("a counter of the averaging"),
            Nature::Optimizer => Some("the optimizer's state"),
            Nature::Copy => Some("another model, or a copy of this one"),
            Nature::Teacher => Some("the teacher of a distillation"),
            Nature::Loss => Some("part of a loss"),
            Nature::Metric => Some("a metric's state"),
            Nature::Auxiliary => Some("an auxiliary head, for training only"),
            Nature::Training => Some("the training script's state"),
            Nature::Calibration
            | Nature::Adapter
            | Nature::OutputNorm
            | Nature::Dense
            | Nature::Head
            | Nature::Unknown => None,
        }
    }

    /// What it seems to be, where it computes.
    pub(super) fn seems(self) -> &'static str {
        match self {
            Nature::Calibration => "calibration of another quantisation tool",
            Nature::Adapter => "an adapter, which is part of the function",
            Nature::OutputNorm => "a norm on a stage's output, as detectors and segmenters have it",
            Nature::Dense => "a part of a detector or segmenter",
            Nature::Head => "a head",
            _ => "of a kind that vitc does not know",
        }
    }
}

const OPTIMIZER: &[&str] =
    &["optimizer", "optimizers", "optim", "optimizer_state", "optimizer_states", "optimizer_state_dict", "opt_state"];
const MOMENTS: &[&str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "exp_avg_diff"];
const TRAINING: &[&str] = &[
    "lr_scheduler",
    "lr_schedulers",
    "scheduler",
    "schedulers",
    "param_schedulers",
    "scaler",
    "amp_scaler",
    "amp",
    "grad_scaler",
    "message_hub",
    "callbacks",
    "loops",
    "rng_state",
    "torch_rng_state",
    "cuda_rng_state",
    "random_states",
    "rng_states",
    "trainer_state",
];
/// Counts of a training script, as names of their own.
const STEPS: &[&str] = &["step", "steps", "global_step", "epoch", "iteration", "iterations"];
/// Weights of several losses, and the queue of negatives of a contrastive one, as names of their own.
const TASK_WEIGHTS: &[&str] = &[
    "log_vars",
    "log_var",
    "log_sigmas",
    "log_sigma",
    "log_variances",
    "loss_weights",
    "task_weights",
    "queue",
    "queue_ptr",
];
const LOSS: &[&str] =
    &["criterion", "criterions", "criteria", "loss", "losses", "loss_fn", "loss_fct", "loss_func", "loss_function"];
const METRIC: &[&str] =
    &["metric", "metrics", "accuracy", "auroc", "confmat", "confusion_matrix", "f1_score", "top1", "top5"];
const AUXILIARY: &[&str] = &[
    "aux",
    "aux_head",
    "aux_heads",
    "auxiliary",
    "auxiliary_head",
    "auxiliary_heads",
    "aux_classifier",
    "aux_classifiers",
    "aux_seg_head",
    "aux_fc",
    "aux_logits",
    "auxlayer",
];
const TEACHER: &[&str] = &["teacher", "teacher_model", "model_teacher", "net_t", "teacher_net"];
const DENSE: &[&str] = &[
    "neck",
    "necks",
    "fpn",
    "lateral_convs",
    "decode_head",
    "seg_head",
    "segmentation_head",
    "sem_seg_head",
    "bbox_head",
    "rpn_head",
    "rpn",
    "roi_head",
    "roi_heads",
    "mask_head",
    "keypoint_head",
    "dense_head",
    "panoptic_head",
    "transformer",
    "encoder_decoder",
    "query_embed",
    "input_proj",
    "label_enc",
    "class_embed",
    "bbox_embed",
    "proposal_generator",
    "decoder",
    "upsampler",
    "ssd_heads",
    "extra_layers",
    "upconv1",
    "conv_last",
];
const ADAPTER: &[&str] = &["adapter", "lora", "ssf_", "prompt", "ia3", "side_tuning", "prefix_tuning"];
const CALIBRATION: &[&str] = &[
    "fake_quant",
    "activation_post_process",
    "observer",
    "_quantizer",
    "quantizer.",
    "weight_scale",
    "input_scale",
    "zero_point",
];
/// Words of names, without numbers behind them.
const HEAD: &[&str] = &[
    "head",
    "heads",
    "fc",
    "classifier",
    "classifiers",
    "classification",
    "cls",
    "linear",
    "logit",
    "logits",
    "pred",
    "predictor",
    "prediction",
    "predictions",
];
/// Whole segments.
const HEAD_SEGMENT: &[&str] = &["out", "output", "mlp", "dense", "final", "last_layer", "lin"];
/// Words of layers that look like a classifier without bias and are none, or whose output is no score.
const EMBEDDING: &[&str] =
    &["embed", "query", "queue", "prompt", "token", "pos_", "proto", "memory", "codebook", "anchor", "proj", "enc"];

/// Whether a name says that a linear layer is a classifier.
pub(super) fn says_head(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let plain = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
    let says = |segment: &str| {
        HEAD_SEGMENT.contains(&segment) || segment.split('_').any(|word| HEAD.contains(&plain(word).as_str()))
    };
    name.split('.').any(says) && !says_embedding(&name)
}

/// Whether a name says that a matrix is no classifier.
pub(super) fn says_embedding(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    EMBEDDING.iter().any(|word| name.contains(word))
}

/// What a tensor of this name is, by itself.
pub(super) fn nature(name: &str) -> Nature {
    let lower = name.to_ascii_lowercase();
    let segments: Vec<&str> = lower.split('.').collect();
    let any = |list: &[&str]| segments.iter().any(|s| list.contains(s));
    let first = |list: &[&str]| segments.iter().take(2).any(|s| list.contains(s));
    let within = |list: &[&str]| list.iter().any(|word| lower.contains(word));
    let ends = |words: &[&str]| segments.iter().take(2).any(|s| words.iter().any(|word| s.ends_with(word)));
    let leaf = segments[segments.len() - 1];
    if MOMENTS.contains(&leaf) || any(OPTIMIZER) {
        Nature::Optimizer
    } else if ["n_averaged", "initted", "num_updates"].contains(&leaf) {
        Nature::Counter
    } else if segments.len() == 1 && STEPS.contains(&leaf) {
        Nature::Training
    } else if segments.len() == 1 && TASK_WEIGHTS.contains(&leaf) {
        Nature::Loss
    } else if first(TRAINING) {
        Nature::Training
    } else if leaf == "_amax" || within(CALIBRATION) {
        Nature::Calibration
    } else if within(ADAPTER) {
        Nature::Adapter
    } else if any(TEACHER) {
        Nature::Teacher
    } else if any(AUXILIARY) {
        Nature::Auxiliary
    } else if first(LOSS) || ends(&["_loss", "_criterion"]) || segments.iter().any(|s| s.starts_with("loss_")) {
        Nature::Loss
    } else if first(METRIC) || ends(&["_metric", "_metrics", "_acc", "_accuracy", "_auroc", "_f1"]) {
        Nature::Metric
    } else if output_norm(&segments) {
        Nature::OutputNorm
    } else if any(DENSE) {
        Nature::Dense
    } else if says_head(name) {
        Nature::Head
    } else {
        Nature::Unknown
    }
}

/// `backbone.norm2.weight`: a norm with the number of a stage, right behind the trunk's place or on its own.
fn output_norm(segments: &[&str]) -> bool {
    let numbered = |s: &str| {
        ["norm", "out_norm", "outnorm"].iter().any(|stem| {
            s.strip_prefix(stem).is_some_and(|n| !n.is_empty() && n.trim_start_matches('_').parse::<usize>().is_ok())
        })
    };
    // One inside a head is the head's.
    let own = |s: &[&str]| s.iter().any(|segment| says_head(segment) && !DENSE.contains(segment));
    segments.len() >= 2 && numbered(segments[segments.len() - 2]) && !own(&segments[..segments.len() - 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_tensors_are() {
        for (name, nature_) in [
            ("optimizer.state.3.exp_avg", Nature::Optimizer),
            ("n_averaged", Nature::Counter),
            ("steps", Nature::Training),
            ("log_vars", Nature::Loss),
            ("encoder.queue", Nature::Unknown),
            ("criterion.pos_weight", Nature::Loss),
            ("center_loss.centers", Nature::Loss),
            ("decode_head.loss_decode.class_weight", Nature::Loss),
            ("val_metrics.MulticlassAccuracy.tp", Nature::Metric),
            ("auxiliary_head.conv_seg.weight", Nature::Auxiliary),
            ("teacher.layer1.0.conv1.weight", Nature::Teacher),
            ("stem.conv1.input_quantizer._amax", Nature::Calibration),
            ("network.0.0.adapter.down_proj.weight", Nature::Adapter),
            ("norm0.running_mean", Nature::OutputNorm),
            ("neck.lateral_convs.0.conv.weight", Nature::Dense),
            ("age_head.weight", Nature::Head),
            ("head.norm1.weight", Nature::Head),
            ("bbox_head.norm1.weight", Nature::OutputNorm),
            ("gate.weight", Nature::Unknown),
            ("network.0.0.norm3.gamma", Nature::OutputNorm),
        ] {
            assert_eq!(nature(name), nature_, "{name}");
        }
        for head in ["classifier.1", "fc2", "age_head", "head_gender", "out"] {
            assert!(says_head(head), "{head}");
        }
        for other in ["query_embed", "head.proj", "headway", "attn_out", "router"] {
            assert!(!says_head(other), "{other}");
        }
    }
}
