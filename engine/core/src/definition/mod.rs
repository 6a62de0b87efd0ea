//! Workflow definitions: from text to a checked, typed [`plan::Plan`].

pub mod duration;
pub mod plan;
// STUB-BEGIN
#[allow(missing_docs)]
pub mod diagnostic {
    #[derive(Debug, Clone)]
    pub struct Diagnostic { pub message: String }
    impl Diagnostic { pub fn error(_c: &str, message: String) -> Self { Self { message } } }
}
pub use diagnostic::Diagnostic;
#[allow(missing_docs)]
pub trait Environment {
    fn operation(&self, name: &str, version: Option<&str>) -> Option<crate::catalog::OperationSpec>;
    fn operation_names(&self) -> Vec<std::sync::Arc<str>>;
    fn policy(&self, name: &str, version: Option<&str>) -> Option<std::sync::Arc<crate::policy::Policy>>;
    fn policy_names(&self) -> Vec<std::sync::Arc<str>>;
    fn agent(&self, name: &str, version: Option<&str>) -> Option<plan::Pin>;
    fn agent_names(&self) -> Vec<std::sync::Arc<str>>;
}
#[allow(missing_docs)]
pub struct Compiled { pub plan: plan::Plan, pub warnings: Vec<Diagnostic> }
#[allow(missing_docs)]
pub enum DocumentKind { Workflow, Policy, Agent }
#[allow(missing_docs)]
pub fn kind_of(_s: &str, _f: &str) -> Result<DocumentKind, Vec<Diagnostic>> { Ok(DocumentKind::Workflow) }
#[allow(missing_docs)]
pub fn read_value(s: &str, _f: &str) -> Result<crate::Value, Vec<Diagnostic>> { crate::Value::from_json(s.as_bytes()).map_err(|e| vec![Diagnostic { message: e.to_string() }]) }
#[allow(missing_docs)]
pub fn alias_of(_s: &str) -> Option<std::sync::Arc<str>> { None }
#[allow(missing_docs)]
pub fn compile(source: &str, _file: &str, env: &dyn Environment) -> Result<Compiled, Vec<Diagnostic>> {
    use plan::*; use std::sync::Arc; use crate::Value; use crate::expression::Template;
    let doc = read_value(source, "")?;
    let ops: Vec<String> = doc.get("ops").unwrap().to().unwrap();
    let mk = |id: u32, name: &str, parent, index, action| Node { id: NodeId(id), name: Arc::from(name), pointer: Arc::from(if id == 0 { String::new() } else { format!("/do/{index}/{name}") }), parent, index, line: 1, definition: Value::Null, locals: Arc::from([]), condition: None, input_from: None, output_as: None, export_as: None, timeout: None, then: Then::Continue, key: None, on_unknown: OnUnknown::Ask, action };
    let mut nodes = vec![mk(0, "w", None, 0, Action::Do((1..=ops.len() as u32).map(NodeId).collect()))];
    for (i, op) in ops.iter().enumerate() {
        let with = Template::compile(&doc.get("with").cloned().unwrap_or_else(Value::object), &[]).unwrap();
        nodes.push(mk(i as u32 + 1, &format!("step{i}"), Some(NodeId(0)), i as u32, Action::Call(Call { operation: env.operation(op, None).unwrap(), with })));
    }
    Ok(Compiled { warnings: vec![], plan: Plan { namespace: Arc::from("bench"), name: Arc::from("job"), version: Arc::from("1.0.0"), title: None, summary: None, alias: None, digest: Digest([7; 32]), source: Arc::from(source), document: doc, nodes, pins: vec![], start_key: None, default_input: Value::object() } })
}
// STUB-END
