//! How numbers are rounded where they are stored, so that what is decided is what the artifact computes.

/// How numbers are stored.
pub(super) struct Held<'a> {
    /// Entries of tables, shifts and factors.
    pub(super) number: &'a (dyn Fn(f64) -> f64 + Sync),
    /// Scales, which are not 0.
    pub(super) scale: &'a (dyn Fn(f64) -> f64 + Sync),
}
