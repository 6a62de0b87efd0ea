//! What can be said about the results of an expression without data: how many there may be, and of what kind.
//!
//! Only the first result of an expression is kept, and a task gets null where there is none; the linter says where that is
//! probably not meant. Both answers are careful: what is not known gives [`Outputs::One`] and no kind.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::path::Part;

use super::{Limits, Program, Scope, compile};
use crate::Value;

/// How many results an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outputs {
    /// None at all, whatever the data.
    None,
    /// One, as far as can be told.
    One,
    /// As many as the data has, or several.
    Many,
}

/// How many results the expression has; [`Outputs::One`] if it does not compile.
pub fn outputs(source: &str) -> Outputs {
    parsed(source, count).unwrap_or(Outputs::One)
}

/// The kind of its results (`object`, `array`, `string`, `number`, `boolean`, `null`), if it is always the same.
pub fn kind(source: &str) -> Option<&'static str> {
    parsed(source, kind_of).flatten()
}

/// The value of an expression that mentions neither data nor variables.
pub fn constant(source: &str) -> Option<Value> {
    parsed(source, is_constant).filter(|constant| *constant)?;
    let limits = Limits::default();
    Program::compile(source, &[]).ok()?.eval(&Scope::new(&Value::Null, &limits)).ok()
}

fn parsed<T>(source: &str, look: impl FnOnce(&Term<&str>) -> T) -> Option<T> {
    let tokens = compile::parse(source).ok()?;
    let term = compile::term(source, &tokens).ok()?;
    Some(look(&term))
}

/// What follows from two parts of which one is evaluated for each result of the other.
fn product(a: Outputs, b: Outputs) -> Outputs {
    if a == Outputs::None || b == Outputs::None { Outputs::None } else { a.max(b) }
}

fn count(term: &Term<&str>) -> Outputs {
    match term {
        Term::Recurse => Outputs::Many,
        Term::Id | Term::Num(_) | Term::Str(..) | Term::Arr(_) | Term::Var(_) => Outputs::One,
        Term::Obj(members) => {
            members.iter().filter_map(|(_, value)| value.as_ref()).map(count).fold(Outputs::One, product)
        }
        Term::Neg(inner) => count(inner),
        Term::BinOp(left, op, right) => match op {
            BinaryOp::Pipe(_) => product(count(left), count(right)),
            BinaryOp::Comma => match (count(left), count(right)) {
                (Outputs::None, other) | (other, Outputs::None) => other,
                _ => Outputs::Many,
            },
            // `.items[] // 0` gives every true one; `empty // 0` gives the other side.
            BinaryOp::Alt => match count(left) {
                Outputs::None => count(right),
                some => some,
            },
            BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_) => product(count(left), count(right)),
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => Outputs::One,
        },
        // What a loop, a label or a definition gives is not worth following.
        Term::Label(..) | Term::Break(_) | Term::Fold(..) | Term::Def(..) => Outputs::One,
        Term::TryCatch(inner, None) => count(inner).max(Outputs::One),
        Term::TryCatch(inner, Some(caught)) => count(inner).max(count(caught)),
        Term::IfThenElse(cases, otherwise) => {
            let branches = cases.iter().map(|(_, then)| count(then));
            let last = otherwise.as_ref().map_or(Outputs::One, |t| count(t));
            branches.chain([last]).max().unwrap_or(Outputs::One)
        }
        Term::Call(name, arguments) => match (*name, arguments.len()) {
            ("empty", 0) => Outputs::None,
            ("recurse" | "paths" | "leaf_paths" | "splits" | "range" | "combinations" | "scan" | "tostream", _) => {
                Outputs::Many
            }
            _ => Outputs::One,
        },
        Term::Path(head, path) => {
            let spreads = path.0.iter().any(|(part, _)| matches!(part, Part::Range(None, None)));
            if spreads { product(count(head), Outputs::Many) } else { count(head) }
        }
    }
}

fn kind_of(term: &Term<&str>) -> Option<&'static str> {
    match term {
        Term::Num(_) => Some("number"),
        Term::Str(..) => Some("string"),
        Term::Arr(_) => Some("array"),
        Term::Obj(_) => Some("object"),
        Term::Neg(_) => Some("number"),
        Term::BinOp(left, op, right) => match op {
            BinaryOp::Pipe(_) => kind_of(right),
            BinaryOp::Comma | BinaryOp::Alt => same(kind_of(left), kind_of(right)),
            BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_) => Some("boolean"),
            // `null + x` is `x`: only where both sides are known is the sum.
            BinaryOp::Math(jaq_core::ops::Math::Add) => same(kind_of(left), kind_of(right)),
            BinaryOp::Math(_) | BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                None
            }
        },
        Term::IfThenElse(cases, Some(otherwise)) => {
            cases.iter().map(|(_, then)| kind_of(then)).fold(kind_of(otherwise), same)
        }
        Term::Call(name, arguments) => match (*name, arguments.len()) {
            (
                "not" | "contains" | "inside" | "has" | "in" | "any" | "all" | "test" | "startswith" | "endswith"
                | "isvalid",
                _,
            ) => Some("boolean"),
            ("length" | "floor" | "ceil" | "round" | "sqrt" | "tonumber" | "now", 0) => Some("number"),
            (
                "tostring" | "tojson" | "type" | "ascii_downcase" | "ascii_upcase" | "join" | "ltrimstr" | "rtrimstr"
                | "todate",
                _,
            ) => Some("string"),
            (
                "keys" | "map" | "sort" | "sort_by" | "group_by" | "unique" | "unique_by" | "split" | "explode"
                | "to_entries",
                _,
            ) => Some("array"),
            ("from_entries" | "with_entries", _) => Some("object"),
            _ => None,
        },
        _ => None,
    }
}

fn is_constant(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) => true,
        Term::Str(_, parts) => parts.iter().all(|p| !matches!(p, StrPart::Term(_))),
        Term::Arr(inner) => inner.as_ref().is_none_or(|t| is_constant(t)),
        Term::Obj(members) => members.iter().all(|(k, v)| is_constant(k) && v.as_ref().is_some_and(is_constant)),
        Term::Neg(inner) => is_constant(inner),
        // What comes behind a pipe, such as `not`, is about what stands before it.
        Term::BinOp(left, BinaryOp::Pipe(None), right) => is_constant(left) && (is_constant(right) || is_not(right)),
        Term::BinOp(left, op, right) => !matches!(op, BinaryOp::Pipe(_)) && is_constant(left) && is_constant(right),
        Term::Call(name, arguments) => arguments.is_empty() && matches!(*name, "true" | "false" | "null"),
        _ => false,
    }
}

fn is_not(term: &Term<&str>) -> bool {
    matches!(term, Term::Call("not", arguments) if arguments.is_empty())
}

fn same(a: Option<&'static str>, b: Option<&'static str>) -> Option<&'static str> {
    if a == b { a } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spreads_data_may_have_many_results() {
        for source in [
            ".[]",
            ".items[]",
            ".a, .b",
            "..",
            ".items[] | .name",
            ".items[] | select(.ok)",
            "{ a: .x[] }",
            ".a[] + 1",
            "range(3)",
        ] {
            assert_eq!(outputs(source), Outputs::Many, "{source}");
        }
        for source in [
            ".",
            ".a.b",
            "[.items[]]",
            "first(.items[])",
            "any(.items[]; .ok)",
            "[.a, .b] | length",
            "reduce .[] as $x (0; . + $x)",
            ".a // .b",
            ".items | map(.x)",
            ".[0]",
            ".[1:]",
            "if .a then .b else .c end",
            "select(.ok)",
            "not compiled (",
        ] {
            assert_eq!(outputs(source), Outputs::One, "{source}");
        }
        assert_eq!(outputs("empty"), Outputs::None);
        assert_eq!(outputs(".a | empty"), Outputs::None);
        assert_eq!(outputs("empty // 1"), Outputs::One);
    }

    #[test]
    fn constants_mention_nothing() {
        for (source, expected) in
            [("true", true), ("1 < 2", true), ("\"no\"", true), ("true | not", false), ("1 == 2 or false", false)]
        {
            assert_eq!(constant(source).map(|v| v.truthy()), Some(expected), "{source}");
        }
        for source in [".", ".a == 1", "now > 0", "$input", "length", "not", "true and .a", "\"\\(.a)\""] {
            assert_eq!(constant(source), None, "{source}");
        }
    }

    #[test]
    fn kinds_are_told_only_where_they_are_sure() {
        for (source, expected) in [
            ("{ a: 1 }", Some("object")),
            ("[.a]", Some("array")),
            ("\"x\\(.a)\"", Some("string")),
            (".a == 1", Some("boolean")),
            (".a | length", Some("number")),
            (".a", None),
            (".a + 1", None),
            ("if .a then 1 else \"x\" end", None),
            ("if .a then 1 else 2 end", Some("number")),
            (".a // 1", None),
            ("\"a\" + \"b\"", Some("string")),
        ] {
            assert_eq!(kind(source), expected, "{source}");
        }
    }
}
