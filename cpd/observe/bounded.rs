//! Values by name, with a bound on how many names there are: a metric whose labels come from outside must not fill the
//! memory of whoever collects it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// Under which everything is counted that comes after the bound is reached.
pub(super) const OTHER: &str = "other";

/// At most so many names; later ones share [`OTHER`].
#[derive(Debug)]
pub(super) struct Bounded<T> {
    most: usize,
    make: fn() -> T,
    values: RwLock<HashMap<Arc<str>, Arc<T>>>,
}

impl<T> Bounded<T> {
    pub(super) fn new(most: usize, make: fn() -> T) -> Self {
        Self { most, make, values: RwLock::default() }
    }

    /// The value of a name; made at first use.
    pub(super) fn with<R>(&self, name: &str, act: impl FnOnce(&T) -> R) -> R {
        if let Some(known) = self.values.read().get(name) {
            return act(known);
        }
        let value = {
            let mut values = self.values.write();
            let name = if values.len() < self.most || values.contains_key(name) { name } else { OTHER };
            values.entry(Arc::from(name)).or_insert_with(|| Arc::new((self.make)())).clone()
        };
        act(&value)
    }

    /// Every name and its value, in order.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let mut all: Vec<_> = self.values.read().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn names_beyond_the_bound_are_counted_together() {
        let bounded: Bounded<AtomicU64> = Bounded::new(2, AtomicU64::default);
        for name in ["a", "b", "c", "d", "a"] {
            bounded.with(name, |v| v.fetch_add(1, Ordering::Relaxed));
        }
        let all: Vec<(String, u64)> =
            bounded.all().into_iter().map(|(k, v)| (k.to_string(), v.load(Ordering::Relaxed))).collect();
        assert_eq!(all, [("a".to_owned(), 2), ("b".to_owned(), 1), ("other".to_owned(), 2)]);
    }
}
