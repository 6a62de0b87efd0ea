//! An answer, whatever its status, and what can be made of it.

use bytes::Bytes;
use cpd_connector_api::{Class, Problem, Standard, Timestamp, Value, json};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Method, Url};

use super::client::shown;
use super::content;
use super::verdict::{Trouble, of_status, retry_after};

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The method of the last hop.
    pub method: Method,
    /// The address of the last hop.
    pub url: Url,
    /// The status.
    pub status: u16,
    /// The headers that went out with the last hop.
    pub sent: HeaderMap,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; of an answer other than 2xx only the beginning.
    pub body: Bytes,
    pub(super) class: Class,
    pub(super) took_effect: bool,
    pub(crate) received: Timestamp,
}

impl Answer {
    /// The answer itself if it is 2xx.
    ///
    /// # Errors
    /// The trouble that the status stands for.
    pub fn success(self) -> Result<Self, Trouble> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(self.refusal())
    }

    /// The answer itself if it is 2xx, or 3xx where redirects are welcome: one that could not be followed is an answer.
    ///
    /// # Errors
    /// The trouble that the status stands for.
    pub fn success_or_redirect(self) -> Result<Self, Trouble> {
        if (200..400).contains(&self.status) { Ok(self) } else { Err(self.refusal()) }
    }

    /// The trouble of a status that is not good.
    fn refusal(&self) -> Trouble {
        let not_before = self.header(RETRY_AFTER).and_then(|v| retry_after(v, self.received));
        let excerpt = content::excerpt(&self.body);
        let mut detail = format!("{} {} answered {}", self.method, shown(&self.url), self.status);
        if !excerpt.is_empty() {
            detail.push_str(&format!(": {excerpt}"));
        }
        if self.took_effect {
            detail.push_str(" (the request itself had been answered with a redirect: it took effect)");
        }
        let problem = self.problem(&detail);
        if self.took_effect {
            return Trouble::Unknown(problem);
        }
        of_status(self.status, self.class, problem, not_before)
    }

    /// The body as JSON, whatever its content type says.
    ///
    /// # Errors
    /// If it is not JSON; see [`Answer::unusable`].
    pub fn json(&self) -> Result<Value, Trouble> {
        self.content(true)
    }

    /// The body by its content type.
    ///
    /// # Errors
    /// If the body is not what its content type, or `json_wanted`, says; see [`Answer::unusable`].
    pub fn content(&self, json_wanted: bool) -> Result<Value, Trouble> {
        content::parse(self.header(CONTENT_TYPE), &self.body, json_wanted).map_err(|what| self.unusable(&what))
    }

    /// The trouble of a good status with an answer that is of no use: to be tried again unless the request may take
    /// effect only once, because by its status it did.
    pub fn unusable(&self, what: &str) -> Trouble {
        let mut detail = format!("{} {} answered {}, but {what}", self.method, shown(&self.url), self.status);
        if self.class == Class::AtMostOnce {
            detail.push_str(" (by its status the request took effect)");
        }
        Trouble::uncertain(self.class, self.problem(&detail))
    }

    /// A header as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub(super) fn problem(&self, detail: &str) -> Problem {
        let status = if (200..300).contains(&self.status) { 502 } else { self.status };
        Problem::standard(Standard::Communication, detail).with_status(status).with_data(json!({
            "method": self.method.as_str(),
            "uri": shown(&self.url),
            "statusCode": self.status,
            "contentType": self.header(CONTENT_TYPE),
            "excerpt": content::excerpt(&self.body),
        }))
    }
}
