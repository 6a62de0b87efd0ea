//! Where an operation's paths begin.
//!
//! OpenAPI 3: the first of the nearest `servers` (operation, path, document), its variables at their defaults, relative
//! addresses taken from where the document came from; without any, `/` there. Swagger 2: `schemes` (https if it is among
//! them), `host` and `basePath`, each from where the document came from if it is absent. Other servers of a list are not
//! tried: a call that may have happened at one is not made at another.

use cpd_connector_api::{Problem, Value};
use reqwest::Url;

use super::find::Found;
use super::reference::{resolve, wrong};

/// The base of an OpenAPI 3 operation.
pub(super) fn openapi(root: &Value, found: &Found<'_>, uri: &str) -> Result<Url, Problem> {
    let filled = |v: &&Value| v.as_array().is_some_and(|a| !a.is_empty());
    let servers = found.nearest("servers").filter(filled).or_else(|| root.get("servers").filter(filled));
    let Some(server) = servers.and_then(Value::as_array).and_then(<[Value]>::first) else { return joined("/", uri) };
    let server = resolve(root, server)?;
    let template = server.get("url").and_then(Value::as_str).ok_or_else(|| wrong("found a server without `url`"))?;
    let (mut address, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or_else(|| wrong(format!("found the server {template:?}, expected `}}` in it")))?;
        let value = server.get("variables").and_then(|v| v.get(name)).and_then(|v| v.get("default"));
        let value = value.and_then(super::style::scalar);
        let value =
            value.ok_or_else(|| wrong(format!("the variable {name:?} of the server {template:?} has no default")))?;
        address.push_str(before);
        address.push_str(&value);
        rest = behind;
    }
    address.push_str(rest);
    // Nobody means the document itself.
    joined(if address.is_empty() { "./" } else { &address }, uri)
}

/// The base of a Swagger 2 operation.
pub(super) fn swagger(root: &Value, found: &Found<'_>, uri: &str) -> Result<Url, Problem> {
    let own: Option<Url> = uri.parse().ok().filter(|u: &Url| matches!(u.scheme(), "http" | "https"));
    let schemes =
        found.nearest("schemes").or_else(|| root.get("schemes")).and_then(Value::as_array).unwrap_or_default();
    let scheme = match ["https", "http"].into_iter().find(|s| schemes.iter().any(|given| given.as_str() == Some(s))) {
        Some(scheme) => scheme,
        None if schemes.is_empty() => own.as_ref().map_or("https", Url::scheme),
        None => return Err(wrong("found `schemes` without https and http, expected one of the two")),
    };
    let here = own.as_ref().and_then(|u| {
        Some(u.port().map_or(u.host_str()?.to_owned(), |p| format!("{}:{p}", u.host_str().unwrap_or(""))))
    });
    let host = root.get("host").and_then(Value::as_str).map(str::to_owned).or(here);
    let host = host.ok_or_else(|| wrong(format!("it has no `host`, and {uri} has none to take instead")))?;
    let path = root.get("basePath").and_then(Value::as_str).unwrap_or("/");
    joined(&format!("{scheme}://{host}/{}", path.trim_start_matches('/')), uri)
}

/// The address as seen from where the document came from.
fn joined(address: &str, uri: &str) -> Result<Url, Problem> {
    let base: Option<Url> = uri.parse().ok().filter(|u: &Url| matches!(u.scheme(), "http" | "https"));
    let parsed = match &base {
        Some(base) => base.join(address),
        None => address.parse(),
    };
    let mut url = parsed.map_err(|e| {
        let hint = if base.is_none() { ", and a document that is a file gives relative ones no host" } else { "" };
        wrong(format!("found the server address {address:?}, which is none ({e}{hint})"))
    })?;
    url.set_fragment(None);
    if url.cannot_be_a_base() {
        return Err(wrong(format!("found the server address {address:?}, expected http or https")));
    }
    Ok(url)
}
