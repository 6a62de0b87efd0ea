//! Names that were nearly right.

use std::sync::Arc;

/// The candidate nearest to `word`, if it is near enough to have been meant. `_`, `-` and case do not count.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Comparing takes the product of the lengths; nobody misspells a novel.
    if word.len() > 100 {
        return None;
    }
    let wanted = folded(word);
    let length = wanted.chars().count();
    // Of a word of one letter nothing would be left to recognise it by.
    let limit = (length / 3).max(1).min(length.saturating_sub(1));
    let scored = candidates.into_iter().filter(|c| c.len() <= 200).map(|c| {
        let name = folded(c);
        // `retrain` is meant to be `atlas.retrain`, `driftcompare` to be `drift.compare`.
        let tail = name.rsplit(['.', '/']).next().is_some_and(|t| t == wanted);
        (if tail { 0 } else { strsim::damerau_levenshtein(&wanted, &name) }, c)
    });
    scored.filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// What to say about a name that is not among `candidates`: the nearest one, or all if they are few.
pub fn suggestion<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None => among(&candidates),
    }
}

/// The candidates, if they are few enough to read.
pub fn among(candidates: &[&str]) -> Option<String> {
    match candidates {
        [] => None,
        [only] => Some(format!("the only one is `{only}`")),
        few if few.len() <= 12 => {
            Some(format!("expected one of {}", few.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    }
}

/// The texts of shared names.
pub fn texts(names: &[Arc<str>]) -> impl Iterator<Item = &str> {
    names.iter().map(|n| &**n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_keeps_quiet_otherwise() {
        let names = ["drift.compare", "atlas.retrain", "http.request"];
        assert_eq!(nearest("drift.compaer", names), Some("drift.compare"));
        assert_eq!(nearest("retrain", names), Some("atlas.retrain"));
        assert_eq!(nearest("Drift_Compare", ["drift-compare"]), Some("drift-compare"));
        assert_eq!(nearest("teapot", names), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
        assert_eq!(suggestion("teapot", []), None);
        assert_eq!(suggestion("zzz", ["a", "b"]), Some("expected one of `a`, `b`".into()));
    }
}
