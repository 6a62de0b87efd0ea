//! From source text to something that runs.
//!
//! 1. Guard: length, bracket depth and operator count are bounded, because parser, compiler and interpreter recurse.
//! 2. Lex and parse with jaq's parser; its errors become a [`CompileError`] with a place and a hint.
//! 3. Resolve names ([`super::resolve`]).
//! 4. Try the fast path ([`super::fast`]). What it can do needs nothing more.
//! 5. Otherwise meter the term (every `,` and every definition of the program ticks, so that no backtracking is free) and
//!    let jaq compile it together with the definitions that it reaches.

use std::sync::Arc;

use jaq_core::Filter;
use jaq_core::load::lex::{self, Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{self, BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::path::{Opt, Part, Path};

use super::error::CompileError;
use super::library::{Signature, library};
use super::natives::{self, Kind};
use super::precedence::{self, Chained};
use super::print::head;

/// The longest source. Data belongs beside an expression, not into it.
const SOURCE_BYTES: usize = 16 << 10;
/// The deepest nesting of brackets.
const BRACKETS: usize = 48;
/// The most operators and prefix words along one way from the outside to the inside of an expression: the depth of its
/// syntax tree is bounded by this. Held by a test that compiles and runs the worst cases on a small stack.
const OPERATORS: usize = 120;
/// The name under which a program is compiled. Programs cannot call what begins with `_`.
const MAIN: &str = "__main";

/// Parses a source text.
pub(super) fn parse(source: &str) -> Result<Vec<Token<&str>>, CompileError> {
    if source.len() > SOURCE_BYTES {
        let message = format!("expression of {} bytes, at most {SOURCE_BYTES} are allowed", source.len());
        return Err(CompileError::new(message, SOURCE_BYTES..source.len(), "move data out of the expression"));
    }
    let mut open = 0_usize;
    for (i, b) in source.bytes().enumerate() {
        match b {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKETS {
            let message = format!("more than {BRACKETS} nested brackets");
            return Err(CompileError::new(message, i..i + 1, "name parts with `as $x` or `def`"));
        }
    }
    if source.trim().is_empty() {
        return Err(CompileError::new("empty expression", 0..source.len(), "write `.` for the input itself"));
    }
    let module = source.split_whitespace().next().filter(|w| matches!(*w, "import" | "include" | "module"));
    if let Some(word) = module {
        let message = format!("{word} is not available in expressions");
        return Err(CompileError::at(source, word, message, "an expression sees only what it is given"));
    }
    let tokens = Lexer::new(source).lex().map_err(|errors| lex_error(source, errors))?;
    if weight(&tokens) > OPERATORS {
        let message = format!("more than {OPERATORS} operators in one place");
        return Err(CompileError::new(message, 0..source.len(), "move data out of the expression"));
    }
    Ok(tokens)
}

/// Parses tokens to a term.
pub(super) fn term<'s>(source: &'s str, tokens: &[Token<&'s str>]) -> Result<Term<&'s str>, CompileError> {
    let parsed = Parser::new(tokens).parse(|p| p.term()).map_err(|errors| parse_error(source, &errors))?;
    if !precedence::matters(tokens) {
        return Ok(parsed);
    }
    // What parsed without the marks parses with them.
    let marked = precedence::marked(tokens);
    let parsed = Parser::new(&marked).parse(|p| p.term()).map_err(|errors| parse_error(source, &errors))?;
    precedence::restore(parsed).map_err(|Chained(what)| {
        let message = format!("{what} needs parentheses");
        CompileError::new(
            message,
            0..source.len(),
            "write `(a == b) == c`, `.a = (.b = c)`, or join two updates with `|`",
        )
    })
}

fn weight(tokens: &[Token<&str>]) -> usize {
    let (mut here, mut inside) = (0, 0);
    for Token(text, tok) in tokens {
        match tok {
            Tok::Block(inner) => inside = inside.max(1 + weight(inner)),
            Tok::Str(parts) => {
                here += parts.len();
                for part in parts {
                    if let StrPart::Term(Token(_, Tok::Block(inner))) = part {
                        inside = inside.max(1 + weight(inner));
                    }
                }
            }
            Tok::Sym if *text != "." && *text != ":" && !text.starts_with("..") && !is_field(text) => here += 1,
            Tok::Word if is_prefix(text) => here += 1,
            _ => {}
        }
    }
    here + inside
}

fn is_field(text: &str) -> bool {
    text.len() > 1 && text.starts_with('.')
}

fn is_prefix(text: &str) -> bool {
    matches!(
        text,
        "and" | "or" | "as" | "def" | "if" | "elif" | "else" | "try" | "catch" | "label" | "reduce" | "foreach"
    )
}

fn lex_error(source: &str, errors: Vec<lex::Error<&str>>) -> CompileError {
    let Some((expected, at)) = errors.into_iter().next() else {
        return CompileError::new("text that cannot be read", 0..source.len(), "see the manual of jq 1.8");
    };
    let char_at = &at[..at.chars().next().map_or(0, char::len_utf8)];
    let found = if char_at.is_empty() { "the end of the expression".to_owned() } else { format!("`{char_at}`") };
    let hint = match (&expected, char_at) {
        (_, "'") => "strings stand in double quotes",
        (lex::Expect::Token, "&") => "write `and`",
        (lex::Expect::Token, ")" | "]" | "}") => "there is no opening bracket for this one",
        (lex::Expect::Delim(_), _) => "close what was opened",
        (lex::Expect::Escape, _) => "escapes are \\n \\t \\r \\b \\f \\\\ \\/ \\\" \\uXXXX and \\(…)",
        (lex::Expect::Unicode, _) => "a character that takes two \\u escapes is written as itself",
        _ => "see the manual of jq 1.8",
    };
    let expected = match expected {
        // `Expect::as_str` knows the four opening delimiters only, and the lexer yields no others.
        lex::Expect::Delim("(") => "a closing parenthesis",
        lex::Expect::Delim("[") => "a closing bracket",
        lex::Expect::Delim("{") => "a closing brace",
        lex::Expect::Delim(_) => "a closing quote",
        lex::Expect::Digit => "a digit",
        lex::Expect::Ident => "a name",
        lex::Expect::Escape => "an escape sequence",
        lex::Expect::Unicode => "four hexadecimal digits of a character",
        _ => "a token",
    };
    CompileError::at(source, char_at, format!("expected {expected}, found {found}"), hint)
}

fn parse_error<'s>(source: &'s str, errors: &[parse::TError<'_, &'s str>]) -> CompileError {
    let Some((expected, found)) = errors.first() else {
        return CompileError::new("text that is no expression", 0..source.len(), "see the manual of jq 1.8");
    };
    let at = Token::opt_as_str(*found, source);
    let shown = head(at, 20);
    let ellipsis = if shown.len() < at.len() { "…" } else { "" };
    let found = if at.is_empty() { "the end of the expression".to_owned() } else { format!("`{shown}{ellipsis}`") };
    let hint = match (expected, at) {
        (parse::Expect::Just("|"), "?") => "destructuring alternatives are not supported; use `if type == …` or `try`",
        (_, "==") => "`==` needs a value on both sides",
        (parse::Expect::Term, "") => "something is missing at the end",
        (parse::Expect::Nothing, _) => "join two expressions with `|`, `,` or an operator",
        (parse::Expect::ElseOrEnd, _) => "`if … then … else … end` needs its `end`",
        (parse::Expect::Key, _) => "write .name or .[\"any name\"]",
        _ => "see the manual of jq 1.8",
    };
    let expected = match expected {
        parse::Expect::Just(s) => format!("`{s}`"),
        parse::Expect::Nothing => "the end of the expression".to_owned(),
        other => other.as_str().to_owned(),
    };
    CompileError::at(source, at, format!("expected {expected}, found {found}"), hint)
}

/// Compiles a term whose names are resolved. `vars` are the variables from outside that it uses, in the order in which
/// they will be given.
pub(super) fn filter<'s>(
    term: Term<&'s str>,
    calls: impl IntoIterator<Item = Signature<'s>>,
    vars: impl IntoIterator<Item = &'s str>,
) -> Result<Arc<Filter<Kind>>, CompileError> {
    let reached = library().reach(calls.into_iter().chain([("__tick", 0)]));
    let main = Def { name: MAIN, args: Vec::new(), body: meter(term) };
    let defs = reached.defs.into_iter().map(shorten).chain([main]);
    let funs = reached.natives.iter().map(|e| e.fun());
    let builtin = &reached.builtin;
    let builtins = (!builtin.is_empty()).then(jaq_core::funs).into_iter().flatten();
    let builtins = builtins.filter(|(name, args, _)| builtin.contains(&(*name, args.len())));

    let arena = Arena::default();
    // Neither can fail for a resolved term; if they do, it is the expression that is refused, not the process.
    let internal =
        |what: String| CompileError::new(what, 0..0, "this is a fault of the engine; please report the expression");
    let modules =
        Loader::new(defs).load(&arena, File { code: MAIN, path: () }).map_err(|_| internal("cannot load".into()))?;
    jaq_core::Compiler::default()
        .with_funs(funs.chain(builtins))
        .with_global_vars(vars)
        .compile(modules)
        .map(Arc::new)
        .map_err(|errors| {
            let names = errors.into_iter().flat_map(|(_, e)| e).map(|(name, what)| format!("{} {name}", what.as_str()));
            internal(format!("cannot link {}", names.collect::<Vec<_>>().join(", ")))
        })
}

/// Definitions of the prelude live for ever, and so for as long as a source does.
fn shorten<'s>(def: Def<&'static str>) -> Def<&'s str> {
    def
}

fn pipe<'s>(l: Term<&'s str>, r: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(l), BinaryOp::Pipe(None), Box::new(r))
}

fn ticked(t: Term<&str>) -> Term<&str> {
    pipe(Term::Call("__tick", Vec::new()), t)
}

/// Whether the interpreter updates at this path as jq does, and without recursion that nothing bounds.
///
/// It updates in place and as it goes. That is what makes `.a.b |= f` cheap, but with several paths a deletion moves what
/// is updated later, a recursive definition recurses on the stack, and `try` and `label` are not supported.
fn simple(path: &Term<&str>) -> bool {
    match path {
        Term::Id | Term::Recurse => true,
        Term::Path(base, path) => {
            simple(base)
                && path.0.iter().all(|(part, _)| match part {
                    Part::Index(i) => single_key(i),
                    Part::Range(from, upto) => from.iter().chain(upto).all(single_key),
                })
        }
        Term::BinOp(l, BinaryOp::Pipe(None), r) => simple(l) && simple(r),
        Term::Call(name, args) => matches!((*name, args.len()), ("select" | "getpath", 1) | ("first" | "last", 0)),
        _ => false,
    }
}

/// Whether a key of a path has one value, as far as its form tells.
fn single_key(key: &Term<&str>) -> bool {
    match key {
        Term::Num(_) | Term::Str(..) | Term::Var(_) => true,
        Term::Neg(t) => single_key(t),
        Term::Path(base, path) => {
            matches!(**base, Term::Id | Term::Var(_))
                && path.0.iter().all(|(part, _)| match part {
                    Part::Index(i) => single_key(i),
                    Part::Range(from, upto) => {
                        (from.is_some() || upto.is_some()) && from.iter().chain(upto).all(single_key)
                    }
                })
        }
        _ => false,
    }
}

/// No program can name this variable.
const OPERAND: &str = "$ ";

/// An operator: in jq the right operand is the outer loop, and the first to fail; in jaq the left one.
fn operate<'s>(l: Box<Term<&'s str>>, op: BinaryOp<&'s str>, r: Box<Term<&'s str>>) -> Term<&'s str> {
    if plain(&l) || plain(&r) {
        return Term::BinOp(l, op, r);
    }
    let operated = Term::BinOp(l, op, Box::new(Term::Var(OPERAND)));
    Term::BinOp(r, BinaryOp::Pipe(Some(Pattern::Var(OPERAND))), Box::new(operated))
}

/// Whether a term has one output and cannot fail, so that it does not matter when it is evaluated.
fn plain(t: &Term<&str>) -> bool {
    match t {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(None) => true,
        Term::Str(None, parts) => !parts.iter().any(|p| matches!(p, StrPart::Term(_))),
        _ => false,
    }
}

/// The filter of the prelude by which an update at this path is made, unless the interpreter does it by itself.
pub(super) fn updater(op: &BinaryOp<&str>, path: &Term<&str>) -> Option<&'static str> {
    match op {
        BinaryOp::Assign if !simple(path) => Some("_assign"),
        BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt if !simple(path) => Some("_modify"),
        _ => None,
    }
}

/// Rewrites an update: `l op= r` is `r as $x | l |= . op $x`, and `l |= r` is `_modify(l; r)`.
fn update<'s>(l: Box<Term<&'s str>>, op: BinaryOp<&'s str>, r: Box<Term<&'s str>>) -> Term<&'s str> {
    let Some(name) = updater(&op, &l) else { return Term::BinOp(l, op, r) };
    let with = match op {
        BinaryOp::UpdateMath(op) => BinaryOp::Math(op),
        BinaryOp::UpdateAlt => BinaryOp::Alt,
        _ => return Term::Call(name, vec![*l, *r]),
    };
    let f = Term::BinOp(Box::new(Term::Id), with, Box::new(Term::Var(OPERAND)));
    let modify = Term::Call(name, vec![*l, f]);
    Term::BinOp(r, BinaryOp::Pipe(Some(Pattern::Var(OPERAND))), Box::new(modify))
}

/// Takes a list `a, b, c` apart.
fn unlist<'s>(t: Term<&'s str>, items: &mut Vec<Term<&'s str>>) {
    match t {
        Term::BinOp(l, BinaryOp::Comma, r) => {
            unlist(*l, items);
            unlist(*r, items);
        }
        t => items.push(t),
    }
}

/// Puts a list together as a balanced tree: the parser's own tree is as deep as the list is long.
fn list(mut items: Vec<Term<&str>>) -> Term<&str> {
    match items.len() {
        0 => Term::Id,
        1 => items.remove(0),
        n => {
            let right = items.split_off(n / 2);
            Term::BinOp(Box::new(list(items)), BinaryOp::Comma, Box::new(list(right)))
        }
    }
}

/// Lets every `,` and every definition of a program tick, and names the checked variants of `limit` and `skip`.
fn meter(t: Term<&str>) -> Term<&str> {
    fn each(mut t: Box<Term<&str>>) -> Box<Term<&str>> {
        *t = meter(std::mem::take(&mut *t));
        t
    }
    match t {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Break(_) | Term::Var(_) => t,
        Term::Str(format, parts) => {
            let part = |p| match p {
                StrPart::Term(t) => StrPart::Term(meter(t)),
                p => p,
            };
            Term::Str(format, parts.into_iter().map(part).collect())
        }
        Term::Arr(Some(t)) => Term::Arr(Some(each(t))),
        Term::Obj(members) => Term::Obj(members.into_iter().map(|(k, v)| (meter(k), v.map(meter))).collect()),
        Term::Neg(t) => Term::Neg(each(t)),
        Term::BinOp(l, BinaryOp::Comma, r) => {
            let mut items = Vec::new();
            unlist(Term::BinOp(l, BinaryOp::Comma, r), &mut items);
            ticked(list(items.into_iter().map(meter).collect()))
        }
        Term::BinOp(l, BinaryOp::Pipe(Some(p)), r) => {
            Term::BinOp(each(l), BinaryOp::Pipe(Some(meter_pattern(p))), each(r))
        }
        Term::BinOp(l, op @ (BinaryOp::Math(_) | BinaryOp::Cmp(_)), r) => operate(each(l), op, each(r)),
        Term::BinOp(l, op, r) => update(each(l), op, each(r)),
        Term::Label(name, t) => Term::Label(name, each(t)),
        Term::Fold(name, from, p, args) => {
            let args = args.into_iter().map(meter).collect();
            Term::Fold(name, each(from), meter_pattern(p), fold(name, args))
        }
        Term::TryCatch(t, catch) => Term::TryCatch(each(t), catch.map(each)),
        Term::IfThenElse(cases, otherwise) => {
            let cases = cases.into_iter().map(|(c, t)| (meter(c), meter(t))).collect();
            Term::IfThenElse(cases, otherwise.map(each))
        }
        Term::Def(defs, t) => {
            let defs = defs.into_iter().map(|d| Def { name: d.name, args: d.args, body: ticked(meter(d.body)) });
            Term::Def(defs.collect(), each(t))
        }
        Term::Call(name, args) => {
            let name = match (name, args.len()) {
                ("limit", 2) => "_limit",
                ("skip", 2) => "_skip",
                (name, _) => name,
            };
            Term::Call(name, args.into_iter().map(meter).collect())
        }
        Term::Path(t, path) => {
            let part = |p| match p {
                Part::Index(i) => Part::Index(meter(i)),
                Part::Range(from, upto) => Part::Range(from.map(meter), upto.map(meter)),
            };
            Term::Path(each(t), Path(path.0.into_iter().map(|(p, opt)| (part(p), opt)).collect()))
        }
    }
}

/// The arguments of `reduce` and `foreach`. In jq the next state is the last output of the update, null if there is none; the
/// interpreter goes on with each of them. So where an update may have another number of outputs than one, `reduce` takes the
/// last of them all, and the state of `foreach` is the array of them.
fn fold<'s>(name: &str, args: Vec<Term<&'s str>>) -> Vec<Term<&'s str>> {
    let all = |t| Term::Arr(Some(Box::new(t)));
    let last = |t| {
        let end = Part::Index(Term::Neg(Box::new(Term::Num("1"))));
        Term::Path(Box::new(t), Path(vec![(end, Opt::Essential)]))
    };
    let mut args = args.into_iter();
    match (args.next(), args.next(), args.next()) {
        (Some(init), Some(update), None) if name == "reduce" && !single(&update) => vec![init, last(all(update))],
        (Some(init), Some(update), extract) if name == "foreach" && !single(&update) => {
            let states = Term::Path(Box::new(Term::Id), Path(vec![(Part::Range(None, None), Opt::Essential)]));
            let extract = match extract {
                Some(extract) => pipe(states, extract),
                None => states,
            };
            vec![pipe(init, all(Term::Id)), all(pipe(last(Term::Id), update)), extract]
        }
        (init, update, extract) => [init, update, extract].into_iter().flatten().collect(),
    }
}

/// Whether a term has one output unless it fails, as far as its form tells.
fn single(t: &Term<&str>) -> bool {
    match t {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) => true,
        Term::Str(_, parts) => parts.iter().all(|p| match p {
            StrPart::Term(t) => single(t),
            StrPart::Str(_) | StrPart::Char(_) => true,
        }),
        Term::Obj(members) => members.iter().all(|(k, v)| single(k) && v.iter().all(single)),
        Term::Neg(t) => single(t),
        Term::BinOp(l, op, r) => match op {
            BinaryOp::Pipe(Some(Pattern::Var(_)) | None)
            | BinaryOp::Math(_)
            | BinaryOp::Cmp(_)
            | BinaryOp::And
            | BinaryOp::Or => single(l) && single(r),
            // One output for each of the right side, whatever the paths; `|=` takes the first.
            BinaryOp::Assign | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => single(r),
            BinaryOp::Update => true,
            BinaryOp::Pipe(Some(_)) | BinaryOp::Comma | BinaryOp::Alt => false,
        },
        Term::IfThenElse(cases, otherwise) => {
            cases.iter().all(|(c, t)| single(c) && single(t)) && otherwise.iter().all(|t| single(t))
        }
        Term::Fold(name, _, _, args) => *name == "reduce" && args.iter().all(single),
        Term::Call(name, args) => {
            let one = natives::find(name, args.len()).is_some_and(|e| e.of_input.is_some())
                || matches!(
                    (*name, args.len()),
                    ("map" | "map_values" | "del" | "add", 1) | ("setpath" | "_assign" | "_modify", 2)
                );
            // What these have of an argument goes into their one output.
            one && match *name {
                "map" | "map_values" | "del" | "add" | "_modify" => true,
                "_assign" => args.last().is_some_and(single),
                _ => args.iter().all(single),
            }
        }
        Term::Path(base, path) => {
            single(base)
                && path.0.iter().all(|(part, opt)| {
                    matches!(opt, Opt::Essential)
                        && match part {
                            Part::Index(i) => single(i),
                            Part::Range(None, None) => false,
                            Part::Range(from, upto) => from.iter().chain(upto).all(single),
                        }
                })
        }
        Term::Recurse | Term::Label(..) | Term::Break(_) | Term::TryCatch(..) | Term::Def(..) => false,
    }
}

fn meter_pattern(p: Pattern<&str>) -> Pattern<&str> {
    match p {
        Pattern::Var(_) => p,
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(meter_pattern).collect()),
        Pattern::Obj(members) => Pattern::Obj(members.into_iter().map(|(k, p)| (meter(k), meter_pattern(p))).collect()),
    }
}
