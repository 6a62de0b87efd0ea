//! Functions: tasks that are written once and called by name, from `use.functions`, from a catalog, or at an address.
//!
//! A call of a function becomes a list of one task, the function, whose input is the evaluated `with`. A function from
//! elsewhere is a document that holds one task; it is loaded and pinned when the definition is registered, sees none of the
//! definition's `use` but its secrets, and what is wrong in it is said at the call, with its own line.

use std::mem;
use std::sync::Arc;

use super::components::Components;
use super::shape::Fields;
use super::task::ListKind;
use super::{Reader, Within, escaped};
use crate::definition::diagnostic::{Diagnostic, Severity, Span};
use crate::definition::plan::{Action, NodeId, OnUnknown, Plan};
use crate::definition::resolve::Reference;
use crate::definition::yaml::{self, Member, Yaml};
use crate::resource::Wanted;

/// How deep functions may call functions.
const DEPTH_MAX: usize = 16;

impl<'a> Reader<'a> {
    /// A call of a function of `use.functions`.
    pub fn named_function(
        &mut self,
        id: NodeId,
        call: &'a Yaml,
        name: &'a str,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        let entry = self.components.functions.get_mut(name)?;
        entry.used = true;
        let member = entry.member;
        self.function(id, call.mark, Function { name, member, document: None }, fields, within)
    }

    /// A call of a function of a catalog that `use.catalogs` names.
    pub fn catalog_function(
        &mut self,
        id: NodeId,
        call: &'a Yaml,
        reference: Reference<'a>,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        let Reference { name, version, catalog } = reference;
        let catalog = catalog.unwrap_or_default();
        let Some(entry) = self.components.catalogs.get_mut(catalog) else {
            let known: Vec<&str> = self.components.catalogs.keys().copied().chain(["default"]).collect();
            let message = format!("there is no catalog `{catalog}` in `use.catalogs`");
            self.unknown_name("unknown-catalog", call.mark, message, catalog, known);
            return None;
        };
        entry.used = true;
        let member = entry.member;
        let endpoint = self.catalog(member)?;
        let Some(version) = version else {
            let d = self.error("missing-version", call.mark, format!("`{name}@{catalog}` does not say which version"));
            d.hint = Some(format!("write `{name}:1.0.0@{catalog}`, with the version that you mean"));
            return None;
        };
        let uri = format!("{}/functions/{name}/{version}/function.yaml", endpoint.uri.trim_end_matches('/'));
        let wanted = Wanted { uri: Arc::from(raw(&uri)), authentication: endpoint.authentication };
        self.function_at(id, call, name, wanted, fields, within)
    }

    /// Where a catalog is.
    pub fn catalog(&mut self, member: &'a Member) -> Option<Wanted> {
        let what = format!("`use.catalogs.{}`", member.key);
        let fields = self.fields(&member.value, &what, &["endpoint"])?;
        let endpoint = self.required(fields, "endpoint", &what)?;
        self.document_address(endpoint, &format!("{what}.endpoint"))
    }

    /// A call of a function by its address.
    pub fn function_by_address(
        &mut self,
        id: NodeId,
        call: &'a Yaml,
        address: &'a str,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        let name = address.trim_end_matches("/function.yaml").rsplit('/').next().unwrap_or(address);
        let wanted = Wanted { uri: Arc::from(raw(address)), authentication: None };
        self.function_at(id, call, name, wanted, fields, within)
    }

    fn function_at(
        &mut self,
        id: NodeId,
        call: &'a Yaml,
        name: &'a str,
        wanted: Wanted,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        let uri = wanted.uri.clone();
        let resource = self.document_at(wanted, call.mark)?;
        let text = match resource.text() {
            Ok(text) => self.texts.alloc(text.to_owned()).as_str(),
            Err(problem) => {
                let why = problem.detail.as_deref().unwrap_or("it is no text");
                self.error("invalid-function", call.mark, why);
                return None;
            }
        };
        let root = match yaml::parse(text) {
            Ok(root) => root,
            Err(found) => {
                found.into_iter().for_each(|d| self.retell(d, &uri, call.mark));
                return None;
            }
        };
        let member = self.members.alloc(Member { key: Arc::from(name), key_span: call.mark, value: root });
        let function = Function { name, member, document: Some((uri, text)) };
        self.function(id, call.mark, function, fields, within)
    }

    /// The list of one task that a call of a function is.
    fn function(
        &mut self,
        id: NodeId,
        place: Span,
        function: Function<'a>,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        let Function { name, member, document } = function;
        if self.calling.len() >= DEPTH_MAX || self.calling.iter().any(|c| c == name) {
            let path = self.calling.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(" → ");
            let d = self.error("nested-function", place, format!("functions call each other without end: {path}"));
            d.hint = Some("call the operation itself".into());
            return None;
        }
        let input = fields.get("with").and_then(|w| self.template(w, within));
        let line = if document.is_some() { place.line } else { member.key_span.line };
        // A function that looks at its input before it runs has to find `with` there already: one step more.
        let step = ["input", "if"].iter().any(|key| member.value.get(key).is_some());
        let (pointer, name) = (self.node(id).pointer.clone(), Arc::<str>::from(name));
        let parent = if step {
            let pointer = Arc::from(format!("{pointer}/with/{}", escaped(&name)));
            self.reserve(name.clone(), pointer, (Some(id), 0), &member.value, line)
        } else {
            id
        };
        let pointer = Arc::from(format!("{pointer}/call/{}", escaped(&name)));
        let body = self.reserve(name.clone(), pointer, (Some(parent), 0), &member.value, line);

        // What an expression of the function can see are its input and the context, not the variables around the call.
        // Their values are there all the same, so their places are kept.
        let locals = (0..within.locals.len()).map(|i| Arc::from(format!("$#{i}"))).collect();
        let inner = Within { parent, pointer: String::new(), locals };
        let before = self.errors;
        self.calling.push(name.to_string());
        let jumps = mem::take(&mut self.jumps);
        match document {
            None => self.task(body, member, &inner),
            Some((uri, text)) => {
                let secrets = self.components.secrets.clone();
                let components = mem::replace(&mut self.components, Components { secrets, ..Components::default() });
                let source = mem::replace(&mut self.source, text);
                let (found, lost) = (mem::take(&mut self.found), mem::take(&mut self.lost));
                self.task(body, member, &inner);
                self.lost = lost;
                let said = mem::replace(&mut self.found, found);
                self.source = source;
                self.components = components;
                said.into_iter().for_each(|d| self.retell(d, &uri, place));
            }
        }
        let jumps = mem::replace(&mut self.jumps, jumps);
        self.resolve(&jumps, &[(member, body)], ListKind::Sequence);
        self.calling.pop();
        if self.errors > before {
            return None;
        }

        // The effect is the function's task, and so are its key and what becomes of it.
        if let Some(key) = self.node(id).key.take() {
            self.node(body).key.get_or_insert(key);
        }
        let on_unknown = self.node(id).on_unknown;
        if self.node(body).on_unknown == OnUnknown::default() {
            self.node(body).on_unknown = on_unknown;
        }
        if step {
            self.node(parent).action = Action::Do(vec![body]);
            self.node(parent).input_from = input;
            return Some(Action::Do(vec![parent]));
        }
        self.node(body).input_from = input;
        Some(Action::Do(vec![body]))
    }

    /// Reads a function that nothing calls, so that its errors are found. Leaves nothing behind.
    pub fn unused_function(&mut self, name: &'a str, member: &'a Member) {
        let (nodes, pins) = (self.nodes.len(), self.pins.len());
        let within = Within { parent: Plan::ROOT, pointer: String::new(), locals: Arc::from([]) };
        let id = self.reserve(Arc::from(name), Arc::from(""), (None, 0), &member.value, member.key_span.line);
        let jumps = mem::take(&mut self.jumps);
        self.task(id, member, &within);
        self.jumps = jumps;
        self.nodes.truncate(nodes);
        self.pins.truncate(pins);
    }

    /// Says at a call what is wrong in the document that it calls.
    fn retell(&mut self, found: Diagnostic, uri: &str, place: Span) {
        let at = found.span.map_or(String::new(), |s| format!(":{}:{}", s.line, s.column));
        let message = format!("{uri}{at}: {}", found.message);
        let mut told = match found.severity {
            Severity::Error => {
                self.errors = self.errors.saturating_sub(1);
                Diagnostic::error(found.code, message)
            }
            Severity::Warning => {
                self.warnings = self.warnings.saturating_sub(1);
                Diagnostic::warning(found.code, message)
            }
        };
        (told.span, told.hint, told.notes) = (Some(place), found.hint, found.notes);
        self.say(told);
    }
}

/// A function that is called.
struct Function<'a> {
    name: &'a str,
    /// The task that it is.
    member: &'a Member,
    /// The address and the text of its document, if it is not of this one.
    document: Option<(Arc<str>, &'a str)>,
}

/// The address of the text of a file that is given by the page that shows it on GitHub or GitLab.
fn raw(address: &str) -> String {
    if let Some(rest) = address.strip_prefix("https://github.com/") {
        let mut parts = rest.splitn(4, '/');
        if let (Some(owner), Some(repo), Some("tree" | "blob" | "raw"), Some(path)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            return format!("https://raw.githubusercontent.com/{owner}/{repo}/{path}");
        }
    }
    match address.strip_prefix("https://gitlab.com/") {
        Some(_) => address.replacen("/-/tree/", "/-/raw/", 1).replacen("/-/blob/", "/-/raw/", 1),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::raw;

    #[test]
    fn pages_of_git_hosts_become_files() {
        let found = raw("https://github.com/o/r/tree/main/functions/f/1.0.0/function.yaml");
        assert_eq!(found, "https://raw.githubusercontent.com/o/r/main/functions/f/1.0.0/function.yaml");
        assert_eq!(raw("https://gitlab.com/o/r/-/blob/main/f.yaml"), "https://gitlab.com/o/r/-/raw/main/f.yaml");
        assert_eq!(raw("https://example.com/tree/f.yaml"), "https://example.com/tree/f.yaml");
    }
}
