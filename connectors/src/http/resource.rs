//! Documents that a definition refers to: OpenAPI descriptions, proto files, schemas, scripts.
//!
//! [`load`] takes what the language calls an external resource's endpoint: an address, or one with `authentication`.
//! `http` and `https` go through the client with its rules of where it may reach, up to ten redirects, and a limit of size. `file:`
//! addresses and relative paths are read below a directory that the caller names, and nowhere else: no `..`, no symbolic
//! link and no absolute path leads out of it. Without such a directory there are no files.
//!
//! Loading is for the moment when a definition is registered; a run uses what was pinned then.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{Class, Problem, Standard, Value};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};

use super::{Call, HttpClient};
use crate::authentication::{Authenticator, Policy};

/// The largest document that is taken: a description of that size is no description.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Loads the document at `endpoint`: an address, or `{uri, authentication}`. `base_dir` is where files may be.
///
/// # Errors
/// `configuration` for an endpoint that can never be loaded, otherwise what the way to it or the server said.
pub async fn load(
    client: &HttpClient,
    authenticator: &Authenticator,
    base_dir: Option<&Path>,
    endpoint: &Value,
) -> Result<Resource, Problem> {
    let refuse = |what: String| Problem::standard(Standard::Configuration, what);
    if let Some(stranger) =
        endpoint.as_object().and_then(|m| m.keys().find(|k| !matches!(&***k, "uri" | "authentication")))
    {
        return Err(refuse(format!("`endpoint`: found {stranger:?}, expected uri or authentication")));
    }
    let uri = endpoint.as_str().or_else(|| endpoint.get("uri")?.as_str()).map(str::trim).filter(|uri| !uri.is_empty());
    let uri = uri.ok_or_else(|| refuse("`endpoint`: expected an address, or an object with `uri`".into()))?;
    let policy = endpoint.get("authentication").filter(|v| !v.is_null()).map(Policy::read).transpose()?;
    match uri.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let authenticator = authenticator.with_http(client.clone());
            fetch(&authenticator, uri, url, policy.as_ref()).await
        }
        Ok(_) | Err(_) if policy.is_some() => {
            Err(refuse(format!("load {uri}: found `authentication` for a file, expected it with http or https only")))
        }
        Ok(url) if url.scheme() == "file" => {
            let local = url.host_str().is_none_or(|host| host.is_empty() || host == "localhost");
            let path = url.to_file_path().ok().filter(|_| local);
            let path = path.ok_or_else(|| refuse(format!("load {uri}: found a file of another machine")))?;
            file(uri, path, base_dir).await
        }
        Ok(url) => Err(refuse(format!("load {uri}: found scheme {:?}, expected http, https or file", url.scheme()))),
        Err(_) => {
            let path = uri.split(['?', '#']).next().unwrap_or(uri);
            file(uri, PathBuf::from(path), base_dir).await
        }
    }
}

async fn fetch(
    authenticator: &Authenticator,
    uri: &str,
    mut url: Url,
    policy: Option<&Policy>,
) -> Result<Resource, Problem> {
    url.set_fragment(None);
    let mut call = Call::new(Method::GET, url, Class::Safe);
    call.redirect = true;
    let mut redactor = Redactor::default();
    let answer = authenticator.fetch(policy, call, &mut redactor).await.and_then(super::Answer::success);
    let answer = answer.map_err(|trouble| redactor.problem(trouble.into_problem()))?;
    if answer.body.len() > BYTES_MAX {
        let what = format!("load {uri}: found {} bytes, expected at most {BYTES_MAX}", answer.body.len());
        return Err(Problem::standard(Standard::Communication, what));
    }
    let media_type = answer.header(CONTENT_TYPE).map(Into::into);
    Ok(Resource { uri: uri.into(), media_type, content: answer.body.to_vec().into() })
}

/// Reads a file below `base`. The walk happens on a thread for blocking work: a disk may be slow, or a network's.
async fn file(uri: &str, path: PathBuf, base: Option<&Path>) -> Result<Resource, Problem> {
    let refuse = |what: String| Problem::standard(Standard::Configuration, format!("load {uri}: {what}"));
    let base =
        base.ok_or_else(|| refuse("found a file, expected http or https: no directory for files is set".into()))?;
    let base = base.to_path_buf();
    let read = tokio::task::spawn_blocking(move || read(&base, &path)).await;
    let content = read.map_err(|e| refuse(format!("reading it broke off: {e}")))?.map_err(refuse)?;
    Ok(Resource { uri: uri.into(), media_type: None, content: content.into() })
}

fn read(base: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let lexically_below = path.starts_with(base);
    let base = base.canonicalize().map_err(|e| format!("open the directory {}: {e}", base.display()))?;
    // Without this a `..` through a directory that is not there would tell what else is.
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("found a path with `..`, expected one below {}", base.display()));
    }
    let outside = || format!("found a file outside of {}, expected one below it", base.display());
    let full = base.join(path);
    if path.is_absolute() && !lexically_below && !path.starts_with(&base) {
        return Err(outside());
    }
    // What is opened is the path after all links were followed, so a link is judged by where it leads.
    let full = full.canonicalize().map_err(|e| e.to_string())?;
    if !full.starts_with(&base) {
        return Err(outside());
    }
    if !full.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("found no regular file".into());
    }
    let mut content = Vec::new();
    let most = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let file = std::fs::File::open(&full).map_err(|e| e.to_string())?;
    file.take(most + 1).read_to_end(&mut content).map_err(|e| e.to_string())?;
    if content.len() > BYTES_MAX {
        return Err(format!("found more than {BYTES_MAX} bytes, expected at most as many"));
    }
    Ok(content)
}
