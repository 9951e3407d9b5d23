//! Name tables: how an upstream code base's keys become an architecture's own.

use std::borrow::Cow;

/// Segments that tools put into keys wherever a module is wrapped (torch.compile, FSDP, activation checkpointing): no code base means them.
pub const WRAPPERS: &[&str] = &["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// The spelling of one code base.
///
/// A rule replaces a run of whole dotted segments by another wherever it occurs: `("mlp.fc1.bn", "mlp.norm1")`. `^` in front anchors it at the
/// start of the key; `*` stands for one segment, and each `*` of the replacement is what the next `*` of the pattern stood for. An empty
/// replacement drops the run. Rules apply in order, each to the result of those before it. A table without rules is the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameTable {
    /// Whose spelling it is (`timm`).
    pub code_base: &'static str,
    /// (upstream, canonical), in order.
    pub rules: &'static [(&'static str, &'static str)],
}

impl NameTable {
    /// The architecture's own spelling.
    pub const IDENTITY: NameTable = NameTable { code_base: "official", rules: &[] };

    /// The architecture's key for an upstream key, which tools may have spelled.
    pub fn canonical(&self, key: &str) -> String {
        self.rules.iter().fold(unwrapped(key).into_owned(), |key, (from, to)| match replaced(&key, from, to) {
            Cow::Owned(new) => new,
            Cow::Borrowed(_) => key,
        })
    }
}

/// `key` without what tools put into it.
pub(super) fn unwrapped(key: &str) -> Cow<'_, str> {
    if !WRAPPERS.iter().any(|wrapper| key.contains(wrapper)) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.split('.').filter(|segment| !WRAPPERS.contains(segment)).collect::<Vec<_>>().join("."))
}

/// Names that timm's `features_only` makes flat at a model's root (`stages_0`, `stem_conv1`), with the dot again.
const FLAT: &[&str] = &["stages_", "stem_", "levels_", "network_"];

/// `key` with a dot where a flat name has `_`.
pub(super) fn unflattened(key: &str) -> String {
    let deep = |segment: &str| match FLAT.iter().any(|stem| segment.starts_with(stem)) {
        true => segment.replacen('_', ".", 1),
        false => segment.to_string(),
    };
    key.split('.').map(deep).collect::<Vec<_>>().join(".")
}

/// `key` with every run of segments that matches `from` replaced by `to`; borrowed if there is none.
pub(super) fn replaced<'k>(key: &'k str, from: &str, to: &str) -> Cow<'k, str> {
    let (anchored, from) = from.strip_prefix('^').map_or((false, from), |rest| (true, rest));
    // Most rules do not apply to most keys.
    if !from.split('.').all(|segment| segment == "*" || key.contains(segment)) {
        return Cow::Borrowed(key);
    }
    let segments: Vec<&str> = key.split('.').collect();
    let pattern: Vec<&str> = from.split('.').collect();
    let matches = |at: usize| {
        (!anchored || at == 0)
            && segments.len() - at >= pattern.len()
            && segments[at..].iter().zip(&pattern).all(|(s, p)| *p == "*" || s == p)
    };
    let mut result: Vec<&str> = Vec::new();
    let (mut at, mut hit) = (0, false);
    while at < segments.len() {
        if !matches(at) {
            result.push(segments[at]);
            at += 1;
            continue;
        }
        hit = true;
        let mut captured = segments[at..].iter().zip(&pattern).filter(|(_, p)| **p == "*").map(|(s, _)| *s);
        let new = to.split('.').filter(|s| !s.is_empty());
        result.extend(new.map(|s| if s == "*" { captured.next().unwrap_or(s) } else { s }));
        at += pattern.len();
    }
    if hit { Cow::Owned(result.join(".")) } else { Cow::Borrowed(key) }
}

/// A key under a prefix, which may be empty.
pub(super) fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}
