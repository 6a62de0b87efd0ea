//! `authentication`: inline, or by the name of one in `use.authentications`, with its secrets by name or by `$secrets`.
//!
//! A named one is written into the call that uses it. The connector checks the members of a scheme; here are the names.

use std::sync::Arc;

use super::Reader;
use super::call::has_expression;
use crate::Value;
use crate::definition::diagnostic::Span;
use crate::definition::names;
use crate::definition::yaml::Yaml;
use crate::value::Map;

/// The schemes of the language.
const SCHEMES: [&str; 5] = ["basic", "bearer", "digest", "oauth2", "oidc"];

impl<'a> Reader<'a> {
    /// An `authentication`, written out.
    pub fn authentication(&mut self, yaml: &'a Yaml) -> Option<Value> {
        // By name: as the reference says, or as the schema does.
        let bare = Some(yaml).filter(|y| y.text().is_some() && !has_expression(y));
        let used = || yaml.get("use").filter(|_| yaml.members().is_some_and(|m| m.len() == 1));
        let Some(name) = bare.or_else(used) else { return self.policy(yaml) };
        let text = self.text(name, "`authentication.use`")?;
        match self.components.authentications.get_mut(text) {
            Some(entry) => {
                entry.used = true;
                let shared = &entry.member.value;
                self.policy(shared)
            }
            None => {
                let known: Vec<&'a str> = self.components.authentications.keys().copied().collect();
                let message = format!("there is no authentication `{text}` in `use.authentications`");
                self.unknown_name("unknown-authentication", name.mark, message, text, known);
                None
            }
        }
    }

    /// One of the schemes, with its members.
    pub fn policy(&mut self, yaml: &'a Yaml) -> Option<Value> {
        let fields = self.fields(yaml, "`authentication`", &SCHEMES)?;
        let Some([member]) = yaml.members() else {
            let names = SCHEMES.map(|s| format!("`{s}`")).join(", ");
            self.error("wrong-shape", yaml.mark, format!("`authentication`: expected exactly one of {names}"));
            return None;
        };
        let scheme = fields.get(&member.key)?;
        let what = format!("`authentication.{}`", member.key);
        self.object(scheme, &what)?;
        if let Some(secret) = scheme.get("use") {
            let name = self.text(secret, &format!("{what}.use"))?;
            self.secret_is_declared(name, secret.mark);
        } else {
            self.secrets_are_declared(scheme);
            self.plain_credentials(scheme);
        }
        let mut out = Map::new();
        out.insert(Arc::from(&*member.key), scheme.value.clone());
        Some(Value::from(out))
    }

    pub fn secret_is_declared(&mut self, name: &str, place: Span) {
        if self.components.secrets.iter().any(|s| **s == *name) {
            return;
        }
        let secrets = self.components.secrets.clone();
        let message = format!("there is no secret `{name}` in `use.secrets`");
        self.unknown_name("unknown-secret", place, message, name, names::texts(&secrets));
        if let Some(d) = self.found.last_mut() {
            d.hint.get_or_insert_with(|| format!("declare it: `use: {{ secrets: [ {name} ] }}`"));
        }
    }

    /// Warns about credentials that stand in the definition itself.
    fn plain_credentials(&mut self, scheme: &'a Yaml) {
        let secret = ["password", "token", "secret"];
        let of = |y: &'a Yaml| secret.into_iter().filter_map(move |key| y.get(key));
        let members = of(scheme).chain(scheme.get("client").into_iter().flat_map(of));
        let plain: Vec<&'a Yaml> = members.filter(|y| y.text().is_some_and(|t| !t.contains("$secrets"))).collect();
        for yaml in plain {
            let d = self.warning("secret-in-journal", yaml.mark, "a credential that will stand in the journal");
            d.hint = Some("name a secret: `bearer: { use: my-token }`, or '${ $secrets.my_token }'".into());
        }
    }
}
