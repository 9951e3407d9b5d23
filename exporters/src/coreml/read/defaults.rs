//! What an operation means where its program leaves an input out, by the format's documentation.
//!
//! The check's candidate has every input, since older systems refuse files without them; packages of other writers leave out what is usual.

/// A default.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Usual {
    /// A truth value.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i32),
    /// Whole numbers.
    Sizes(&'static [usize]),
    /// A word.
    Word(&'static str),
}

/// The default of an operation's input, if it has one.
pub(super) fn default(kind: &str, input: &str) -> Option<Usual> {
    use Usual::{Flag, Integer, Number, Sizes, Word};
    Some(match (kind, input) {
        ("conv" | "conv_transpose" | "avg_pool" | "max_pool", "strides") => Sizes(&[1, 1]),
        ("conv" | "conv_transpose" | "avg_pool" | "max_pool", "pad") => Sizes(&[0, 0, 0, 0]),
        ("conv" | "conv_transpose", "pad_type") => Word("valid"),
        ("conv" | "conv_transpose", "dilations") => Sizes(&[1, 1]),
        ("conv" | "conv_transpose", "groups") => Integer(1),
        ("avg_pool", "exclude_padding_from_average") | ("avg_pool" | "max_pool", "ceil_mode") => Flag(false),
        ("matmul", "transpose_x" | "transpose_y") => Flag(false),
        ("softmax" | "reduce_argmax" | "topk", "axis") => Integer(-1),
        ("gather", "axis" | "batch_dims") => Integer(0),
        ("topk", "k") => Integer(1),
        ("concat", "interleave") | ("topk", "ascending") => Flag(false),
        ("topk", "sort" | "return_indices") | ("upsample_bilinear", "align_corners") => Flag(true),
        ("gelu", "mode") => Word("EXACT"),
        ("layer_norm" | "batch_norm" | "instance_norm", "epsilon") => Number(1e-5),
        ("log", "epsilon") => Number(1e-45),
        ("rsqrt", "epsilon") => Number(1e-12),
        ("inverse", "epsilon") => Number(1e-4),
        ("pad", "mode") => Word("constant"),
        ("pad", "constant_val") => Number(0.0),
        ("resize_bilinear", "sampling_mode") => Word("DEFAULT"),
        ("resize_bilinear", "target_size_height" | "target_size_width") => Integer(1),
        ("upsample_nearest_neighbor" | "upsample_bilinear", "scale_factor_height" | "scale_factor_width") => {
            Number(1.0)
        }
        (reduction, "keep_dims") if reduction.starts_with("reduce_") => Flag(false),
        _ => return None,
    })
}
