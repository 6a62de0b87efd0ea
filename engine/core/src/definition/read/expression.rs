//! Expressions in their three kinds of place: conditions, filters and values.
//!
//! In conditions and filters (`if`, `when`, `while`, `for.in`, `input.from`, `output.as`, `export.as`) there is nothing but
//! expressions, so `${ … }` may be left out. In values (`set`, `with`, `raise.error`, `emit`) only what stands in `${ … }`
//! is one; a literal that looks as if it were meant as one gets a warning.
//!
//! What an expression may mention: the eight globals and the variables of loops and catches around it. `$secrets` is for
//! the arguments of calls; `$authorization` is refused until callers have claims.

use std::ops::Range;

use super::{Reader, Within};
use crate::definition::diagnostic::Diagnostic;
use crate::definition::duration;
use crate::definition::plan::Span;
use crate::definition::yaml::{Children, Yaml, position};
use crate::expression::{self, CompileError, Global, Program, Template, Uses};

/// Names of variables, as the compiler takes them.
pub fn names(within: &Within) -> Vec<&str> {
    within.locals.iter().map(|l| &**l).collect()
}

impl<'a> Reader<'a> {
    /// An expression with or without `${ … }`.
    pub fn condition(&mut self, yaml: &'a Yaml, what: &str, within: &Within) -> Option<Program> {
        let Some(text) = yaml.text() else {
            let d = self.wrong_type(yaml, what, "an expression");
            if matches!(yaml.value, crate::Value::Bool(_)) {
                d.hint = Some(format!("quote it: '{}'", yaml.value));
            }
            return None;
        };
        self.program(yaml, expression::condition_source(text), within)
    }

    /// A part of a text as a program. `inner` is a slice of the text of `yaml`.
    fn program(&mut self, yaml: &'a Yaml, inner: &str, within: &Within) -> Option<Program> {
        let text = yaml.text()?;
        let trimmed = inner.trim();
        if trimmed.is_empty() {
            let d = self.error("invalid-expression", yaml.mark, "found an empty expression");
            d.hint = Some("`.` is the data as it is".into());
            return None;
        }
        let offset = (trimmed.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        match Program::compile(trimmed, &names(within)) {
            Ok(program) => {
                self.forbidden(program.uses(), yaml);
                Some(program)
            }
            Err(e) => {
                self.bad_expression(yaml, &e, e.span.start + offset..e.span.end + offset);
                None
            }
        }
    }

    /// An expression, or an object with expressions inside.
    pub fn filter(&mut self, yaml: &'a Yaml, what: &str, within: &Within) -> Option<Template> {
        match (yaml.text(), yaml.members()) {
            (Some(text), _) => {
                self.program(yaml, expression::condition_source(text), within)?;
                Template::expression(text, &names(within)).ok()
            }
            (None, Some(_)) => self.template(yaml, within),
            (None, None) => {
                self.wrong_type(yaml, what, "an expression, or an object with expressions");
                None
            }
        }
    }

    /// Data with `${ … }` inside.
    pub fn template(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Template> {
        self.template_of(yaml, &yaml.value, within)
    }

    /// The same for a value that was made of `yaml`.
    pub fn template_of(&mut self, yaml: &'a Yaml, value: &crate::Value, within: &Within) -> Option<Template> {
        if !self.loose {
            self.lookalikes(yaml, within);
        }
        match Template::compile_in(value, &names(within), self.loose) {
            Ok(template) => {
                self.forbidden(template.uses(), yaml);
                Some(template)
            }
            Err(errors) => {
                for (pointer, e) in errors {
                    let (node, _) = yaml.at_pointer(&pointer);
                    self.bad_expression(node, &e, e.span.clone());
                }
                None
            }
        }
    }

    /// A value that must be one `${ … }`.
    pub fn whole_expression(&mut self, yaml: &'a Yaml, what: &str, within: &Within) -> Option<Template> {
        let text = yaml.text()?;
        if expression::expression_source(text).is_none() && !self.loose {
            let d =
                self.error("wrong-type", yaml.mark, format!("{what}: found a text, expected an object or `${{ … }}`"));
            d.hint = Some(format!("an expression stands in `${{ … }}` here: '${{ {} }}'", text.trim()));
            return None;
        }
        self.template(yaml, within)
    }

    /// A span of time: literal, or computed by `${ … }`.
    pub fn span(&mut self, yaml: &'a Yaml, what: &str, within: &Within) -> Option<Span> {
        if let Some(inner) = yaml.text().and_then(expression::expression_source) {
            return self.program(yaml, inner, within).map(Span::Computed);
        }
        self.fixed_span(yaml, what).map(Span::Fixed)
    }

    /// A literal span of time.
    pub fn fixed_span(&mut self, yaml: &'a Yaml, what: &str) -> Option<std::time::Duration> {
        if yaml.text().is_some_and(|t| expression::expression_source(t).is_some()) {
            let d = self.error("computed-duration", yaml.mark, format!("{what}: found an expression"));
            d.label = Some("expected a literal duration such as `PT30S`".into());
            return None;
        }
        match duration::from_value(&yaml.value) {
            Ok(span) => Some(span),
            Err(e) => {
                let hint = match yaml.text() {
                    Some(t) if t.starts_with(['.', '$']) => {
                        Some(format!("an expression stands in `${{ … }}`: '${{ {t} }}'"))
                    }
                    _ => e.hint().map(str::to_owned),
                };
                self.error("invalid-duration", yaml.mark, format!("{what}: {e}")).hint = hint;
                None
            }
        }
    }

    fn bad_expression(&mut self, yaml: &Yaml, e: &CompileError, span: Range<usize>) {
        let place = position::locate(self.source, yaml, span.start, span.end);
        let mut d = Diagnostic::error("invalid-expression", e.message.clone()).at(place).hint(e.hint.clone());
        if place == yaml.mark && yaml.span.end > yaml.mark.end {
            d = d.note(format!("at character {} of the expression", span.start));
        }
        self.say(d);
    }

    fn forbidden(&mut self, uses: &Uses, yaml: &Yaml) {
        self.secrets(uses, yaml);
        for (global, name, why) in
            [(Global::Authorization, "$authorization", "callers have no claims yet; pass what you need in the input")]
        {
            if uses.global(global) {
                let place = mention(yaml, name)
                    .map_or(yaml.mark, |(node, at)| position::locate(self.source, node, at, at + name.len()));
                self.not_yet(place, &format!("`{name}`"), why);
            }
        }
    }

    /// The arguments of a call, in which `$secrets` may be mentioned.
    pub fn arguments_of(&mut self, yaml: &'a Yaml, value: &crate::Value, within: &Within) -> Option<Template> {
        self.may_seal = true;
        let template = self.template_of(yaml, value, within);
        self.may_seal = false;
        template
    }

    /// Secrets are for calls: anywhere else their values would stand in the journal.
    fn secrets(&mut self, uses: &Uses, yaml: &Yaml) {
        if !uses.global(Global::Secrets) {
            return;
        }
        let name = "$secrets";
        let place = mention(yaml, name)
            .map_or(yaml.mark, |(node, at)| position::locate(self.source, node, at, at + name.len()));
        if !self.may_seal {
            let d = self.error("secret-in-data", place, "`$secrets` is mentioned outside of the arguments of a call");
            d.label = Some("its value would stand in the journal".into());
            d.hint = Some("mention it in `with`, where it is looked up at the moment of the call".into());
        } else if self.components.secrets.is_empty() {
            let d = self.error("unknown-secret", place, "`$secrets` is mentioned, and `use.secrets` names none");
            d.hint = Some("declare it: `use: { secrets: [ my_token ] }`".into());
        } else {
            self.secrets_are_declared(yaml);
        }
    }

    /// A secret that is not declared would be null, and a call would go out with the text `null` for a token.
    pub fn secrets_are_declared(&mut self, yaml: &Yaml) {
        match &yaml.children {
            Children::Map(members) => members.iter().for_each(|m| self.secrets_are_declared(&m.value)),
            Children::List(items) => items.iter().for_each(|n| self.secrets_are_declared(n)),
            Children::None => {
                let Some(text) = yaml.text().filter(|t| t.contains("${")) else { return };
                for (name, at) in secret_names(text) {
                    let place = position::locate(self.source, yaml, at, at + name.len());
                    self.secret_is_declared(name, place);
                }
            }
        }
    }

    /// Warns about literal texts that were probably meant as expressions.
    fn lookalikes(&mut self, yaml: &'a Yaml, within: &Within) {
        match &yaml.children {
            Children::Map(members) => members.iter().for_each(|m| self.lookalikes(&m.value, within)),
            Children::List(items) => items.iter().for_each(|n| self.lookalikes(n, within)),
            Children::None => {
                let Some(text) = yaml.text() else { return };
                let path = text.strip_prefix('.').or_else(|| text.strip_prefix('$')).unwrap_or("");
                let begins = path.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                let variable = text.starts_with('$');
                let path_only = path.chars().all(|c| c.is_ascii_alphanumeric() || "._[]".contains(c));
                if begins && (variable || path_only) && Program::compile(text, &names(within)).is_ok() {
                    let d = self.warning("literal-text", yaml.mark, format!("`{text}` is a literal text here"));
                    d.hint = Some(format!("if it is meant as an expression, write '${{ {text} }}'"));
                }
            }
        }
    }
}

/// The secrets that a text names, as `$secrets.name`, `$secrets["name"]` or `$secrets."name"`, and where in it the names stand.
fn secret_names(text: &str) -> impl Iterator<Item = (&str, usize)> {
    const VARIABLE: &str = "$secrets";
    text.match_indices(VARIABLE).filter_map(move |(at, _)| {
        let start = at + VARIABLE.len();
        let rest = &text[start..];
        let path = rest.trim_start_matches([' ', '.', '[']);
        let (path, quoted) = path.strip_prefix('"').map_or((path, false), |p| (p, true));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = path.find(|c| if quoted { c == '"' } else { !plain(c) }).unwrap_or(path.len());
        let accessed = rest.trim_start().starts_with(['.', '[']);
        (accessed && end > 0).then(|| (&path[..end], start + rest.len() - path.len()))
    })
}

/// The first text that mentions a variable, and where in it.
fn mention<'y>(yaml: &'y Yaml, name: &str) -> Option<(&'y Yaml, usize)> {
    match &yaml.children {
        Children::Map(members) => members.iter().find_map(|m| mention(&m.value, name)),
        Children::List(items) => items.iter().find_map(|n| mention(n, name)),
        Children::None => yaml.text()?.find(name).map(|at| (yaml, at)),
    }
}
