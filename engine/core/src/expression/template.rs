//! Data with expressions inside.
//!
//! In the values of a workflow definition a string that is wholly `${ … }` is an expression, everything else is literal.
//! [`Template::compile`] turns such a tree into programs and constants; parts without any expression stay shared, so a
//! template without expressions evaluates to a clone that costs a reference count.
//!
//! A `${ … }` inside of a longer string is refused: the specification's examples use it, its schema does not allow it, and
//! jq's own interpolation says the same thing without ambiguity. What comes out of an expression is never looked at again:
//! data that contain `${ … }` stay data.
//!
//! An expression that mentions `$secrets` is not evaluated with the others: what stands in its place, sealed, is what it would see but the
//! secrets. That may be written down; [`Template::unseal`] evaluates it at the moment of the call. Only the places where the template
//! has such an expression are unsealed, so data cannot pretend to be one.

use std::sync::Arc;

use super::{CompileError, EvalError, Global, Limits, Program, Scope, Uses, VARS};
use crate::Value;
use crate::time::Timestamp;
use crate::value::Map;

/// A tree of data in which some leaves are expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    node: Node,
    uses: Uses,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Const(Value),
    Program(Program),
    /// A text that is also an expression (mode `loose`): what the expression gives, or the text if it fails.
    Loose(Program, Value),
    Arr(Arc<[Node]>),
    Obj(Arc<[(Arc<str>, Node)]>),
}

/// The expression in a string that is wholly `${ … }`.
pub fn expression_source(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}')
}

/// The expression in a place that holds nothing but expressions, where `${ … }` and the bare form are both accepted:
/// conditions (`if`, `when`, `while`) and filters.
pub fn condition_source(text: &str) -> &str {
    expression_source(text).unwrap_or(text)
}

impl Template {
    /// Compiles a tree. `locals` are as for [`Program::compile`].
    ///
    /// # Errors
    /// All strings that are not right, each with the JSON pointer at which it stands. Spans are those within the string.
    pub fn compile(tree: &Value, locals: &[&str]) -> Result<Self, Vec<(String, CompileError)>> {
        Self::compile_in(tree, locals, false)
    }

    /// The same; in mode `loose` a text without `${ … }` that is an expression is taken for one, and stays what it is where
    /// the expression fails.
    ///
    /// # Errors
    /// As for [`Template::compile`].
    pub fn compile_in(tree: &Value, locals: &[&str], loose: bool) -> Result<Self, Vec<(String, CompileError)>> {
        let (uses, errors) = (Uses::default(), Vec::new());
        let mut compiler = Compiler { locals, loose, pointer: String::new(), uses, errors };
        let node = compiler.node(tree);
        if compiler.errors.is_empty() { Ok(Self { node, uses: compiler.uses }) } else { Err(compiler.errors) }
    }

    /// A template that is one expression, given with or without `${ … }`.
    ///
    /// # Errors
    /// As for [`Program::compile`].
    pub fn expression(text: &str, locals: &[&str]) -> Result<Self, CompileError> {
        let program = compile_within(text, condition_source(text), locals)?;
        let uses = program.uses().clone();
        Ok(Self { node: Node::Program(program), uses })
    }

    /// What the expressions mention, all together.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The value, if there is no expression in the tree.
    pub fn constant(&self) -> Option<&Value> {
        match &self.node {
            Node::Const(v) => Some(v),
            _ => None,
        }
    }

    /// The tree with every expression replaced by its first output (null if it has none).
    ///
    /// # Errors
    /// The first expression, in the order of the tree, that fails.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        self.node.eval(scope)
    }

    /// Whether something in it is sealed until there are secrets.
    pub fn is_sealed(&self) -> bool {
        self.uses.global(Global::Secrets)
    }

    /// What [`eval`](Self::eval) gave, with every sealed expression evaluated with these secrets.
    ///
    /// # Errors
    /// The first expression, in the order of the tree, that fails.
    pub fn unseal(&self, filled: &Value, secrets: &Value, limits: &Limits) -> Result<Value, EvalError> {
        self.node.unseal(filled, secrets, limits)
    }
}

impl Node {
    fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        match self {
            Node::Const(v) => Ok(v.clone()),
            Node::Program(p) if p.uses().global(Global::Secrets) => Ok(sealed(p, scope)),
            Node::Program(p) => p.eval(scope),
            Node::Loose(p, text) => Ok(p.eval(scope).unwrap_or_else(|_| text.clone())),
            Node::Arr(items) => items.iter().map(|n| n.eval(scope)).collect::<Result<Vec<_>, _>>().map(Value::from),
            Node::Obj(members) => {
                let mut map = Map::with_capacity(members.len());
                for (k, n) in members.iter() {
                    map.insert(k.clone(), n.eval(scope)?);
                }
                Ok(Value::from(map))
            }
        }
    }

    fn unseal(&self, filled: &Value, secrets: &Value, limits: &Limits) -> Result<Value, EvalError> {
        match self {
            Node::Program(p) if p.uses().global(Global::Secrets) => unsealed(p, filled, secrets, limits),
            Node::Const(_) | Node::Program(_) | Node::Loose(..) => Ok(filled.clone()),
            Node::Arr(nodes) => {
                let items = filled.as_array().unwrap_or_default();
                let both = nodes.iter().zip(items).map(|(n, v)| n.unseal(v, secrets, limits));
                both.collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Node::Obj(members) => {
                let mut map = Map::with_capacity(members.len());
                for (k, n) in members.iter() {
                    map.insert(k.clone(), n.unseal(filled.get(k).unwrap_or(&Value::Null), secrets, limits)?);
                }
                Ok(Value::from(map))
            }
        }
    }

    fn is_const(&self) -> bool {
        matches!(self, Node::Const(_))
    }
}

/// What a sealed expression would see, but the secrets: `{"$sealed": {".": …, "$context": …, "locals": […], "now": …}}`.
fn sealed(program: &Program, scope: &Scope<'_>) -> Value {
    let mut seen = Map::new();
    if !is_path_of_secrets(program.source()) {
        seen.insert(Arc::from("."), scope.input.clone());
    }
    let uses = program.uses();
    for global in Global::ALL.into_iter().filter(|g| *g != Global::Secrets && uses.global(*g)) {
        seen.insert(Arc::from(global.name()), scope.globals[global as usize].clone());
    }
    let locals: Vec<Value> =
        scope.locals.iter().enumerate().map(|(i, v)| if uses.local(i) { v.clone() } else { Value::Null }).collect();
    if locals.iter().any(|v| *v != Value::Null) {
        seen.insert(Arc::from("locals"), Value::from(locals));
    }
    if uses.now() {
        seen.insert(Arc::from("now"), Value::from(scope.now.0));
    }
    let mut seal = Map::new();
    seal.insert(Arc::from("$sealed"), Value::from(seen));
    Value::from(seal)
}

/// Whether it is no more than `$secrets.a.b`, which sees nothing of the data.
fn is_path_of_secrets(source: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    source.trim().strip_prefix("$secrets.").is_some_and(|path| path.split('.').all(plain))
}

fn unsealed(program: &Program, seal: &Value, secrets: &Value, limits: &Limits) -> Result<Value, EvalError> {
    let seen = seal.get("$sealed").unwrap_or(&Value::Null);
    let null = Value::Null;
    let locals = seen.get("locals").and_then(Value::as_array).unwrap_or_default();
    let now = seen.get("now").and_then(Value::as_i64).unwrap_or(0);
    let mut scope = Scope::new(seen.get(".").unwrap_or(&null), limits).locals(locals).now(Timestamp(now));
    for global in Global::ALL {
        scope = scope.with(global, seen.get(VARS[global as usize]).unwrap_or(&null));
    }
    program.eval(&scope.with(Global::Secrets, secrets))
}

/// Compiles `inner`, a slice of `text`, and moves the span of an error to where it stands in `text`.
fn compile_within(text: &str, inner: &str, locals: &[&str]) -> Result<Program, CompileError> {
    let offset = inner.as_ptr() as usize - text.as_ptr() as usize;
    let trimmed = inner.trim_start();
    let offset = offset + (inner.len() - trimmed.len());
    Program::compile(trimmed.trim_end(), locals).map_err(|mut e| {
        e.span = e.span.start + offset..e.span.end + offset;
        e
    })
}

struct Compiler<'a> {
    locals: &'a [&'a str],
    loose: bool,
    pointer: String,
    uses: Uses,
    errors: Vec<(String, CompileError)>,
}

impl Compiler<'_> {
    fn node(&mut self, v: &Value) -> Node {
        match v {
            Value::Str(s) => self.text(s, v),
            Value::Arr(a) => {
                let nodes: Vec<Node> =
                    a.iter().enumerate().map(|(i, v)| self.at(&i.to_string(), |c| c.node(v))).collect();
                if nodes.iter().all(Node::is_const) { Node::Const(v.clone()) } else { Node::Arr(nodes.into()) }
            }
            Value::Obj(m) => {
                let nodes: Vec<(Arc<str>, Node)> =
                    m.iter().map(|(k, v)| (k.clone(), self.at(k, |c| c.node(v)))).collect();
                if nodes.iter().all(|(_, n)| n.is_const()) { Node::Const(v.clone()) } else { Node::Obj(nodes.into()) }
            }
            v => Node::Const(v.clone()),
        }
    }

    fn text(&mut self, s: &str, v: &Value) -> Node {
        let compiled = match (expression_source(s), s.find("${")) {
            (Some(inner), _) => compile_within(s, inner, self.locals),
            (None, Some(start)) => Err(embedded(s, start)),
            (None, None) => return self.bare(s, v),
        };
        match compiled {
            Ok(program) => {
                self.uses.merge(program.uses());
                Node::Program(program)
            }
            Err(e) => {
                self.errors.push((self.pointer.clone(), e));
                Node::Const(Value::Null)
            }
        }
    }

    /// A text without `${ … }`.
    fn bare(&mut self, s: &str, v: &Value) -> Node {
        // Secrets are for expressions that say that they are.
        let program = Some(s.trim()).filter(|s| self.loose && !s.is_empty());
        let program = program.and_then(|s| Program::compile(s, self.locals).ok());
        match program.filter(|p| !p.uses().global(Global::Secrets)) {
            Some(program) => {
                self.uses.merge(program.uses());
                Node::Loose(program, v.clone())
            }
            None => Node::Const(v.clone()),
        }
    }

    fn at<T>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let out = f(self);
        self.pointer.truncate(len);
        out
    }
}

/// The error for `text ${ x } text`, with the form that works.
fn embedded(s: &str, start: usize) -> CompileError {
    let mut form = String::new();
    let mut rest = s;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inner, after)) = after.split_once('}') else {
            let hint = "close the expression with `}`";
            return CompileError::new("unclosed `${` in a string", start..s.len(), hint);
        };
        form.push_str(&before.replace('\\', "\\\\").replace('"', "\\\""));
        form.push_str(&format!("\\({})", inner.trim()));
        rest = after;
    }
    form.push_str(&rest.replace('\\', "\\\\").replace('"', "\\\""));
    let end = s[start..].find('}').map_or(s.len(), |i| start + i + 1);
    let message = "an expression inside of a longer string";
    CompileError::new(message, start..end, format!("write ${{ \"{form}\" }}"))
}
