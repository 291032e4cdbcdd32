//! The names of a network's tensors, without the prefixes that all of them share.

/// The prefixes under which a checkpoint keeps the weights beside other things; the first one found
/// counts.
const CONTAINERS: [&str; 3] = ["state_dict.", "model_state_dict.", "model."];

/// The prefixes that wrappers put before every name: `DataParallel`, `torch.compile`, and modules
/// that hold nothing but the network.
const WRAPPERS: [&str; 4] = ["module.", "_orig_mod.", "model.", "backbone."];

/// Returns the names that belong to the network, each with what it is called there.
pub(crate) fn own_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let mut names: Vec<(&str, &str)> = names.map(|name| (name, name)).collect();
    if let Some(container) = CONTAINERS
        .into_iter()
        .find(|container| names.iter().any(|(_, own)| own.starts_with(container)))
    {
        strip(&mut names, container);
    }
    while let Some(wrapper) = WRAPPERS
        .into_iter()
        .find(|wrapper| !names.is_empty() && names.iter().all(|(_, own)| own.starts_with(wrapper)))
    {
        strip(&mut names, wrapper);
    }
    names
}

/// Strips a prefix; names without it are left out.
fn strip(names: &mut Vec<(&str, &str)>, prefix: &str) {
    let stripped = names
        .iter()
        .filter_map(|&(name, own)| Some((name, own.strip_prefix(prefix)?)));
    *names = stripped.collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(names: &[&str]) -> Vec<String> {
        let own = own_names(names.iter().copied());
        own.iter().map(|(_, own)| (*own).to_owned()).collect()
    }

    #[test]
    fn containers_and_wrappers_are_taken_away_and_nothing_else() {
        for (names, expected) in [
            (&["a.w", "b.w"][..], &["a.w", "b.w"][..]),
            (&["module.a.w", "module.b.w"], &["a.w", "b.w"]),
            (&["_orig_mod.module.a.w"], &["a.w"]),
            (&["module._orig_mod.a.w"], &["a.w"]),
            (&["state_dict.a.w", "optimizer.state.0.exp_avg"], &["a.w"]),
            (
                &[
                    "epoch_loss",
                    "state_dict.module.a.w",
                    "state_dict.module.b.w",
                ],
                &["a.w", "b.w"],
            ),
            (&["model.a.w", "optimizer.a"], &["a.w"]),
            // A wrapper that not all names have is a part of the network.
            (&["module.a.w", "b.w"], &["module.a.w", "b.w"]),
            (&[], &[]),
        ] {
            assert_eq!(own(names), expected);
        }
    }
}
