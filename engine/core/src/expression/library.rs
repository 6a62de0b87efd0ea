//! The definitions of the prelude, parsed once, and what each of them needs.
//!
//! An expression is compiled together with the definitions that it reaches, and no others: that is what makes compiling
//! cheap. The prelude is text of our own; that it parses and resolves is held by a test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jaq_core::load::parse::Def;

use super::natives;
use super::resolve::Resolver;

/// Name and number of arguments.
pub(super) type Signature<'s> = (&'s str, usize);

pub(super) struct Library {
    /// In the order of the text.
    defs: Vec<(Def<&'static str>, Vec<Signature<'static>>)>,
    /// By signature; a later definition hides an earlier one.
    by_name: BTreeMap<Signature<'static>, usize>,
}

/// What an expression reaches.
#[derive(Default)]
pub(super) struct Reached {
    /// In the order of the text.
    pub(super) defs: Vec<Def<&'static str>>,
    pub(super) natives: Vec<&'static natives::Entry>,
    /// Filters of the interpreter itself.
    pub(super) builtin: Vec<Signature<'static>>,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let parsed = jaq_core::load::parse(include_str!("prelude.jq"), |p| p.defs()).unwrap_or_default();
    let mut defs = Vec::with_capacity(parsed.len());
    let mut by_name = BTreeMap::new();
    for def in parsed {
        let needs = Resolver::calls_of(&def);
        by_name.insert((def.name, def.args.len()), defs.len());
        defs.push((def, needs));
    }
    Library { defs, by_name }
});

/// The library.
pub(super) fn library() -> &'static Library {
    &LIBRARY
}

impl Library {
    /// Whether there is such a filter, here or among the native ones.
    pub(super) fn has(&self, (name, arity): Signature<'_>) -> bool {
        self.by_name.contains_key(&(name, arity))
            || natives::find(name, arity).is_some()
            || natives::of_interpreter(name, arity)
    }

    /// All signatures that a program may use.
    pub(super) fn public(&self) -> impl Iterator<Item = Signature<'static>> + '_ {
        let all = self.by_name.keys().copied().chain(natives::names());
        all.filter(|(name, _)| !name.starts_with('_') && *name != "error_empty")
    }

    /// Everything that calls to `roots` reach.
    pub(super) fn reach<'s>(&self, roots: impl IntoIterator<Item = Signature<'s>>) -> Reached {
        let mut reached = Reached::default();
        let mut needed = vec![false; self.defs.len()];
        for root in roots {
            self.visit(root, self.defs.len(), &mut needed, &mut reached);
        }
        let needed = needed.iter().zip(&self.defs).filter(|(needed, _)| **needed);
        reached.defs = needed.map(|(_, (def, _))| def.clone()).collect();
        reached
    }

    /// Visits a call that stands before the definition number `before`; what is called must be defined earlier.
    fn visit(&self, (name, arity): Signature<'_>, before: usize, needed: &mut [bool], reached: &mut Reached) {
        if let Some((i, (_, needs))) =
            self.by_name.get(&(name, arity)).filter(|i| **i < before).map(|i| (*i, &self.defs[*i]))
        {
            if !std::mem::replace(&mut needed[i], true) {
                needs.iter().for_each(|call| self.visit(*call, i, needed, reached));
            }
        } else if let Some(entry) = natives::find(name, arity) {
            if !reached.natives.iter().any(|e| std::ptr::eq(*e, entry)) {
                reached.natives.push(entry);
            }
        } else if let Some(builtin) = natives::names().find(|n| *n == (name, arity))
            && !reached.builtin.contains(&builtin)
        {
            reached.builtin.push(builtin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_parses_and_uses_only_what_is_defined_before() {
        let library = library();
        assert!(library.defs.len() > 80, "the prelude did not parse");
        for (i, (def, needs)) in library.defs.iter().enumerate() {
            for (name, arity) in needs {
                let earlier = library.by_name.get(&(*name, *arity)).is_some_and(|j| *j < i);
                let native = natives::find(name, *arity).is_some() || natives::of_interpreter(name, *arity);
                assert!(earlier || native, "{}/{} calls {name}/{arity}", def.name, def.args.len());
            }
        }
    }

    #[test]
    fn only_what_is_reached_is_compiled() {
        let reached = library().reach([("with_entries", 1)]);
        assert_eq!(reached.defs.iter().map(|d| d.name).collect::<Vec<_>>(), ["map", "with_entries"]);
        assert_eq!(reached.natives.len(), 2);
    }
}
