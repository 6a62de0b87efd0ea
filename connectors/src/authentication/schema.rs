//! The shape of `authentication` for the schemas of operations.

use cpd_connector_api::{Value, json};

/// The schema of a policy. What belongs together is for [`Policy::read`](super::Policy::read) to say, which says it better.
pub fn schema() -> Value {
    let text = json!({"type": ["string", "number"]});
    let words = json!({"type": "array", "items": {"type": "string"}});
    let object = |properties: Value| json!({"type": "object", "additionalProperties": false, "properties": properties});
    let name = json!({"type": "string", "minLength": 1});
    let login = object(json!({"username": text, "password": text, "use": name}));
    let token = object(json!({"token": {"type": "string", "minLength": 1}, "type": name}));
    let client = object(json!({
        "id": text, "secret": text, "assertion": {"type": "string"},
        "authentication": {
            "enum": ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"],
        },
    }));
    let request = object(json!({"encoding": {"enum": ["application/x-www-form-urlencoded", "application/json"]}}));
    let authority = |endpoints: bool| {
        let mut properties = json!({
            "authority": name, "grant": name, "client": client, "request": request, "issuers": words,
            "scopes": words, "audiences": words, "username": text, "password": text, "subject": token,
            "actor": token, "use": name,
        });
        if let (true, Value::Obj(members)) = (endpoints, &mut properties) {
            let endpoints = object(json!({"token": name, "revocation": name, "introspection": name}));
            std::sync::Arc::make_mut(members).insert("endpoints".into(), endpoints);
        }
        object(properties)
    };
    json!({
        "writeOnly": true, "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": {
            "basic": login, "digest": login, "oauth2": authority(true), "oidc": authority(false),
            "bearer": object(json!({"token": {"type": "string", "minLength": 1}, "use": name})),
        },
    })
}
