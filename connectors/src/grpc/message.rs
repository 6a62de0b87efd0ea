//! Messages by their descriptors: from JSON and to it by the canonical mapping, and in the frames of gRPC.
//!
//! - Fields without presence are always written, also with their default: an expression sees `0` and `[]`, not an absent member.
//!   64-bit integers are texts and enumerations are names, as the mapping says.
//! - A member that the message does not have is refused, not dropped.
//! - What is in `bytes` fields becomes base64, so secrets are looked for before.

use bytes::{BufMut as _, Bytes, BytesMut};
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{Problem, Standard, Value};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions, Value as Field};

/// In front of every message: whether it is compressed, and its length.
pub const HEAD_BYTES: usize = 5;

/// The frames of the messages that `arguments` stands for: one, or one for each item where the client streams.
///
/// # Errors
/// A `validation` problem that says which member is wrong.
pub fn frames(kind: &MessageDescriptor, streams: bool, arguments: Option<&Value>) -> Result<Bytes, Problem> {
    let mut out = BytesMut::new();
    match arguments.unwrap_or(&Value::Null) {
        Value::Arr(items) if streams => {
            for (index, item) in items.iter().enumerate() {
                frame(&encode(kind, item, &format!("`arguments[{index}]`"))?, &mut out)?;
            }
        }
        Value::Null => frame(&encode(kind, &Value::object(), "`arguments`")?, &mut out)?,
        one => frame(&encode(kind, one, "`arguments`")?, &mut out)?,
    }
    Ok(out.freeze())
}

fn frame(message: &[u8], out: &mut BytesMut) -> Result<(), Problem> {
    let length = u32::try_from(message.len()).map_err(|_| {
        Problem::standard(Standard::Validation, "found a message of more than 4 GiB, which gRPC does not have")
    })?;
    out.reserve(HEAD_BYTES + message.len());
    out.put_u8(0);
    out.put_u32(length);
    out.put_slice(message);
    Ok(())
}

fn encode(kind: &MessageDescriptor, value: &Value, at: &str) -> Result<Vec<u8>, Problem> {
    let refuse = |what: String| Problem::standard(Standard::Validation, format!("{at}: {what}"));
    let json = serde_json::to_value(value).map_err(|e| refuse(e.to_string()))?;
    let message = DynamicMessage::deserialize(kind.clone(), json).map_err(|e| {
        let known: Vec<_> = kind.fields().map(|f| f.json_name().to_owned()).collect();
        refuse(format!("{e}; it does not fit the message {}, whose members are {}", kind.full_name(), known.join(", ")))
    })?;
    Ok(message.encode_to_vec())
}

/// The JSON of a message that came.
///
/// # Errors
/// What about its bytes is not of that kind.
pub fn decode(kind: &MessageDescriptor, bytes: &[u8], redactor: &Redactor) -> Result<Value, String> {
    let mut message = DynamicMessage::decode(kind.clone(), bytes)
        .map_err(|e| format!("a message is no {}: {e}", kind.full_name()))?;
    redact(&mut message, redactor);
    let mut text = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    let written = message.serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options);
    written.map_err(|e| format!("a message of {} has no JSON: {e}", kind.full_name()))?;
    Value::from_json(&text).map_err(|e| format!("a message of {} cannot be taken: {e}", kind.full_name()))
}

/// Takes secrets out of fields that become base64.
fn redact(message: &mut DynamicMessage, redactor: &Redactor) {
    // Its bytes are a message, not bytes of anybody's.
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return;
    }
    message.fields_mut().for_each(|(_, field)| redact_field(field, redactor));
}

fn redact_field(field: &mut Field, redactor: &Redactor) {
    match field {
        Field::Bytes(bytes) => {
            let clean = redactor.bytes(bytes);
            if clean != **bytes {
                *bytes = clean.into();
            }
        }
        Field::Message(message) => redact(message, redactor),
        Field::List(items) => items.iter_mut().for_each(|item| redact_field(item, redactor)),
        Field::Map(members) => members.values_mut().for_each(|member| redact_field(member, redactor)),
        Field::Bool(_)
        | Field::I32(_)
        | Field::I64(_)
        | Field::U32(_)
        | Field::U64(_)
        | Field::F32(_)
        | Field::F64(_)
        | Field::String(_)
        | Field::EnumNumber(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;
    use cpd_connector_api::secret::Secret;
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::proto::Proto;

    const ALL: &str = r#"
        syntax = "proto3";
        package t;
        import "google/protobuf/any.proto";
        import "google/protobuf/duration.proto";
        import "google/protobuf/field_mask.proto";
        import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        enum Kind { UNKNOWN = 0; CAT = 1; }
        message All {
          int32 small = 1; int64 large = 2; uint64 larger = 3; double real = 4; bool yes = 5; string text_here = 6; bytes raw = 7;
          Kind kind = 8; repeated string many = 9; map<string, int32> counts = 10; All inner = 11; optional int32 maybe = 12;
          oneof choice { string left = 13; int32 right = 14; }
          google.protobuf.Timestamp at = 15; google.protobuf.Duration lasting = 16; google.protobuf.Struct loose = 17;
          google.protobuf.StringValue boxed = 18; google.protobuf.FieldMask mask = 19; google.protobuf.Any any = 20;
        }
        service S { rpc Do(All) returns (All); }
    "#;

    fn all() -> MessageDescriptor {
        Proto::read("t.proto", ALL).unwrap().method("S", "Do").unwrap().input()
    }

    fn back(value: &Value) -> Value {
        let framed = frames(&all(), false, Some(value)).unwrap();
        decode(&all(), &framed[HEAD_BYTES..], &Redactor::default()).unwrap()
    }

    #[test]
    fn every_kind_of_field_comes_back_as_the_canonical_mapping_says() {
        let given = json!({
            "small": -7, "large": "-9223372036854775808", "larger": "18446744073709551615", "real": 1.5, "yes": true,
            "textHere": "caf\u{e9}", "raw": "AP8=", "kind": "CAT", "many": ["a", "b"], "counts": {"x": 1}, "maybe": 0,
            "left": "", "at": "2026-11-23T16:00:00.500Z", "lasting": "1.500s", "loose": {"a": [1, null, {"b": true}]},
            "boxed": "inside", "mask": "a,bC", "any": {"@type": "type.googleapis.com/t.All", "small": 3},
        });
        let found = back(&given);
        for (name, value) in given.as_object().unwrap() {
            match &**name {
                "any" => assert_eq!(found.get("any").and_then(|a| a.get("small")), Some(&json!(3))),
                _ => assert_eq!(found.get(name), Some(value), "{name}"),
            }
        }
        assert_eq!(found.get("inner"), None, "a message that was not set has presence");
    }

    #[test]
    fn numbers_names_and_texts_are_taken_in_every_spelling_that_the_mapping_has() {
        let given = json!({"large": 5, "small": "6", "text_here": "t", "kind": 1, "real": "NaN", "yes": null});
        let found = back(&given);
        let expected = json!({"large": "5", "small": 6, "textHere": "t", "kind": "CAT", "real": "NaN", "yes": false});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(found.get(name), Some(value), "{name}");
        }
        assert_eq!(found.get("many"), Some(&json!([])), "fields without presence are always there");
        assert_eq!((found.get("maybe"), found.get("left")), (None, None), "those with presence only if they were set");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_member_and_those_that_there_are() {
        for (given, said) in [
            (json!({"nope": 1}), "unrecognized field name 'nope'"),
            (json!({"small": "x"}), "`arguments`: "),
            (json!({"kind": "DOG"}), "unrecognized enum value 'DOG'"),
            (json!({"small": 3_000_000_000_u64}), "`arguments`: "),
            (json!({"raw": "%%"}), "invalid base64"),
            (json!({"left": "a", "right": 1}), "`arguments`: "),
            (json!([{}]), "`arguments`: "),
            (json!("text"), "`arguments`: "),
        ] {
            let found = frames(&all(), false, Some(&given)).unwrap_err().to_string();
            assert!(found.contains(said) && found.contains("the message t.All, whose members are small"), "{found}");
        }
        let found = frames(&all(), true, Some(&json!([{}, {"nope": 1}]))).unwrap_err().to_string();
        assert!(found.contains("`arguments[1]`"), "{found}");
    }

    #[test]
    fn a_stream_of_arguments_is_a_frame_for_each_and_may_be_empty() {
        assert_eq!(frames(&all(), true, Some(&json!([]))).unwrap().len(), 0);
        assert_eq!(
            &frames(&all(), true, Some(&json!([{"small": 1}, {}]))).unwrap()[..],
            b"\0\0\0\0\x02\x08\x01\0\0\0\0\0"
        );
        assert_eq!(&frames(&all(), true, Some(&json!({"small": 1}))).unwrap()[..], b"\0\0\0\0\x02\x08\x01");
        assert_eq!(&frames(&all(), false, None).unwrap()[..], b"\0\0\0\0\0");
    }

    #[test]
    fn secrets_in_bytes_are_found_before_they_become_base64() {
        let mut redactor = Redactor::default();
        redactor.add(Secret::new("s3cret-token-value"));
        let given = json!({"inner": {"raw": "eHMzY3JldC10b2tlbi12YWx1ZXg="}, "raw": "AP8="});
        let framed = frames(&all(), false, Some(&given)).unwrap();
        let found = decode(&all(), &framed[HEAD_BYTES..], &redactor).unwrap();
        assert!(!found.to_json().contains("czNjcmV0LXRva2VuLXZhbHVl") && !found.to_json().contains("eHMzY3JldC10b2tl"));
        assert_eq!(found.get("raw"), Some(&json!("AP8=")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&all(), &bytes, &Redactor::default());
        }
    }
}
