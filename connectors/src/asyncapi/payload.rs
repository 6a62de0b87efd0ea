//! Outbound messages against the schemas of the document.
//!
//! Checked is what [`cpd_connector_api::schema`] knows: the usual keywords of JSON Schema, references within the document included.
//! A schema in another language (Avro, Protobuf, RAML), one that refers to itself, or one with other keywords is not checked, and
//! the call's evidence says so: half a check would promise what nobody keeps.
//!
//! Where several messages are possible, one has to fit.

use cpd_connector_api::{Map, Problem, Standard, Value, schema};

use super::document::{Document, Found};

/// The most nodes of a schema, references replaced by what they point to.
const NODES_MAX: usize = 10_000;
/// The deepest nesting of it.
const DEPTH_MAX: usize = 60;

/// What became of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The message fits.
    Fits,
    /// The document describes no message, or one without a schema.
    NoSchema,
    /// It could not be checked.
    NotChecked(String),
}

impl Checked {
    /// For the evidence.
    pub fn said(&self) -> String {
        match self {
            Checked::Fits => "fits".into(),
            Checked::NoSchema => "none".into(),
            Checked::NotChecked(why) => format!("not checked: {why}"),
        }
    }
}

/// Holds `{payload, headers}` against what the document says about the call's messages.
///
/// # Errors
/// A `validation` problem that says what does not fit.
pub fn check(document: &Document, found: &Found<'_>, message: &Value) -> Result<Checked, Problem> {
    let mut misfits = Vec::new();
    let mut checked = Checked::NoSchema;
    for described in &found.messages {
        match one(document, described, message) {
            Ok(Ok(fit)) => return Ok(fit),
            Ok(Err(misfit)) => misfits.push(misfit),
            Err(why) => checked = Checked::NotChecked(why),
        }
    }
    match (misfits.first(), &checked) {
        (Some(first), Checked::NoSchema) => {
            let more = match misfits.len() {
                1 => String::new(),
                n => format!(" (nor does it fit the {} other messages)", n - 1),
            };
            let what = format!("`message` does not fit what the document says of {}: {first}{more}", found.name);
            Err(Problem::standard(Standard::Validation, what))
        }
        _ => Ok(checked),
    }
}

/// The outcome for one of the messages: fits, does not fit, or (outside) cannot be checked.
fn one(document: &Document, described: &Value, message: &Value) -> Result<Result<Checked, String>, String> {
    let mut any = false;
    for part in ["payload", "headers"] {
        let Some(at) = document.member(described, part) else { continue };
        let (language, at) = match at.get("schemaFormat").and_then(Value::as_str) {
            Some(language) if document.is_three() => (Some(language), at.get("schema").unwrap_or(&Value::Null)),
            _ => (described.get("schemaFormat").and_then(Value::as_str).filter(|_| part == "payload"), at),
        };
        if let Some(language) = language.filter(|l| !is_json_schema(l)) {
            return Err(format!("the schema of its {part} is written in {language}"));
        }
        let mut inlined = Inlined { document, within: Vec::new(), nodes: 0 };
        let whole = inlined.schema(at).map_err(|why| format!("the schema of its {part} {why}"))?;
        if let Some(defect) = schema::defects(&whole).first() {
            return Err(format!("the schema of its {part} has what is not checked here: {defect}"));
        }
        any = true;
        let nothing = Value::object();
        let value = message.get(part).unwrap_or(if part == "headers" { &nothing } else { &Value::Null });
        if let Some(first) = schema::check(&whole, value).first() {
            return Ok(Err(format!("{part}: {first}")));
        }
    }
    Ok(Ok(if any { Checked::Fits } else { Checked::NoSchema }))
}

fn is_json_schema(language: &str) -> bool {
    let media = language.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media.starts_with("application/vnd.aai.asyncapi") || media.starts_with("application/schema+")
}

/// A schema with each reference replaced by what it points to.
struct Inlined<'a> {
    document: &'a Document,
    /// The references that are being followed.
    within: Vec<String>,
    nodes: usize,
}

impl Inlined<'_> {
    fn schema(&mut self, at: &Value) -> Result<Value, String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.within.len() > DEPTH_MAX {
            return Err("is too large".into());
        }
        let Some(members) = at.as_object() else { return Ok(at.clone()) };
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            if self.within.iter().any(|known| known == target) {
                return Err("refers to itself".into());
            }
            let pointed =
                self.document.pointed(target).map_err(|_| format!("refers to {target}, which is not there"))?;
            self.within.push(target.to_owned());
            let whole = self.schema(pointed);
            self.within.pop();
            return whole;
        }
        let mut whole = Map::new();
        for (keyword, value) in members {
            let kept = match &**keyword {
                // Of no consequence for what fits, or found through references only.
                "discriminator" | "externalDocs" | "example" | "definitions" | "$defs" => continue,
                extension if extension.starts_with("x-") => continue,
                "properties" => self.each(value)?,
                "items" | "additionalProperties" | "not" => self.schema(value)?,
                "anyOf" | "oneOf" | "allOf" => match value.as_array() {
                    Some(several) => several.iter().map(|s| self.schema(s)).collect::<Result<Value, _>>()?,
                    None => value.clone(),
                },
                _ => value.clone(),
            };
            whole.insert(keyword.clone(), kept);
        }
        Ok(Value::from(whole))
    }

    fn each(&mut self, properties: &Value) -> Result<Value, String> {
        let Some(members) = properties.as_object() else { return Ok(properties.clone()) };
        let mut whole = Map::new();
        for (name, at) in members {
            whole.insert(name.clone(), self.schema(at)?);
        }
        Ok(Value::from(whole))
    }
}
