//! The common shapes of expressions, evaluated without the interpreter.
//!
//! Most expressions of workflows are a path, a comparison, or an object made of paths. For these a small tree is
//! evaluated over borrowed values: a path costs its look-ups and one reference count. The tree is made from the same
//! parsed term that the interpreter would get, and uses the same operators ([`super::ops`]); a property test holds both to
//! the same results and errors.
//!
//! As in jq, the right operand of an operator is evaluated first.
//!
//! Every node here has exactly one output or one error. What may have none or several outputs, binds variables, updates,
//! or calls a filter with arguments is left to the interpreter: [`Node::of`] then yields `None` for the whole expression.

use std::borrow::Cow;
use std::sync::Arc;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::{Cmp, Math};
use jaq_core::path::{Opt, Part};

use super::meter::burn;
use super::ops::{self, Op};
use super::print::write_text;
use super::{Scope, natives, order};
use crate::value::{Map, Num, Value};

/// Where a variable's value is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Global(usize),
    Local(usize),
}

/// A shape that is evaluated here.
pub(super) enum Node {
    Const(Value),
    Input,
    Var(Source),
    /// Keys after a base.
    Path(Box<Node>, Box<[Key]>),
    Pipe(Box<Node>, Box<Node>),
    Cmp(Box<Node>, Cmp, Box<Node>),
    Math(Box<Node>, Math, Box<Node>),
    Neg(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    /// `l // r`
    Alt(Box<Node>, Box<Node>),
    /// Cases and the rest, which is the input if it is not given.
    If(Box<[(Node, Node)]>, Option<Box<Node>>),
    Obj(Box<[(Arc<str>, Node)]>),
    Arr(Box<[Node]>),
    /// Pieces of text; the values of the others in between.
    Text(Box<[Piece]>),
    Call(fn(&Value) -> Op),
}

pub(super) enum Key {
    Field(Arc<str>),
    Item(Num),
}

pub(super) enum Piece {
    Text(Box<str>),
    Value(Node),
}

impl Node {
    /// The shape of a term, if it is one of those known here. `var` finds variables, without their `$`… as they stand.
    pub(super) fn of(t: &Term<&str>, var: &impl Fn(&str) -> Option<Source>) -> Option<Node> {
        let boxed = |t: &Term<&str>| Node::of(t, var).map(Box::new);
        Some(match t {
            Term::Id => Node::Input,
            Term::Num(n) => {
                // As the interpreter reads literals.
                let num = ops::literal(n);
                Node::Const(Value::Num(num.ok()?))
            }
            Term::Str(None, parts) => match &parts[..] {
                [] => Node::Const(Value::from("")),
                [StrPart::Str(s)] => Node::Const(Value::from(*s)),
                parts => {
                    let piece = |p: &StrPart<&str, Term<&str>>| {
                        Some(match p {
                            StrPart::Str(s) => Piece::Text((*s).into()),
                            StrPart::Char(c) => Piece::Text(String::from(*c).into()),
                            StrPart::Term(t) => Piece::Value(Node::of(t, var)?),
                        })
                    };
                    Node::Text(parts.iter().map(piece).collect::<Option<_>>()?)
                }
            },
            Term::Arr(None) => Node::Const(Value::from(Vec::new())),
            Term::Arr(Some(t)) => {
                let mut items = Vec::new();
                listed(t, &mut |t| {
                    items.push(Node::of(t, var)?);
                    Some(())
                })?;
                Node::Arr(items.into())
            }
            Term::Obj(members) => {
                let member = |(k, v): &(Term<&str>, Option<Term<&str>>)| {
                    Some(match (k, v) {
                        (Term::Var(name), None) => (Arc::from(&name[1..]), Node::of(k, var)?),
                        (k, None) => {
                            let k = key_of(k)?;
                            (k.clone(), Node::Path(Box::new(Node::Input), [Key::Field(k)].into()))
                        }
                        (k, Some(v)) => (key_of(k)?, Node::of(v, var)?),
                    })
                };
                if members.is_empty() {
                    Node::Const(Value::object())
                } else {
                    Node::Obj(members.iter().map(member).collect::<Option<_>>()?)
                }
            }
            Term::Neg(t) => Node::Neg(boxed(t)?),
            Term::BinOp(l, op, r) => {
                let (l, r) = (|| boxed(l), || boxed(r));
                match op {
                    BinaryOp::Pipe(None) => Node::Pipe(l()?, r()?),
                    BinaryOp::Cmp(op) => Node::Cmp(l()?, *op, r()?),
                    BinaryOp::Math(op) => Node::Math(l()?, *op, r()?),
                    BinaryOp::And => Node::And(l()?, r()?),
                    BinaryOp::Or => Node::Or(l()?, r()?),
                    BinaryOp::Alt => Node::Alt(l()?, r()?),
                    _ => return None,
                }
            }
            Term::IfThenElse(cases, otherwise) => {
                let case = |(c, t): &(Term<&str>, Term<&str>)| Some((Node::of(c, var)?, Node::of(t, var)?));
                let cases = cases.iter().map(case).collect::<Option<_>>()?;
                Node::If(cases, otherwise.as_ref().map(|t| boxed(t).ok_or(())).transpose().ok()?)
            }
            Term::Call(name, args) if args.is_empty() => Node::Call(natives::find(name, 0)?.of_input?),
            Term::Var(name) => Node::Var(var(name)?),
            Term::Path(base, path) => {
                let key = |(part, opt): &(Part<Term<&str>>, Opt)| match (part, opt) {
                    (Part::Index(i), Opt::Essential) => match Node::of(i, var)? {
                        Node::Const(Value::Str(s)) => Some(Key::Field(s)),
                        Node::Const(Value::Num(n)) => Some(Key::Item(n)),
                        // The parser reads -1 as the negation of 1.
                        Node::Neg(n) => match *n {
                            Node::Const(n @ Value::Num(_)) => match ops::neg(&n) {
                                Ok(Value::Num(n)) => Some(Key::Item(n)),
                                _ => None,
                            },
                            _ => None,
                        },
                        _ => None,
                    },
                    _ => None,
                };
                Node::Path(boxed(base)?, path.0.iter().map(key).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// The single output.
    pub(super) fn eval<'v>(&'v self, scope: &'v Scope<'v>, input: &'v Value) -> Op<Cow<'v, Value>> {
        let owned = |v: Value| Ok(Cow::Owned(v));
        match self {
            Node::Const(v) => Ok(Cow::Borrowed(v)),
            Node::Input => Ok(Cow::Borrowed(input)),
            Node::Var(source) => Ok(Cow::Borrowed(scope.get(*source))),
            Node::Path(base, keys) => match base.eval(scope, input)? {
                Cow::Borrowed(v) => walk(v, keys).map(Cow::Borrowed),
                Cow::Owned(v) => owned(walk(&v, keys)?.clone()),
            },
            Node::Pipe(l, r) => match l.eval(scope, input)? {
                Cow::Borrowed(v) => r.eval(scope, v),
                Cow::Owned(v) => owned(r.eval(scope, &v)?.into_owned()),
            },
            Node::Cmp(l, op, r) => {
                let r = r.eval(scope, input)?;
                let l = l.eval(scope, input)?;
                owned(Value::Bool(compare(&l, *op, &r)))
            }
            Node::Math(l, op, r) => {
                let r = r.eval(scope, input)?;
                let l = l.eval(scope, input)?;
                owned(match op {
                    Math::Add => ops::add(l.into_owned(), r.into_owned())?,
                    Math::Sub => ops::sub(&l, &r)?,
                    Math::Mul => ops::mul(l.into_owned(), r.into_owned())?,
                    Math::Div => ops::div(&l, &r)?,
                    Math::Rem => ops::rem(&l, &r)?,
                })
            }
            Node::Neg(t) => owned(ops::neg(&*t.eval(scope, input)?)?),
            Node::And(l, r) => {
                let both = l.eval(scope, input)?.truthy() && r.eval(scope, input)?.truthy();
                owned(Value::Bool(both))
            }
            Node::Or(l, r) => {
                let either = l.eval(scope, input)?.truthy() || r.eval(scope, input)?.truthy();
                owned(Value::Bool(either))
            }
            Node::Alt(l, r) => {
                let l = l.eval(scope, input)?;
                if l.truthy() { Ok(l) } else { r.eval(scope, input) }
            }
            Node::If(cases, otherwise) => {
                for (condition, then) in cases {
                    if condition.eval(scope, input)?.truthy() {
                        return then.eval(scope, input);
                    }
                }
                otherwise.as_ref().map_or(Ok(Cow::Borrowed(input)), |t| t.eval(scope, input))
            }
            Node::Obj(members) => {
                burn(members.len() as u64);
                let mut map = Map::with_capacity(members.len());
                for (k, v) in members {
                    map.insert(k.clone(), v.eval(scope, input)?.into_owned());
                }
                owned(Value::from(map))
            }
            Node::Arr(items) => {
                burn(items.len() as u64);
                let items: Vec<Value> =
                    items.iter().map(|v| v.eval(scope, input).map(Cow::into_owned)).collect::<Op<_>>()?;
                owned(Value::from(items))
            }
            Node::Text(pieces) => {
                let mut out = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(s) => out.push_str(s),
                        Piece::Value(node) => write_text(&*node.eval(scope, input)?, &mut out),
                    }
                }
                owned(ops::text(out)?)
            }
            Node::Call(f) => owned(f(input)?),
        }
    }

    /// The value of an expression that has the same one always.
    pub(super) fn constant(&self) -> Option<&Value> {
        match self {
            Node::Const(v) => Some(v),
            _ => None,
        }
    }

    /// Whether the value of an evaluation can only be one that was there before, so that nothing need be metered.
    pub(super) fn only_looks(&self) -> bool {
        match self {
            Node::Const(_) | Node::Input | Node::Var(_) => true,
            Node::Path(base, _) => base.only_looks(),
            Node::Pipe(l, r) => l.only_looks() && r.only_looks(),
            _ => false,
        }
    }
}

/// The terms between the commas of an array.
fn listed<'t, 's>(t: &'t Term<&'s str>, f: &mut impl FnMut(&'t Term<&'s str>) -> Option<()>) -> Option<()> {
    match t {
        Term::BinOp(l, BinaryOp::Comma, r) => {
            listed(l, f)?;
            listed(r, f)
        }
        t => f(t),
    }
}

fn key_of(k: &Term<&str>) -> Option<Arc<str>> {
    match k {
        Term::Str(None, parts) => match &parts[..] {
            [StrPart::Str(s)] => Some(Arc::from(*s)),
            _ => None,
        },
        _ => None,
    }
}

fn walk<'v>(mut v: &'v Value, keys: &[Key]) -> Op<&'v Value> {
    for key in keys {
        v = match key {
            Key::Field(name) => ops::field(v, name)?,
            Key::Item(i) => ops::item(v, *i)?,
        };
    }
    Ok(v)
}

fn compare(l: &Value, op: Cmp, r: &Value) -> bool {
    // The same definitions that the interpreter derives from the partial order of its values.
    match op {
        Cmp::Eq => order::equal(l, r),
        Cmp::Ne => !order::equal(l, r),
        Cmp::Lt => order::less(l, r),
        Cmp::Ge => !order::less(l, r),
        Cmp::Gt => !order::less(l, r) && order::compare(l, r).is_gt(),
        Cmp::Le => order::less(l, r) || !order::compare(l, r).is_gt(),
    }
}
