//! What the engine is asked for: the container's description, from the definition and the operator's limits.
//!
//! - `command` is a command line for `sh -c` in the image, with the arguments as `$1`, `$2`, …; it takes the place of the image's entrypoint.
//!   Without it the arguments, if there are any, take the place of the image's own.
//! - Ports are published on 127.0.0.1 only: `container port: host port`.
//! - Volumes are `directory of this machine: directory in the container`, the latter with `:ro` behind it to be read only; only what
//!   lies in a directory of the operator's `volumes` can be mounted.
//! - No privileges can be gained, and no core is dumped; memory, processes and file sizes are limited as for other processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cpd_connector_api::{Map, Problem, Request, Standard, Value, json};
use sha2::{Digest, Sha256};

use crate::process::config::ProcessConfig;
use crate::process::input::{Common, duration, invalid, plain};

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pull {
    Always,
    IfNotPresent,
    Never,
}

/// When a container is removed after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    Always,
    Never,
    After(Duration),
}

/// A container to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub image: String,
    pub name: String,
    pub pull: Pull,
    pub cleanup: Cleanup,
    pub body: Value,
}

impl Plan {
    /// Reads the definition's part.
    ///
    /// # Errors
    /// `validation` for what does not fit, `authorization` for a directory that the operator does not allow.
    pub(super) fn read(
        config: &ProcessConfig,
        request: &Request,
        common: &Common,
        container: &Value,
    ) -> Result<Self, Problem> {
        let text = |name: &str| container.get(name).and_then(Value::as_str);
        let image = image(text("image").unwrap_or(""))?;
        let pull = match text("pullPolicy") {
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            _ => Pull::IfNotPresent,
        };
        let mut body = vec![
            ("Image", Value::from(image.as_str())),
            ("Tty", json!(false)),
            ("AttachStdout", json!(true)),
            ("AttachStderr", json!(true)),
            ("Env", strings(common.environment.iter().map(|(name, value)| format!("{name}={value}")))),
            ("Labels", labels(request)),
        ];
        for open in ["AttachStdin", "OpenStdin", "StdinOnce"] {
            body.push((open, Value::from(!common.stdin.is_empty())));
        }
        if let Some(command) = text("command") {
            plain("`command`", command)?;
            body.push(("Entrypoint", strings(["sh", "-c", command, "sh"].map(str::to_owned))));
        }
        if text("command").is_some() || !common.arguments.is_empty() {
            body.push(("Cmd", strings(common.arguments.iter().cloned())));
        }
        let (exposed, bindings) = ports(container.get("ports"))?;
        body.push(("ExposedPorts", exposed));
        body.push(("HostConfig", host(config, bindings, mounts(config, container.get("volumes"))?)));
        let name = text("name").map_or_else(|| name(request), str::to_owned);
        let body = Value::from(body.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>());
        Ok(Self { image, name, pull, cleanup: cleanup(container.get("lifetime"))?, body })
    }
}

fn strings(texts: impl IntoIterator<Item = String>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

/// The image with a tag or digest: without one, an engine would pull every tag.
fn image(name: &str) -> Result<String, Problem> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./:@".contains(c));
    if name.is_empty() || name.starts_with(['-', '/', '.']) || name.contains(odd) {
        return Err(invalid(&format!("`image`: found {name:?}, expected a name such as registry/name:tag")));
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") })
}

/// A name by which people find it: workflow, effect, attempt, task.
fn name(request: &Request) -> String {
    let plain = |text: &str| -> String {
        let ok = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        text.chars().take(60).map(ok).collect()
    };
    let digest = Sha256::digest(request.key.as_bytes());
    let effect: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let task = request.task.rsplit('/').next().unwrap_or("");
    format!("cpd-{}-{effect}-{}-{}", plain(&request.workflow), request.attempt, plain(task))
}

fn labels(request: &Request) -> Value {
    Value::from([
        ("io.cpd.workflow", Value::from(&*request.workflow)),
        ("io.cpd.run", Value::from(&*request.run)),
        ("io.cpd.task", Value::from(&*request.task)),
        ("io.cpd.attempt", Value::from(request.attempt.to_string())),
        ("io.cpd.key", Value::from(request.wire_key())),
    ])
}

fn host(config: &ProcessConfig, bindings: Value, mounts: Value) -> Value {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (memory, files) = (number(config.memory_bytes_max), number(config.file_bytes_max));
    json!({
        "PortBindings": bindings, "Mounts": mounts,
        "Memory": memory, "MemorySwap": memory, "PidsLimit": number(config.processes_max),
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "fsize", "Soft": files, "Hard": files}],
        "SecurityOpt": ["no-new-privileges"], "Privileged": false, "Init": true,
        "AutoRemove": false, "RestartPolicy": {"Name": "no"},
    })
}

fn ports(given: Option<&Value>) -> Result<(Value, Value), Problem> {
    let (mut exposed, mut bindings) = (Vec::new(), Vec::new());
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0);
    for (inside, outside) in given.and_then(Value::as_object).into_iter().flatten() {
        let outside = outside.as_str().map_or_else(|| outside.to_json(), str::to_owned);
        let (Some(inside), Some(outside)) = (number(inside), number(&outside)) else {
            return Err(invalid(&format!("`ports`: found {inside}: {outside}, expected two numbers from 1 to 65535")));
        };
        let key = format!("{inside}/tcp");
        let binding = json!([{"HostIp": "127.0.0.1", "HostPort": outside.to_string()}]);
        exposed.push((key.as_str().into(), Value::object()));
        bindings.push((key.as_str().into(), binding));
    }
    Ok((Value::from(exposed.into_iter().collect::<Map>()), Value::from(bindings.into_iter().collect::<Map>())))
}

fn mounts(config: &ProcessConfig, given: Option<&Value>) -> Result<Value, Problem> {
    let mut mounts = Vec::new();
    for (source, target) in given.and_then(Value::as_object).into_iter().flatten() {
        let target = target.as_str().unwrap_or("");
        let (target, read_only) = target.strip_suffix(":ro").map_or((target, false), |target| (target, true));
        if !Path::new(target).is_absolute() || target.contains(':') {
            return Err(invalid(&format!("`volumes`: found {target:?}, expected an absolute path in the container")));
        }
        let source = allowed(config, source)?;
        let source = source.to_string_lossy();
        mounts.push(json!({"Type": "bind", "Source": &*source, "Target": target, "ReadOnly": read_only}));
    }
    Ok(mounts.into_iter().collect())
}

/// The directory itself, behind all links, if it lies in one that the operator has opened.
fn allowed(config: &ProcessConfig, source: &str) -> Result<PathBuf, Problem> {
    let real = Path::new(source).is_absolute().then(|| Path::new(source).canonicalize().ok()).flatten();
    let open = |real: &PathBuf| {
        config.volumes.iter().filter_map(|v| v.canonicalize().ok()).any(|directory| real.starts_with(directory))
    };
    real.filter(open).ok_or_else(|| {
        let detail = format!(
            "mount {source}: it does not lie in a directory that `volumes` of [connectors.process] lists; the operator \
             decides what containers see of this machine"
        );
        Problem::standard(Standard::Authorization, detail)
    })
}

fn cleanup(lifetime: Option<&Value>) -> Result<Cleanup, Problem> {
    let Some(lifetime) = lifetime else { return Ok(Cleanup::Never) };
    match lifetime.get("cleanup").and_then(Value::as_str) {
        Some("always") => Ok(Cleanup::Always),
        Some("eventually") => {
            let after = lifetime.get("after").and_then(duration);
            let expected = "`lifetime.after`: expected a duration such as PT30M, because `cleanup` is `eventually`";
            after.map(Cleanup::After).ok_or_else(|| invalid(expected))
        }
        _ => Ok(Cleanup::Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_a_tag_and_odd_ones_are_refused() {
        assert_eq!(image("alpine").unwrap(), "alpine:latest");
        assert_eq!(image("localhost:5000/a/b").unwrap(), "localhost:5000/a/b:latest");
        assert_eq!(image("a/b:1").unwrap(), "a/b:1");
        assert_eq!(image("a@sha256:00").unwrap(), "a@sha256:00");
        for bad in ["", "../x", "a b", "a?tag=x", "-a", "a\nb"] {
            assert!(image(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_lies_in_an_open_directory_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        let (open, shut) = (root.path().join("open"), root.path().join("shut"));
        std::fs::create_dir_all(open.join("in")).unwrap();
        std::fs::create_dir(&shut).unwrap();
        std::os::unix::fs::symlink(&shut, open.join("link")).unwrap();
        let config = ProcessConfig { volumes: vec![open.clone()], ..ProcessConfig::default() };
        let mount = |source: PathBuf, target: &str| {
            let members: Map = [(source.to_string_lossy().as_ref().into(), Value::from(target))].into_iter().collect();
            mounts(&config, Some(&Value::from(members)))
        };
        let good = mount(open.join("in"), "/data:ro").unwrap();
        assert!(good.to_json().contains(r#""Target":"/data","ReadOnly":true"#), "{good}");
        for bad in [shut, open.join("link"), open.join("../shut"), "relative".into(), "/".into(), open.join("none")] {
            assert_eq!(mount(bad.clone(), "/data").unwrap_err().status, 403, "{}", bad.display());
        }
        assert_eq!(mount(open.join("in"), "data").unwrap_err().status, 400);
        assert_eq!(mount(open, "/data:rw").unwrap_err().status, 400);
    }

    #[test]
    fn ports_are_published_on_loopback_only() {
        let (_, bindings) = ports(Some(&json!({"8080": 80, "81": "8081"}))).unwrap();
        assert_eq!(
            bindings.to_json(),
            r#"{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"}],"81/tcp":[{"HostIp":"127.0.0.1","HostPort":"8081"}]}"#
        );
        for bad in [json!({"0": 1}), json!({"x": 1}), json!({"1": 70_000}), json!({"1": "a"})] {
            assert!(ports(Some(&bad)).is_err(), "{bad}");
        }
    }
}
