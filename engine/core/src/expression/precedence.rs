//! The precedence of operators, as jq has it.
//!
//! jaq's parser orders operators differently from jq: `%` binds more tightly than `*`, `//` more tightly than `=`, `<` more
//! tightly than `==`, and what jq refuses (`1 < 2 < 3`, `.a = .b = 1`) it chains. `2 * 3 % 4` and `.a = .b // 1` would have
//! other results than in jq, without a word. So the tree is put right after parsing:
//!
//! 1. [`marked`] makes parentheses visible: `(a % b)` is parsed as `(a % b | .)`, because the parser drops them.
//! 2. [`restore`] takes each chain of operators apart into operands, which stand in the order of the source whatever their
//!    tree is, and climbs again with jq's table. What is in parentheses is an operand by its `| .`, which goes then: `f | .`
//!    is `f` for every `f`.
//!
//! `|`, `,` and `as` bind less tightly than all of these in both, in the same order; they bound the chains.

use jaq_core::load::lex::{StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::{Cmp, Math};
use jaq_core::path::{Part, Path};

/// Whether the order of jaq and that of jq can make a difference: there is `%`, `//`, or more than one update or comparison.
pub(super) fn matters(tokens: &[Token<&str>]) -> bool {
    fn count(tokens: &[Token<&str>], chained: &mut u32) -> bool {
        tokens.iter().any(|Token(text, tok)| match tok {
            Tok::Block(inner) => count(inner, chained),
            Tok::Str(parts) => parts.iter().any(|part| match part {
                StrPart::Term(Token(_, Tok::Block(inner))) => count(inner, chained),
                StrPart::Term(_) | StrPart::Str(_) | StrPart::Char(_) => false,
            }),
            Tok::Sym => {
                *chained += u32::from(text.contains(['=', '<', '>']));
                *chained > 1 || matches!(*text, "%" | "//")
            }
            Tok::Word | Tok::Var | Tok::Fmt | Tok::Num => false,
        })
    }
    count(tokens, &mut 0)
}

/// The tokens with every pair of parentheses marked that has an operator directly inside.
pub(super) fn marked<'s>(tokens: &[Token<&'s str>]) -> Vec<Token<&'s str>> {
    let mark = |Token(text, tok): &Token<&'s str>| {
        let tok = match tok {
            Tok::Word => Tok::Word,
            Tok::Var => Tok::Var,
            Tok::Fmt => Tok::Fmt,
            Tok::Num => Tok::Num,
            Tok::Sym => Tok::Sym,
            Tok::Str(parts) => Tok::Str(parts.iter().map(mark_part).collect()),
            Tok::Block(inner) => {
                let mut inside = marked(inner);
                if text.starts_with('(') && inner.iter().any(is_operator) && !inner.iter().any(|t| t.0 == ";") {
                    let close = inside.len().saturating_sub(1);
                    inside.splice(close..close, [Token("|", Tok::Sym), Token(".", Tok::Sym)]);
                }
                Tok::Block(inside)
            }
        };
        Token(*text, tok)
    };
    tokens.iter().map(mark).collect()
}

fn mark_part<'s>(part: &StrPart<&'s str, Token<&'s str>>) -> StrPart<&'s str, Token<&'s str>> {
    match part {
        StrPart::Str(s) => StrPart::Str(*s),
        StrPart::Char(c) => StrPart::Char(*c),
        StrPart::Term(Token(text, Tok::Block(inner))) => StrPart::Term(Token(*text, Tok::Block(marked(inner)))),
        // The lexer yields blocks only.
        StrPart::Term(Token(text, _)) => StrPart::Term(Token(*text, Tok::Sym)),
    }
}

fn is_operator(token: &Token<&str>) -> bool {
    let symbol = matches!(
        token.0,
        "+" | "-"
            | "*"
            | "/"
            | "%"
            | "//"
            | "="
            | "|="
            | "+="
            | "-="
            | "*="
            | "/="
            | "%="
            | "//="
            | "=="
            | "!="
            | "<"
            | ">"
            | "<="
            | ">="
    );
    symbol || matches!(token.0, "and" | "or")
}

/// How tightly an operator binds, and what becomes of two of the same tightness; `None` for those that bound a chain.
fn level(op: &BinaryOp<&str>) -> Option<(u8, Side)> {
    Some(match op {
        BinaryOp::Pipe(_) | BinaryOp::Comma => return None,
        BinaryOp::Alt => (0, Side::Right),
        BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => (1, Side::Neither),
        BinaryOp::Or => (2, Side::Left),
        BinaryOp::And => (3, Side::Left),
        BinaryOp::Cmp(Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Gt | Cmp::Le | Cmp::Ge) => (4, Side::Neither),
        BinaryOp::Math(Math::Add | Math::Sub) => (5, Side::Left),
        BinaryOp::Math(Math::Mul | Math::Div | Math::Rem) => (6, Side::Left),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
    /// Not without parentheses.
    Neither,
}

/// Two operators of which jq takes only one without parentheses: what they are.
#[derive(Debug, PartialEq)]
pub(super) struct Chained(pub(super) &'static str);

type Result<T> = std::result::Result<T, Chained>;

/// The term with operators grouped as jq groups them. `t` was parsed from [`marked`] tokens.
pub(super) fn restore<'s>(t: Term<&'s str>) -> Result<Term<&'s str>> {
    let boxed = |t: Box<Term<&'s str>>| restore(*t).map(Box::new);
    Ok(match t {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Break(_) | Term::Var(_) => t,
        Term::BinOp(l, BinaryOp::Pipe(None), r) if matches!(*r, Term::Id) => restore(*l)?,
        Term::BinOp(l, op, r) if level(&op).is_some() => {
            let mut chain = Chain { operands: Vec::new(), operators: Vec::new() };
            chain.take_apart(Term::BinOp(l, op, r))?;
            chain.climb()?
        }
        Term::BinOp(l, op, r) => {
            let op = match op {
                BinaryOp::Pipe(Some(pattern)) => BinaryOp::Pipe(Some(restore_pattern(pattern)?)),
                op => op,
            };
            Term::BinOp(boxed(l)?, op, boxed(r)?)
        }
        Term::Str(format, parts) => {
            let part = |p| match p {
                StrPart::Term(t) => restore(t).map(StrPart::Term),
                p => Ok(p),
            };
            Term::Str(format, parts.into_iter().map(part).collect::<Result<_>>()?)
        }
        Term::Arr(Some(t)) => Term::Arr(Some(boxed(t)?)),
        Term::Obj(members) => {
            let member = |(k, v): (_, Option<_>)| Ok((restore(k)?, v.map(restore).transpose()?));
            Term::Obj(members.into_iter().map(member).collect::<Result<_>>()?)
        }
        Term::Neg(t) => Term::Neg(boxed(t)?),
        Term::Label(name, t) => Term::Label(name, boxed(t)?),
        Term::Fold(name, from, pattern, args) => Term::Fold(name, boxed(from)?, restore_pattern(pattern)?, all(args)?),
        Term::TryCatch(t, catch) => Term::TryCatch(boxed(t)?, catch.map(boxed).transpose()?),
        Term::IfThenElse(cases, otherwise) => {
            let case = |(c, t)| Ok((restore(c)?, restore(t)?));
            let cases = cases.into_iter().map(case).collect::<Result<_>>()?;
            Term::IfThenElse(cases, otherwise.map(boxed).transpose()?)
        }
        Term::Def(defs, t) => {
            let def = |d: Def<_>| Ok(Def { name: d.name, args: d.args, body: restore(d.body)? });
            Term::Def(defs.into_iter().map(def).collect::<Result<_>>()?, boxed(t)?)
        }
        Term::Call(name, args) => Term::Call(name, all(args)?),
        Term::Path(t, path) => {
            let part = |(part, opt)| {
                let part = match part {
                    Part::Index(i) => Part::Index(restore(i)?),
                    Part::Range(from, upto) => {
                        Part::Range(from.map(restore).transpose()?, upto.map(restore).transpose()?)
                    }
                };
                Ok((part, opt))
            };
            Term::Path(boxed(t)?, Path(path.0.into_iter().map(part).collect::<Result<_>>()?))
        }
    })
}

fn all(terms: Vec<Term<&str>>) -> Result<Vec<Term<&str>>> {
    terms.into_iter().map(restore).collect()
}

fn restore_pattern(p: Pattern<&str>) -> Result<Pattern<&str>> {
    Ok(match p {
        Pattern::Var(_) => p,
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(restore_pattern).collect::<Result<_>>()?),
        Pattern::Obj(members) => {
            let member = |(k, p)| Ok((restore(k)?, restore_pattern(p)?));
            Pattern::Obj(members.into_iter().map(member).collect::<Result<_>>()?)
        }
    })
}

/// Operands with operators between them, both from right to left once they are climbed.
struct Chain<'s> {
    operands: Vec<Term<&'s str>>,
    operators: Vec<BinaryOp<&'s str>>,
}

impl<'s> Chain<'s> {
    fn take_apart(&mut self, t: Term<&'s str>) -> Result<()> {
        match t {
            Term::BinOp(l, op, r) if level(&op).is_some() => {
                self.take_apart(*l)?;
                self.operators.push(op);
                self.take_apart(*r)
            }
            operand => {
                self.operands.push(restore(operand)?);
                Ok(())
            }
        }
    }

    /// There is always one operand more than operators.
    fn climb(mut self) -> Result<Term<&'s str>> {
        self.operands.reverse();
        self.operators.reverse();
        let first = self.operands.pop().unwrap_or_default();
        self.above(first, 0)
    }

    /// Joins to `left` what follows, as long as it binds at least so tightly.
    fn above(&mut self, mut left: Term<&'s str>, least: u8) -> Result<Term<&'s str>> {
        let mut before = None;
        while let Some((here, side)) = self.operators.last().and_then(level).filter(|(l, _)| *l >= least) {
            if before == Some(here) && side == Side::Neither {
                return Err(Chained(if here == 1 {
                    "an update after an update"
                } else {
                    "a comparison of a comparison"
                }));
            }
            before = Some(here);
            let (Some(op), Some(mut right)) = (self.operators.pop(), self.operands.pop()) else { break };
            while let Some((next, _)) = self.operators.last().and_then(level) {
                if next > here {
                    right = self.above(right, next)?;
                } else if next == here && side == Side::Right {
                    right = self.above(right, here)?;
                } else {
                    break;
                }
            }
            left = Term::BinOp(Box::new(left), op, Box::new(right));
        }
        Ok(left)
    }
}
