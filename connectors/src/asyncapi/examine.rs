//! A call as it stands in a definition: what about it can never work.
//!
//! At registration the document is there, and so is all of `with` that is no expression. What depends on an expression is
//! left for the call. Nothing here touches the network: whether a broker lets us in is not a question of the definition.

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::{Class, Problem, Value};

use super::document::{Direction, Document};
use super::message::{Form, Outbound};
use super::with::{Wanted, literal, span};
use super::{headers_fit, payload, server};

/// Looks at a call. Its class is the operation's.
///
/// # Errors
/// What can never work.
pub fn examine(planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
    let Some(wanted) = Wanted::planned(planned) else { return Ok(None) };
    // A document that is not there has been told of already.
    let Ok(resource) = planned.resources.get(&wanted.uri) else { return Ok(None) };
    let document = Document::read(resource)?;
    let direction = wanted.direction();
    let found = document.find(wanted.channel.as_deref(), wanted.operation.as_deref(), direction)?;
    let asked = wanted.server();
    let (_, _, spoken) = server::select(&document, &found, asked)?;
    if asked.variables.is_none_or(literal) {
        server::choose(&document, &found, asked)?;
    }
    match direction {
        Direction::Publish => {
            let headers = wanted.message.get("headers").and_then(Value::as_object);
            headers_fit(spoken, headers.is_some_and(|h| !h.is_empty()))?;
            if literal(&wanted.message) {
                payload::check(&document, &found, &wanted.message)?;
                Outbound::of(&wanted.message, &Form::of(&document, &found))?;
                server::channel_address(&document, &found, spoken, direction, Some(&wanted.message))?;
            }
        }
        Direction::Subscribe => {
            let consume = planned.with.get("subscription").and_then(|s| s.get("consume"));
            if let Some(consume) = consume.filter(|c| c.get("for").is_some_and(literal)) {
                span(consume)?;
            }
            server::channel_address(&document, &found, spoken, direction, None)?;
        }
    }
    Ok(None)
}
