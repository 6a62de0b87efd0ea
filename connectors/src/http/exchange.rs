//! One exchange: the hops of a call, from the first request to the answer that counts.
//!
//! - Redirects are followed only when the caller asks, and here, not in the library below: credentials stay with the
//!   origin that they were meant for, an `https` address never leads to an `http` one, every hop is held against the rules of
//!   where we may reach, and once a `POST` was answered with "see elsewhere" every later trouble is *unknown*: it took effect.
//! - [`Credentials`] are asked at every hop. A call that has once left its origin carries none any more, not even when it
//!   is sent back: the way back was another's idea. A 401 of the origin itself may be worth another try; they say so.
//! - `Sent` remembers whether a request may have reached the other side, for an end that comes from outside.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cpd_connector_api::{BoxFuture, Class, Problem, Standard, json};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION};
use tokio::time::Instant;

use super::answer::Answer;
use super::client::{Call, HttpClient, refusal, shown};
use super::verdict::Trouble;

/// Of a body that is only good for an error message, this much is read.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// What a call proves who it is with.
pub trait Credentials: Send {
    /// The value of `Authorization` for this hop; `None` if there is nothing to say yet.
    fn authorization<'a>(&'a mut self, call: &'a Call) -> BoxFuture<'a, Result<Option<HeaderValue>, Trouble>>;

    /// Whether a 401 is worth another try with other credentials. Must come to an end.
    ///
    /// # Errors
    /// If the answer means that no credentials can be had.
    fn another(&mut self, refusal: &Answer) -> Result<bool, Trouble>;
}

/// Whether a request may have reached the other side and not been turned away.
#[derive(Debug, Default)]
pub(super) struct Sent(AtomicBool);

impl Sent {
    pub fn maybe(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, sent: bool) {
        self.0.store(sent, Ordering::Relaxed);
    }
}

impl HttpClient {
    pub(super) async fn exchange(
        &self,
        mut call: Call,
        mut credentials: Option<&mut dyn Credentials>,
        sent: &Sent,
    ) -> Result<Answer, Trouble> {
        let limit = Duration::from_millis(self.config().timeout_ms);
        let limit = call.timeout.map_or(limit, |own| own.min(limit));
        let mut end = Instant::now() + limit;
        let (origin, mut took_effect, mut hops) = (call.url.origin(), false, 0);
        loop {
            // After a `POST` that was answered with a redirect, no trouble of the second request undoes the first.
            let certain =
                |trouble: Trouble| if took_effect { Trouble::Unknown(trouble.into_problem()) } else { trouble };
            if let Some(credentials) = &mut credentials {
                call.headers.remove(AUTHORIZATION);
                // Credentials have limits of their own; the time that they take is not the call's.
                let asked = Instant::now();
                if let Some(value) = credentials.authorization(&call).await.map_err(certain)? {
                    call.headers.insert(AUTHORIZATION, value);
                }
                end += asked.elapsed();
            }
            sent.set(true);
            let answer = self.hop(&call, end, took_effect).await.map_err(certain)?;
            if answer.status == 401
                && let Some(credentials) = &mut credentials
            {
                // Turned away at the door: whatever was asked for was not done.
                sent.set(took_effect);
                if credentials.another(&answer).map_err(certain)? {
                    continue;
                }
            }
            let redirected = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            let Some(target) = answer.header(LOCATION).filter(|_| redirected && call.redirect) else {
                return Ok(answer);
            };
            let most = self.config().redirects_max;
            if hops >= most {
                let what = format!("{} {} led to more than {most} redirects", call.method, shown(&call.url));
                return Err(certain(Trouble::Refused(answer.problem(&what))));
            }
            hops += 1;
            let switched = turn(&mut call, answer.status, target).and_then(|switched| {
                self.allowed(&call.url)?;
                Ok(switched)
            });
            took_effect |= switched.map_err(|p| certain(Trouble::Refused(p)))? && call.class == Class::AtMostOnce;
            if call.url.origin() != origin {
                credentials = None;
            }
        }
    }

    async fn hop(&self, call: &Call, end: Instant, took_effect: bool) -> Result<Answer, Trouble> {
        let client = self.library(&call.url).await.map_err(Trouble::Refused)?;
        let mut request = client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .timeout(end.saturating_duration_since(Instant::now()));
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(|e| no_answer(call, e))?;
        let mut answer = Answer {
            method: call.method.clone(),
            url: call.url.clone(),
            status: response.status().as_u16(),
            sent: call.headers.clone(),
            headers: std::mem::take(response.headers_mut()),
            body: Bytes::new(),
            class: call.class,
            took_effect,
            received: self.clock().now(),
        };
        let good = (200..300).contains(&answer.status) || (call.redirect && (300..400).contains(&answer.status));
        if good {
            answer.body = self.body(&answer, &mut response).await?;
        } else {
            // The status says it all; the body is for people, and its loss is no trouble of its own.
            let mut body = BytesMut::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES_MAX - body.len())]);
                if body.len() == ERROR_BODY_BYTES_MAX {
                    break;
                }
            }
            answer.body = body.freeze();
        }
        Ok(answer)
    }

    async fn body(&self, answer: &Answer, response: &mut reqwest::Response) -> Result<Bytes, Trouble> {
        let most = self.config().answer_bytes_max;
        let too_large = |found: String| {
            let problem = answer.problem(&format!(
                "{} {} answered {} with {found}, expected at most {most}",
                answer.method,
                shown(&answer.url),
                answer.status,
            ));
            match answer.class {
                Class::AtMostOnce => Trouble::Unknown(problem),
                Class::Safe | Class::Idempotent => Trouble::Refused(problem),
            }
        };
        // Where the other side says how much is coming, nothing of it is read.
        let announced = response.content_length().filter(|_| answer.method != Method::HEAD);
        if let Some(length) = announced.filter(|l| *l > most as u64) {
            return Err(too_large(format!("{length} bytes")));
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                    return Err(too_large(format!("more than {} bytes", body.len())));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(e) => {
                    let read = body.len();
                    return Err(answer.unusable(&format!("the body broke off after {read} bytes: {}", cause(e))));
                }
            }
        }
    }
}

/// Points `call` at the target of a redirect. Says whether the method became `GET`: the first request was processed.
fn turn(call: &mut Call, status: u16, target: &str) -> Result<bool, Problem> {
    let refuse = |what: String| Problem::standard(Standard::Communication, what).with_status(status);
    let from = shown(&call.url);
    let mut url =
        call.url.join(target).map_err(|e| refuse(format!("{from} redirected to an address that is none: {e}")))?;
    if url.fragment().is_none() {
        url.set_fragment(call.url.fragment());
    }
    if call.url.scheme() == "https" && url.scheme() == "http" {
        return Err(refuse(format!("{from} redirected from https to {}, which is not followed", shown(&url))));
    }
    if url.origin() != call.url.origin() {
        let secret = |name: &HeaderName, value: &HeaderValue| {
            value.is_sensitive() || [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
        };
        let names: Vec<_> = call.headers.iter().filter(|(n, v)| secret(n, v)).map(|(n, _)| n.clone()).collect();
        names.iter().for_each(|name| drop(call.headers.remove(name)));
    }
    call.url = url;
    let read_only = call.method == Method::GET || call.method == Method::HEAD;
    let switch = !read_only && (status == 303 || (status < 303 && call.method == Method::POST));
    if switch {
        call.method = Method::GET;
        call.body = None;
        call.headers.remove(CONTENT_TYPE);
    }
    Ok(switch)
}

/// The trouble of an exchange that brought no answer.
pub(super) fn no_answer(call: &Call, e: reqwest::Error) -> Trouble {
    if let Some(problem) = refusal(&e, &call.url) {
        return Trouble::Refused(problem);
    }
    let (connect, timeout, builder) = (e.is_connect(), e.is_timeout(), e.is_builder());
    let what = format!("{} {}", call.method, shown(&call.url));
    let why = cause(e);
    if builder {
        return Trouble::Refused(Problem::standard(Standard::Validation, format!("{what} is no request: {why}")));
    }
    let (detail, status) = match (connect, timeout) {
        (true, _) => (format!("{what} could not connect: {why}"), 503),
        (false, true) => (format!("{what} was sent and not answered in time"), 504),
        (false, false) => (format!("{what} was sent and got no answer: {why}"), 502),
    };
    let data = json!({"method": call.method.as_str(), "uri": shown(&call.url)});
    let problem = Problem::standard(Standard::Communication, detail).with_status(status).with_data(data);
    if connect { Trouble::failed(problem) } else { Trouble::uncertain(call.class, problem) }
}

/// The innermost reason of a library's error, without the address that it carries.
fn cause(e: reqwest::Error) -> String {
    let e = e.without_url();
    if e.is_timeout() {
        return "time ran out".into();
    }
    let mut last = e.to_string();
    let mut next = e.source();
    while let Some(inner) = next {
        last = inner.to_string();
        next = inner.source();
    }
    last
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::secret::Secret;
    use reqwest::Url;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_redirect_keeps_credentials_only_for_the_same_origin() {
        let mut call = Call::new(Method::POST, url("https://a/x"), Class::AtMostOnce);
        call = call.with_json(&json!({})).with_bearer(&Secret::new("token")).unwrap();
        assert_eq!(turn(&mut call, 307, "/y"), Ok(false));
        assert!(call.headers.contains_key(AUTHORIZATION) && call.body.is_some());
        assert_eq!(turn(&mut call, 303, "https://b/z"), Ok(true));
        assert!(call.headers.is_empty() && call.body.is_none() && call.method == Method::GET);
        assert!(turn(&mut call, 302, "http://b/").unwrap_err().to_string().contains("from https"));
    }
}
