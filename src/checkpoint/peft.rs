//! Modules that PEFT trains whole beside its adapters: it keeps the one from before as `original_module` and the trained one under
//! `modules_to_save.NAME`, which computes in its place.

use std::collections::BTreeSet;

const TRAINED: &str = "modules_to_save";
const BEFORE: &str = "original_module";

/// What the key of a file with such modules stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    /// Itself.
    ForItself,
    /// A trained module's, under the module's own name.
    For(String),
    /// The module's from before the training, which computes nothing.
    ForNothing,
}

/// The modules of a file that were trained whole.
#[derive(Debug, Default)]
pub(super) struct TrainedModules(BTreeSet<String>);

impl TrainedModules {
    /// Among these keys; none if there are several trainings of one module, of which keys do not tell the active one.
    pub(super) fn among<'k>(keys: impl Iterator<Item = &'k String>) -> TrainedModules {
        let (mut modules, mut trainings) = (BTreeSet::new(), BTreeSet::new());
        for (module, training, _) in keys.filter_map(|key| trained(key)) {
            modules.insert(module.to_string());
            trainings.insert(training.to_string());
        }
        TrainedModules(if trainings.len() == 1 { modules } else { BTreeSet::new() })
    }

    /// What a key stands for.
    pub(super) fn stands(&self, key: &str) -> Stands {
        if let Some((module, _, rest)) = trained(key).filter(|(module, ..)| self.0.contains(*module)) {
            return Stands::For(format!("{module}.{rest}"));
        }
        let before = key.split_once(&format!(".{BEFORE}.")).is_some_and(|(module, _)| self.0.contains(module));
        if before { Stands::ForNothing } else { Stands::ForItself }
    }
}

/// Module, name of the training, and rest of a trained module's key.
fn trained(key: &str) -> Option<(&str, &str, &str)> {
    let (module, rest) = key.split_once(&format!(".{TRAINED}."))?;
    let (training, rest) = rest.split_once('.')?;
    Some((module, training, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_module_takes_the_place_of_the_one_from_before() {
        let keys = ["m.head.modules_to_save.default.weight", "m.head.original_module.weight", "m.original_module.x"]
            .map(String::from);
        let modules = TrainedModules::among(keys.iter());
        let stands = keys.each_ref().map(|key| modules.stands(key));
        assert_eq!(stands, [Stands::For("m.head.weight".into()), Stands::ForNothing, Stands::ForItself]);
        let two = [keys[0].clone(), "m.head.modules_to_save.other.weight".into()];
        assert_eq!(TrainedModules::among(two.iter()).stands(&keys[0]), Stands::ForItself);
    }
}
