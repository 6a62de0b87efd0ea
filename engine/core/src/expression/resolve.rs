//! Finds out what an expression mentions, and refuses what it may not.
//!
//! One walk over the parsed term, with scopes for variables, local definitions and labels. It yields the variables of the
//! workflow that are used, the library filters that are called, and the errors: undefined names (with the nearest right
//! one), names that are not available on purpose, and recursive definitions, which would overflow the stack.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::Part;

use super::compile::updater;
use super::error::CompileError;
use super::library::{Signature, library};

/// Filters of jq that are not here on purpose: an expression sees what it is given, and says what it returns.
const DENIED: [&str; 16] = [
    "env",
    "input",
    "inputs",
    "debug",
    "stderr",
    "halt",
    "halt_error",
    "localtime",
    "strflocaltime",
    "import",
    "include",
    "input_line_number",
    "input_filename",
    "get_search_list",
    "modulemeta",
    "builtins",
];

#[derive(Clone, Copy, PartialEq)]
enum Fun {
    /// A definition whose body is being walked.
    Open,
    Closed,
    Argument,
}

/// The walk and what it found.
pub(super) struct Resolver<'s> {
    source: &'s str,
    /// Variables from outside that may be used, with their `$`.
    known: &'s [&'s str],
    vars: Vec<&'s str>,
    funs: Vec<(Signature<'s>, Fun)>,
    labels: Vec<&'s str>,
    /// Variables from outside that are used.
    pub(super) used: BTreeSet<&'s str>,
    /// Library filters that are called.
    pub(super) calls: BTreeSet<Signature<'s>>,
    pub(super) errors: Vec<CompileError>,
}

impl<'s> Resolver<'s> {
    pub(super) fn new(source: &'s str, known: &'s [&'s str]) -> Self {
        Self {
            source,
            known,
            vars: Vec::new(),
            funs: Vec::new(),
            labels: Vec::new(),
            used: BTreeSet::new(),
            calls: BTreeSet::new(),
            errors: Vec::new(),
        }
    }

    /// The filters outside of itself that a definition of the prelude calls.
    pub(super) fn calls_of(def: &Def<&'static str>) -> Vec<Signature<'static>> {
        let mut resolver = Resolver { known: &[], ..Resolver::new("", &[]) };
        resolver.def(def);
        resolver.calls.into_iter().collect()
    }

    pub(super) fn term(&mut self, t: &Term<&'s str>) {
        match t {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) => {}
            Term::Str(format, parts) => {
                if let Some(format) = format {
                    self.call(format, &[]);
                }
                for part in parts {
                    if let StrPart::Term(t) = part {
                        self.term(t);
                    }
                }
            }
            Term::Arr(Some(t)) | Term::Neg(t) => self.term(t),
            Term::Obj(members) => {
                for (k, v) in members {
                    self.term(k);
                    v.iter().for_each(|v| self.term(v));
                }
            }
            Term::BinOp(l, BinaryOp::Pipe(Some(pattern)), r) => {
                self.term(l);
                self.bound(pattern, |s| s.term(r));
            }
            Term::BinOp(l, op, r) => {
                self.term(l);
                self.term(r);
                self.calls.extend(updater(op, l).map(|name| (name, 2)));
            }
            Term::Label(name, t) => {
                self.labels.push(name);
                self.term(t);
                self.labels.pop();
            }
            Term::Break(name) => {
                if !self.labels.contains(name) {
                    self.error(name, format!("undefined label {name}"), "write `label $name | …` around it");
                }
            }
            Term::Fold(_, from, pattern, args) => {
                self.term(from);
                let mut args = args.iter();
                args.next().into_iter().for_each(|init| self.term(init));
                self.bound(pattern, |s| args.for_each(|t| s.term(t)));
            }
            Term::TryCatch(t, catch) => {
                self.term(t);
                catch.iter().for_each(|t| self.term(t));
            }
            Term::IfThenElse(cases, otherwise) => {
                for (condition, then) in cases {
                    self.term(condition);
                    self.term(then);
                }
                otherwise.iter().for_each(|t| self.term(t));
            }
            Term::Def(defs, t) => {
                let depth = self.funs.len();
                defs.iter().for_each(|d| self.def(d));
                self.term(t);
                self.funs.truncate(depth);
            }
            Term::Call(name, args) => self.call(name, args),
            Term::Var(name) => self.var(name),
            Term::Path(t, path) => {
                self.term(t);
                for (part, _) in &path.0 {
                    match part {
                        Part::Index(i) => self.term(i),
                        Part::Range(from, upto) => from.iter().chain(upto).for_each(|t| self.term(t)),
                    }
                }
            }
        }
    }

    /// Walks a definition; afterwards it can be called.
    fn def(&mut self, def: &Def<&'s str>) {
        let signature = (def.name, def.args.len());
        let (vars, funs) = (self.vars.len(), self.funs.len());
        self.funs.push((signature, Fun::Open));
        for arg in &def.args {
            match arg.starts_with('$') {
                true => self.vars.push(arg),
                false => self.funs.push(((arg, 0), Fun::Argument)),
            }
        }
        self.term(&def.body);
        self.vars.truncate(vars);
        self.funs.truncate(funs);
        self.funs.push((signature, Fun::Closed));
    }

    fn bound(&mut self, pattern: &Pattern<&'s str>, inner: impl FnOnce(&mut Self)) {
        let depth = self.vars.len();
        self.pattern(pattern);
        inner(self);
        self.vars.truncate(depth);
    }

    fn pattern(&mut self, pattern: &Pattern<&'s str>) {
        match pattern {
            Pattern::Var(name) => self.vars.push(name),
            Pattern::Arr(items) => items.iter().for_each(|p| self.pattern(p)),
            Pattern::Obj(members) => {
                for (key, p) in members {
                    self.term(key);
                    self.pattern(p);
                }
            }
        }
    }

    fn var(&mut self, name: &'s str) {
        if self.vars.contains(&name) {
            return;
        }
        if self.known.contains(&name) {
            self.used.insert(name);
            return;
        }
        let hint = match name {
            "$ENV" => "expressions do not see the environment; use a secret or the workflow's input".to_owned(),
            "$__loc__" | "$__prog_args" | "$ARGS" => "expressions have no such variable".to_owned(),
            _ => {
                let names = self.known.iter().chain(&self.vars).copied();
                let list = || format!("here are known: {}", self.known.join(", "));
                nearest(name, names).map_or_else(list, |n| format!("did you mean {n}?"))
            }
        };
        self.error(name, format!("undefined variable {name}"), &hint);
    }

    fn call(&mut self, name: &'s str, args: &[Term<&'s str>]) {
        args.iter().for_each(|t| self.term(t));
        let signature = (name, args.len());
        if let Some((_, fun)) = self.funs.iter().rev().find(|(s, _)| *s == signature) {
            // The prelude's own definitions, walked without a source, may recurse: they are known to do it well.
            if *fun == Fun::Open && !self.source.is_empty() {
                let hint = "use reduce, foreach, recurse, until or while";
                self.error(name, format!("recursive definition {name}/{}", args.len()), hint);
            }
            return;
        }
        if self.source.is_empty() {
            self.calls.insert(signature);
            return;
        }
        let signature = match signature {
            ("limit", 2) => ("_limit", 2),
            ("skip", 2) => ("_skip", 2),
            s => s,
        };
        let public = !name.starts_with('_') && name != "error_empty";
        if public && library().has(signature) {
            self.calls.insert(signature);
        } else if DENIED.contains(&name) {
            let hint = "an expression sees only what it is given";
            self.error(name, format!("{name} is not available in expressions"), hint);
        } else if name.contains("::") {
            self.error(name, format!("undefined module in {name}"), "expressions have no modules");
        } else {
            self.undefined(name, args.len());
        }
    }

    fn undefined(&mut self, name: &'s str, arity: usize) {
        fn shorten<'s>(s: Signature<'static>) -> Signature<'s> {
            s
        }
        let known: Vec<Signature<'_>> =
            library().public().map(shorten).chain(self.funs.iter().map(|(s, _)| *s)).collect();
        let arities: BTreeSet<usize> = known.iter().filter(|(n, _)| *n == name).map(|(_, a)| *a).collect();
        let counted = |n: usize| format!("{n} argument{}", if n == 1 { "" } else { "s" });
        let (message, hint) = if arities.is_empty() {
            let near = nearest(name, known.iter().map(|(n, _)| *n));
            let near = near.map_or_else(
                || "the filters are those of jq 1.8; a field is written .name, a string \"text\"".to_owned(),
                |n| format!("did you mean {n}?"),
            );
            (format!("undefined filter {name}"), near)
        } else {
            let takes: Vec<String> = arities.into_iter().map(counted).collect();
            (format!("{name} called with {}", counted(arity)), format!("it takes {}", takes.join(" or ")))
        };
        self.error(name, message, &hint);
    }

    fn error(&mut self, at: &str, message: String, hint: &str) {
        self.errors.push(CompileError::at(self.source, at, message, hint));
    }
}

/// The name most like `name`, if any is like it at all.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let scored = names.map(|n| (strsim::damerau_levenshtein(name, n), n));
    let best = scored.min_by_key(|(distance, n)| (*distance, *n))?;
    (best.0 <= 1 + name.len() / 4).then_some(best.1)
}
