//! The members of a policy's objects: read by name, said exactly what is wrong, and never echoed.

use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Map, Problem, Standard, Value};
use reqwest::Url;

/// An object of a policy, and where it stands.
pub(super) struct Members<'a> {
    at: String,
    map: &'a Map,
}

/// A `configuration` problem.
pub(super) fn wrong(what: impl AsRef<str>) -> Problem {
    Problem::standard(Standard::Configuration, what)
}

impl<'a> Members<'a> {
    /// The members of `value`, all of which have to be known.
    pub fn of(value: &'a Value, at: &str, known: &[&str]) -> Result<Self, Problem> {
        let map =
            value.as_object().ok_or_else(|| wrong(format!("`{at}`: found {}, expected an object", value.kind())))?;
        if let Some(stranger) = map.keys().find(|k| !known.contains(&&***k)) {
            let near = known.iter().filter(|k| strsim::damerau_levenshtein(k, stranger) <= 2);
            let near = near.min_by_key(|k| strsim::damerau_levenshtein(k, stranger));
            let hint = near.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"));
            return Err(wrong(format!("`{at}`: found {stranger:?}, expected {}{hint}", one_of(known))));
        }
        Ok(Self { at: at.to_owned(), map })
    }

    /// Where a member stands.
    pub fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    /// A member that is there and not `null`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// A text, or a number as text: `password: 1234` is a number in YAML.
    pub fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text.to_string())),
            Some(number @ Value::Num(_)) => Ok(Some(number.to_json())),
            Some(other) => Err(self.not(name, other, "a text")),
        }
    }

    /// A text that has to be there.
    pub fn needed(&self, name: &str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| wrong(format!("`{}`: found nothing, expected a text", self.at(name))))
    }

    /// A text that has to be there and has to say something.
    pub fn filled(&self, name: &str) -> Result<String, Problem> {
        let text = self.needed(name)?;
        if text.is_empty() {
            return Err(wrong(format!("`{}`: found an empty text, expected one that says something", self.at(name))));
        }
        Ok(text)
    }

    /// A secret that may be missing.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, Problem> {
        Ok(self.text(name)?.filter(|t| !t.is_empty()).map(Secret::new))
    }

    /// A list of texts; a missing one is empty.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Problem> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| self.not(name, value, "a list of texts"))?;
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| self.not(name, item, "texts in the list")))
            .collect()
    }

    /// One of several words.
    pub fn word<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let names: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let found = known.iter().find(|(word, _)| *word == text).map(|(_, t)| *t);
        found
            .map(Some)
            .ok_or_else(|| wrong(format!("`{}`: found {text:?}, expected {}", self.at(name), one_of(&names))))
    }

    /// An absolute `http` or `https` address that has to be there.
    pub fn url(&self, name: &str) -> Result<Url, Problem> {
        let text = self.filled(name)?;
        web(&text, &format!("`{}`", self.at(name)))
    }

    fn not(&self, name: &str, found: &Value, expected: &str) -> Problem {
        wrong(format!("`{}`: found {}, expected {expected}", self.at(name), found.kind()))
    }
}

/// An absolute `http` or `https` address; `whose` begins the message.
pub(super) fn web(text: &str, whose: &str) -> Result<Url, Problem> {
    match text.trim().parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(wrong(format!("{whose}: found scheme {:?}, expected http or https", url.scheme()))),
        Err(e) => Err(wrong(format!("{whose}: found no absolute address ({e}), expected https://host/path"))),
    }
}

/// `a`, `b` or `c`.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".into(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
