//! What the connectors that speak JSON-RPC 2.0 share.
//!
//! - [`endpoint`]: an endpoint of the workflow language, and its authentication.
//! - [`sse`]: server-sent events from pieces of bytes.
//! - Here: reading a response, and what an error in it says about the effect.
//!
//! An error in a response is a word from the other side: it does not leave the effect in doubt. [`error`] says which errors may
//! be tried again. The workflow language wants every failure of such a call to be a `runtime` error: [`runtime`] makes it one.

pub mod endpoint;
pub mod sse;

use std::fmt;

use cpd_connector_api::{Problem, Standard, Value, json};

use crate::http::Trouble;

/// Of a message from the other side, this much goes into a problem.
const MESSAGE_CHARS_MAX: usize = 300;

/// The error of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The sentence.
    pub message: String,
    /// More, if there is.
    pub data: Option<Value>,
}

/// Why a value is no response to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoResponse(String);

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the response to the request with that id.
///
/// # Errors
/// If it is no JSON-RPC 2.0 response, or the response to another request. An error may leave the id `null`: the other
/// side could not read ours.
pub fn response(value: &Value, id: &str) -> Result<Result<Value, RpcError>, NoResponse> {
    let Some(members) = value.as_object() else {
        return Err(NoResponse(format!("found {}, expected a JSON-RPC 2.0 response", value.kind())));
    };
    let found = members.get("id").unwrap_or(&Value::Null);
    let error = members.get("error").filter(|e| !e.is_null());
    if found.as_str() != Some(id) && !(found.is_null() && error.is_some()) {
        let found: String = found.to_json().chars().take(60).collect();
        return Err(NoResponse(format!("found a response with id {found}, expected id {id:?}")));
    }
    if let Some(error) = error {
        return Ok(Err(RpcError {
            code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: error.get("message").and_then(Value::as_str).unwrap_or("").to_owned(),
            data: error.get("data").filter(|d| !d.is_null()).cloned(),
        }));
    }
    match members.get("result") {
        Some(result) => Ok(Ok(result.clone())),
        None => Err(NoResponse("found a JSON-RPC message with neither `result` nor `error`".into())),
    }
}

/// What an error in a response means: an internal error (-32603, and -32000 that many servers use for one) failed and may be
/// tried again by the author's policy; anything else is refused, because the same request would be answered the same.
pub fn error(doing: &str, error: RpcError) -> Trouble {
    let message: String = error.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let data = json!({"code": error.code, "message": message, "data": error.data});
    let detail = format!("{doing} answered with error {}: {message}", error.code);
    let problem = Problem::standard(Standard::Runtime, detail).with_data(data);
    match error.code {
        -32603 | -32000 => Trouble::failed(problem),
        _ => Trouble::Refused(problem),
    }
}

/// The same trouble with a `communication` problem turned into a `runtime` one; its status stays.
pub fn runtime(trouble: Trouble) -> Trouble {
    let communication = Problem::standard(Standard::Communication, "").kind;
    let turned = |problem: Problem| {
        if !Problem::same_type(&problem.kind, &communication) {
            return problem;
        }
        let Problem { kind, title, .. } = Problem::standard(Standard::Runtime, "");
        Problem { kind, title, ..problem }
    };
    match trouble {
        Trouble::Refused(problem) => Trouble::Refused(turned(problem)),
        Trouble::Failed { problem, not_before } => Trouble::Failed { problem: turned(problem), not_before },
        Trouble::Unknown(problem) => Trouble::Unknown(turned(problem)),
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::Outcome;

    use super::*;

    #[test]
    fn a_response_is_taken_only_for_its_own_request() {
        assert_eq!(response(&json!({"jsonrpc": "2.0", "id": "a", "result": 1}), "a"), Ok(Ok(json!(1))));
        for other in [json!({"id": "b", "result": 1}), json!({"id": null, "result": 1}), json!({"result": 1}), json!(7)]
        {
            assert!(response(&other, "a").is_err(), "{other}");
        }
        let text = response(&json!({"id": "a"}), "a").unwrap_err().to_string();
        assert!(text.contains("neither `result` nor `error`"), "{text}");
    }

    #[test]
    fn an_error_without_an_id_is_ours_because_ours_was_not_read() {
        let found = response(&json!({"id": null, "error": {"code": -32700, "message": "no JSON"}}), "a").unwrap();
        assert_eq!(found, Err(RpcError { code: -32700, message: "no JSON".into(), data: None }));
    }

    #[test]
    fn internal_errors_may_be_tried_again_and_others_not() {
        for (code, name) in
            [(-32603, "failed"), (-32000, "failed"), (-32602, "refused"), (-32001, "refused"), (7, "refused")]
        {
            let outcome = Outcome::from(error("x", RpcError { code, message: "m".into(), data: None }));
            assert_eq!(outcome.name(), name, "{code}");
        }
    }

    #[test]
    fn communication_becomes_runtime_and_timeouts_stay() {
        let kind =
            |standard| runtime(Trouble::failed(Problem::standard(standard, "x").with_status(502))).into_problem();
        assert!(kind(Standard::Communication).kind.ends_with("/runtime"));
        assert_eq!(kind(Standard::Communication).status, 502);
        assert!(kind(Standard::Timeout).kind.ends_with("/timeout"));
    }
}
