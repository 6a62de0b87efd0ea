//! Credentials: those that stand in a definition, and those that it names for nothing.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Linter;
use crate::definition::plan::Plan;
use crate::definition::yaml::{Children, Member, Yaml};

/// What only a credential looks like: forms that their issuers document.
static TOKENS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new([
        // OpenAI and Anthropic, GitHub, GitLab, Slack, AWS, Google, Stripe, npm, Hugging Face.
        r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\bgh[pousr]_[A-Za-z0-9]{36}",
        r"\bgithub_pat_[A-Za-z0-9_]{50,}",
        r"\bglpat-[A-Za-z0-9_-]{20,}",
        r"\bxox[abpors]-[A-Za-z0-9-]{10,}",
        r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\bAIza[0-9A-Za-z_-]{35}",
        r"\b[sr]k_live_[0-9A-Za-z]{20,}",
        r"\bnpm_[A-Za-z0-9]{36}",
        r"\bhf_[A-Za-z0-9]{30,}",
        // A JSON web token, a private key.
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    ])
    .expect("the patterns are right")
});

/// A user with a password in a URL.
static IN_URL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[a-z][a-z0-9+.-]*://[^/\s:@${}]+:[^/\s@${}]+@").expect("the pattern is right"));

/// Members whose literal texts are credentials.
const NAMES: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "clientsecret", "apikey", "accesstoken", "privatekey", "authtoken"];

impl Linter<'_> {
    pub(super) fn secrets(&mut self, plan: &Plan) {
        self.credentials(self.root, None);
        self.unused(plan);
    }

    /// Walks every text of the document.
    pub(super) fn credentials(&mut self, yaml: &Yaml, member: Option<&Member>) {
        match &yaml.children {
            Children::Map(members) => {
                for member in members {
                    // What an authentication says of itself is the reader's to judge; a schema describes and holds nothing.
                    let elsewhere = matches!(&*member.key, "authentication" | "authentications" | "schema");
                    if !elsewhere {
                        self.credentials(&member.value, Some(member));
                    }
                }
            }
            Children::List(items) => items.iter().for_each(|y| self.credentials(y, member)),
            Children::None => {
                let Some(text) = yaml.text() else { return };
                let what = if TOKENS.is_match(text) {
                    "this looks like a token"
                } else if IN_URL.is_match(text) {
                    "this URL has a password"
                } else if member.is_some_and(|m| named(&m.key)) && literal(text) {
                    "this looks like a credential"
                } else {
                    return;
                };
                let d = self.advise(
                    "plain-credential",
                    yaml.mark,
                    format!("{what}; it would stand in the journal, and in every copy"),
                );
                d.hint = Some(
                    "take it out and change it; declare it in `use.secrets`, and write '${ $secrets.my_token }' in `with`".into(),
                );
                d.conceal();
            }
        }
    }

    /// Names in `use.secrets` that nothing mentions.
    fn unused(&mut self, plan: &Plan) {
        if plan.secrets.is_empty() {
            return;
        }
        let mut mentioned = Vec::new();
        for member in self.root.members().unwrap_or_default() {
            match &*member.key {
                "use" => {
                    let rest = member.value.members().unwrap_or_default().iter().filter(|m| &*m.key != "secrets");
                    rest.for_each(|m| texts(&m.value, &mut mentioned));
                }
                _ => texts(&member.value, &mut mentioned),
            }
        }
        // An expression that takes a secret by a computed name may mean any of them.
        let bare = |text: &&str| {
            text.match_indices("$secrets")
                .any(|(at, word)| !text[at + word.len()..].trim_start().starts_with(['.', '[']))
        };
        let computed = |text: &&str| text.contains("$secrets[") && !text.contains("$secrets[\"");
        if mentioned.iter().any(|t| bare(t) || computed(t)) {
            return;
        }
        let Some((list, _)) = self.at("/use/secrets") else { return };
        for item in list.items().unwrap_or_default() {
            let Some(name) = item.text() else { continue };
            let used = |text: &&str| *text == name || (text.contains("$secrets") && text.contains(name));
            if !mentioned.iter().any(used) {
                let message = format!("nothing mentions the secret `{name}`");
                self.advise("unused-component", item.mark, message).hint =
                    Some("a run is given no secret that it does not need: take the name out".into());
            }
        }
    }
}

fn named(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.contains(&plain.as_str())
}

/// Whether a text could be a credential and not the name of one.
fn literal(text: &str) -> bool {
    text.len() >= 6 && !text.contains("${") && !text.starts_with(['.', '$', '<']) && !text.contains(' ')
}

fn texts<'y>(yaml: &'y Yaml, out: &mut Vec<&'y str>) {
    match &yaml.children {
        Children::Map(members) => members.iter().for_each(|m| texts(&m.value, out)),
        Children::List(items) => items.iter().for_each(|y| texts(y, out)),
        Children::None => out.extend(yaml.text()),
    }
}
