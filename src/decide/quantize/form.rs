//! What weights, and activations, become.

/// What a layer's weights, and its input, become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Weights and the inputs of layers in 8 bits.
    W8A8,
    /// Weights in 8 bits, a scale for each output.
    W8,
    /// Weights as 6-bit indices into a table.
    W6,
    /// Weights as 4-bit indices into a table.
    W4,
    /// Weights in 4 bits, a scale for every 32 input channels of each output.
    W4Block32,
}

impl Form {
    /// Its name: `w8a8`, `w8`, `w6`, `w4`, `w4-block32`.
    pub fn name(self) -> &'static str {
        match self {
            Form::W8A8 => "w8a8",
            Form::W8 => "w8",
            Form::W6 => "w6",
            Form::W4 => "w4",
            Form::W4Block32 => "w4-block32",
        }
    }

    /// Bits of a weight's code.
    pub fn bits(self) -> u64 {
        match self {
            Form::W8A8 | Form::W8 => 8,
            Form::W6 => 6,
            Form::W4 | Form::W4Block32 => 4,
        }
    }
}

/// What a model's layers become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// All the same.
    One(Form),
    /// Each the smallest of the target's forms with which the whole stays near enough.
    Mixed,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 6] = [
        Scheme::One(Form::W8A8),
        Scheme::One(Form::W8),
        Scheme::One(Form::W6),
        Scheme::One(Form::W4),
        Scheme::One(Form::W4Block32),
        Scheme::Mixed,
    ];

    /// Its name: that of its form, or `mixed`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::One(form) => form.name(),
            Scheme::Mixed => "mixed",
        }
    }

    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}
