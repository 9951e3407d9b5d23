//! Closed sets of values that the text form writes as words.

/// A closed set of values that attributes are written by.
pub(crate) trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// Its word.
    fn word(self) -> &'static str;
}

/// The words of such sets, each beside its value.
macro_rules! words {
    ($($kind:ident { $($value:ident => $word:literal),* })*) => {
        $(impl $crate::word::Word for $kind {
            const ALL: &'static [$kind] = &[$($kind::$value),*];

            fn word(self) -> &'static str {
                match self {
                    $($kind::$value => $word),*
                }
            }
        })*
    };
}

pub(crate) use words;
