//! Names that a user writes for tensors: a key, a prefix of whole segments, or a pattern in which `*` stands for any run of characters.

/// Whether a key is `pattern`, or lies under it. A `*` stands for any run of characters, dots included; everything lies under the empty name.
pub(super) fn names(pattern: &str, key: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = key.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return first.is_empty() || ends(rest) };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    last.is_empty() || rest.match_indices(last).any(|(at, _)| ends(&rest[at + last.len()..]))
}

/// Whether a name ends here: in front of a dot, or where the key ends.
fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_a_key_a_prefix_or_a_pattern() {
        let key = "network.0.0.adapter.down_proj.weight";
        for pattern in ["", "network", "network.0.0", key, "*", "*.adapter", "*adapter*", "net*0.adapter", "*.weight"] {
            assert!(names(pattern, key), "{pattern}");
        }
        for pattern in
            ["net", "network.0.", "adapter", "*.adapt", "*.bias", "network.*.weigh", "network.0.0.*.weight.*"]
        {
            assert!(!names(pattern, key), "{pattern}");
        }
        assert!(names("*_quantizer._amax", "conv.input_quantizer._amax"));
        assert!(!names("aa*aa", "aaa"), "pieces do not overlap");
    }
}
