//! What claims give: the first grant that fits counts.

use std::sync::Arc;

use serde_json::Value;

use super::config::{Grant, Wrong};
use super::principal::{Role, Scope};
use super::token;

/// The longest name of a principal that a claim may give, in bytes.
const NAME_MAX: usize = 200;

/// Grants that have been checked.
#[derive(Debug)]
pub(super) struct Grants(Vec<Checked>);

#[derive(Debug)]
struct Checked {
    condition: Option<(String, String)>,
    role: Role,
    reach: Reach,
}

#[derive(Debug)]
enum Reach {
    Fixed(Scope),
    Claim(String),
}

impl Grants {
    /// Checks what the form of the configuration does not.
    pub fn new(place: &str, grants: &[Grant]) -> Result<Self, Wrong> {
        if grants.is_empty() {
            return Err(Wrong::at(place, "found no grants, expected at least one: nobody would be let in"));
        }
        grants.iter().map(|grant| Checked::new(place, grant)).collect::<Result<_, _>>().map(Self)
    }

    /// What these claims give.
    pub fn of(&self, claims: &Value) -> Option<(Role, Scope)> {
        let fits = |c: &&Checked| c.condition.as_ref().is_none_or(|(claim, value)| has(claims, claim, value));
        let grant = self.0.iter().find(fits)?;
        let scope = match &grant.reach {
            Reach::Fixed(scope) => scope.clone(),
            Reach::Claim(claim) => {
                let names = texts(at(claims, claim)?)?;
                // Everything is not for a provider to give away by a value: that takes `namespaces = ["*"]`.
                token::scope(names).ok().filter(|scope| *scope != Scope::All)?
            }
        };
        Some((grant.role, scope))
    }
}

impl Checked {
    fn new(place: &str, grant: &Grant) -> Result<Self, Wrong> {
        let place = format!("[[auth.oidc.grants]] of {place}");
        let condition = match (&grant.claim, &grant.value) {
            (Some(claim), Some(value)) => Some((claim.clone(), value.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(Wrong::at(place, "found `claim` without `value`, expected both or neither")),
            (None, Some(_)) => return Err(Wrong::at(place, "found `value` without `claim`, expected both or neither")),
        };
        let reach = match (&*grant.namespaces, &grant.namespaces_claim) {
            ([], Some(claim)) => Reach::Claim(claim.clone()),
            (names, None) => {
                let scope = token::scope(names.iter().map(String::as_str));
                Reach::Fixed(scope.map_err(|e| Wrong::at(&*place, format!("`namespaces`: {e}")))?)
            }
            (_, Some(_)) => {
                return Err(Wrong::at(place, "found both `namespaces` and `namespaces_claim`, expected one of them"));
            }
        };
        Ok(Self { condition, role: grant.role, reach })
    }
}

/// The claim of that name, or at that JSON pointer.
fn at<'c>(claims: &'c Value, claim: &str) -> Option<&'c Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}

/// Whether a claim is a value, or a list with the value in it.
fn has(claims: &Value, claim: &str, value: &str) -> bool {
    match at(claims, claim) {
        // The only claims that are lists written as one text (RFC 8693, section 4.2; `scp` is Microsoft's).
        Some(Value::String(text)) if matches!(claim, "scope" | "scp") => text.split(' ').any(|word| word == value),
        Some(Value::String(text)) => text == value,
        Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(value)),
        _ => false,
    }
}

fn texts(claim: &Value) -> Option<Vec<&str>> {
    match claim {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The name that a claim gives: a text that stands in a line of a log and looks there like what it is.
pub(super) fn name(claims: &Value, claim: &str) -> Option<Arc<str>> {
    let name = at(claims, claim)?.as_str()?;
    let fit = !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(deceives);
    fit.then(|| name.into())
}

/// The groups that a claim lists; none if it is not there.
pub(super) fn groups(claims: &Value, claim: &str) -> Vec<Arc<str>> {
    let names = at(claims, claim).and_then(texts).unwrap_or_default();
    names.into_iter().filter(|n| !n.is_empty() && !n.chars().any(deceives)).map(Arc::from).collect()
}

/// Whether a character is not seen, or turns the others around.
fn deceives(c: char) -> bool {
    let unseen = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || unseen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grants(toml: &str) -> Result<Grants, String> {
        #[derive(serde::Deserialize)]
        struct Of {
            grants: Vec<Grant>,
        }
        let of: Of = toml::from_str(toml).map_err(|e| e.to_string())?;
        Grants::new("here", &of.grants).map_err(|e| e.to_string())
    }

    #[test]
    fn the_first_that_fits_counts() {
        let grants = grants(
            r#"
            [[grants]]
            claim = "/realm_access/roles"
            value = "admins"
            role = "admin"
            namespaces = ["*"]
            [[grants]]
            claim = "scope"
            value = "cpd.run"
            role = "operator"
            namespaces_claim = "https://example.com/namespaces"
            [[grants]]
            claim = "department"
            value = "risk office"
            role = "approver"
            namespaces = ["fraud"]
            "#,
        )
        .unwrap();
        let fraud = || Scope::Namespaces(["fraud".into()].into());
        let spaces = "https://example.com/namespaces";
        for (claims, expected) in [
            (
                json!({ "realm_access": { "roles": ["x", "admins"] }, "scope": "cpd.run" }),
                Some((Role::Admin, Scope::All)),
            ),
            (json!({ "realm_access": { "roles": "xadmins" } }), None),
            (json!({ "scope": "openid cpd.run", spaces: ["fraud"] }), Some((Role::Operator, fraud()))),
            (json!({ "scope": "openid cpd.run", spaces: "fraud" }), Some((Role::Operator, fraud()))),
            (json!({ "scope": "cpd.run" }), None),
            (json!({ "scope": "cpd.run", spaces: ["*"] }), None),
            (json!({ "scope": "cpd.run", spaces: ["Fraud"] }), None),
            (json!({ "scope": "cpd.run", spaces: [1] }), None),
            (json!({ "scope": "cpd.runs" }), None),
            (json!({ "department": "risk office" }), Some((Role::Approver, fraud()))),
            (json!({ "department": "the risk office" }), None),
            (json!({}), None),
        ] {
            assert_eq!(grants.of(&claims), expected, "{claims}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (toml, said) in [
            ("grants = []", "at least one"),
            ("[[grants]]\nclaim = \"a\"\nrole = \"viewer\"\nnamespaces = [\"a\"]", "`claim` without `value`"),
            ("[[grants]]\nvalue = \"a\"\nrole = \"viewer\"\nnamespaces = [\"a\"]", "`value` without `claim`"),
            ("[[grants]]\nrole = \"viewer\"", "without a namespace"),
            ("[[grants]]\nrole = \"viewer\"\nnamespaces = [\"A\"]", "\"A\""),
            ("[[grants]]\nrole = \"viewer\"\nnamespaces = [\"a\"]\nnamespaces_claim = \"b\"", "one of them"),
            ("[[grants]]\nrole = \"root\"\nnamespaces = [\"a\"]", "\"root\""),
            ("[[grants]]\nrol = \"viewer\"\nnamespaces = [\"a\"]", "`rol`"),
        ] {
            let error = grants(toml).unwrap_err();
            assert!(error.contains(said), "{toml}: {error}");
        }
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name(&json!({ "sub": "alice" }), "sub").as_deref(), Some("alice"));
        for wrong in [
            json!({}),
            json!({ "sub": "" }),
            json!({ "sub": 7 }),
            json!({ "sub": "a\nb" }),
            json!({ "sub": "a\u{202e}b" }),
        ] {
            assert_eq!(name(&wrong, "sub"), None, "{wrong}");
        }
        assert_eq!(name(&json!({ "sub": "x".repeat(201) }), "sub"), None);
    }
}
