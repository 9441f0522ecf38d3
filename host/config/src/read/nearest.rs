//! The name that somebody most likely meant.

/// The candidate nearest to `name`, if one is near enough to be meant.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wanted = name.to_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase());
            let allowed = (wanted.chars().count().max(candidate.chars().count()) / 3).max(1);
            (distance <= allowed).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A help line: the nearest name, or all names when none is near. `noun` is
/// the plural of what is named.
pub fn did_you_mean<'c>(
    name: &str,
    noun: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> String {
    if let Some(near) = nearest(name, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<String> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    match all.is_empty() {
        true => format!("there are no {noun}"),
        false => format!("{noun}: {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_something_else_is_not() {
        let keys = ["timeout", "retry", "on-failure", "id"];
        assert_eq!(nearest("tiemout", keys), Some("timeout"));
        assert_eq!(nearest("on_failure", keys), Some("on-failure"));
        assert_eq!(nearest("Retry", keys), Some("retry"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(
            did_you_mean("banana", "known keys", keys),
            "known keys: `timeout`, `retry`, `on-failure`, `id`"
        );
        assert_eq!(did_you_mean("x", "plans", []), "there are no plans");
    }
}
