//! The control plane's records in the journal, and back.

use std::borrow::Cow;
use std::sync::Arc;

use cpd_core::machine::RunId;
use cpd_core::time::Timestamp;
use cpd_journal::StoredEntry;
use cpd_journal::record::Kind;
use cpd_journal::record::v1;
use serde::{Deserialize, Serialize};

use super::audit::What;
use super::limit::{RefusalGroup, Refusals};
use super::{Act, Actor, Revoked, Token, Tokens};
use crate::codec::{DecodeError, PAYLOAD_MAX};
use crate::error::Error;

fn encoded(record: &impl Serialize) -> Vec<u8> {
    let mut payload = Vec::new();
    cpd_journal::codec::encode(record, &mut payload).expect("a record of ours has a form that the format holds");
    payload
}

fn actor(by: &Actor) -> v1::Actor<'_> {
    v1::Actor { name: Cow::Borrowed(&by.name), via: Cow::Borrowed(&by.via), from: Cow::Borrowed(&by.from) }
}

pub(super) fn created(token: &Token) -> Vec<u8> {
    let namespaces = token.namespaces.as_ref().map(|all| all.iter().map(|n| Cow::Borrowed(&**n)).collect());
    encoded(&v1::TokenCreated {
        id: Cow::Borrowed(&token.id),
        name: Cow::Borrowed(&token.name),
        role: Cow::Borrowed(&token.role),
        namespaces,
        hash: token.hash,
        expires_at: token.expires_at.map(Timestamp::as_micros),
        by: actor(&token.created_by),
    })
}

pub(super) fn revoked(id: &str, reason: &str, by: &Actor) -> Vec<u8> {
    encoded(&v1::TokenRevoked { id: Cow::Borrowed(id), reason: Cow::Borrowed(reason), by: actor(by) })
}

pub(super) fn administered(act: &Act) -> Vec<u8> {
    encoded(&v1::Administered {
        by: actor(&act.by),
        action: Cow::Borrowed(&act.action),
        target: Cow::Borrowed(&act.target),
        outcome: if act.allowed { 1 } else { 2 },
        why: Cow::Borrowed(&act.why),
    })
}

pub(super) fn counted(refusals: &Refusals) -> Vec<u8> {
    let groups = refusals.groups.iter().map(|g| v1::RefusalGroup {
        from: Cow::Borrowed(&g.from),
        action: Cow::Borrowed(&g.action),
        why: Cow::Borrowed(&g.why),
        count: g.count,
    });
    encoded(&v1::RefusalsCounted {
        since: refusals.since.as_micros(),
        until: refusals.until.as_micros(),
        count: refusals.count,
        groups: groups.collect(),
    })
}

fn decoded<'r, T: Deserialize<'r>>(kind: Kind, payload: &'r [u8]) -> Result<T, DecodeError> {
    cpd_journal::codec::decode(payload, PAYLOAD_MAX)
        .map_err(|e| DecodeError::Malformed { kind: kind.name().unwrap_or("?"), detail: e.to_string() })
}

fn read_actor(by: &v1::Actor<'_>) -> Actor {
    Actor { name: Arc::from(&*by.name), via: Arc::from(&*by.via), from: Arc::from(&*by.from) }
}

/// What a record of the control plane says, written at `at`.
pub(super) fn read(kind: u16, version: u8, at: Timestamp, payload: &[u8]) -> Result<What, DecodeError> {
    let known = Kind(kind);
    if version != v1::VERSION {
        let newest = Kind::ALL.last().map_or(0, |k| k.0);
        return Err(DecodeError::TooNew { kind, version, newest, known: v1::VERSION });
    }
    Ok(match known {
        Kind::TOKEN_CREATED => {
            let r: v1::TokenCreated<'_> = decoded(known, payload)?;
            What::TokenCreated(Token {
                id: Arc::from(&*r.id),
                name: Arc::from(&*r.name),
                role: Arc::from(&*r.role),
                namespaces: r.namespaces.map(|all| all.iter().map(|n| Arc::from(&**n)).collect()),
                hash: r.hash,
                created_at: at,
                created_by: read_actor(&r.by),
                expires_at: r.expires_at.map(Timestamp),
                revoked: None,
            })
        }
        Kind::TOKEN_REVOKED => {
            let r: v1::TokenRevoked<'_> = decoded(known, payload)?;
            What::TokenRevoked {
                id: Arc::from(&*r.id),
                revoked: Revoked { at, reason: Arc::from(&*r.reason), by: read_actor(&r.by) },
            }
        }
        Kind::ADMINISTERED => {
            let r: v1::Administered<'_> = decoded(known, payload)?;
            let allowed = match r.outcome {
                1 => true,
                2 => false,
                other => {
                    let detail = format!("outcome {other} is not 1 (allowed) or 2 (refused)");
                    return Err(DecodeError::Malformed { kind: "Administered", detail });
                }
            };
            What::Administered(Act {
                by: read_actor(&r.by),
                action: Arc::from(&*r.action),
                target: Arc::from(&*r.target),
                allowed,
                why: Arc::from(&*r.why),
            })
        }
        Kind::REFUSALS_COUNTED => {
            let r: v1::RefusalsCounted<'_> = decoded(known, payload)?;
            let groups = r.groups.iter().map(|g| RefusalGroup {
                from: Arc::from(&*g.from),
                action: Arc::from(&*g.action),
                why: Arc::from(&*g.why),
                count: g.count,
            });
            let (since, until) = (Timestamp(r.since), Timestamp(r.until));
            What::RefusalsCounted(Refusals { since, until, count: r.count, groups: groups.collect() })
        }
        Kind::REGISTERED => {
            let r: v1::Registered<'_> = decoded(known, payload)?;
            What::Registered {
                what: match r.what {
                    1 => "workflow",
                    2 => "policy",
                    3 => "agent",
                    _ => "definition",
                },
                name: Arc::from(&*r.name),
                version: Arc::from(&*r.version),
                actor: Arc::from(&*r.actor),
            }
        }
        Kind::DOCUMENT_PINNED => {
            let _: v1::Document<'_> = decoded(known, payload)?;
            What::DocumentPinned
        }
        Kind(_) => {
            let newest = Kind::ALL.last().map_or(0, |k| k.0);
            return Err(DecodeError::TooNew { kind, version, newest, known: v1::VERSION });
        }
    })
}

/// Whether a record of the control plane can be read.
pub(crate) fn readable(kind: u16, version: u8, payload: &[u8]) -> Result<(), DecodeError> {
    read(kind, version, Timestamp(0), payload).map(drop)
}

/// An entry of a stream that cannot be read.
pub(super) fn unreadable(entry: &StoredEntry, source: DecodeError) -> Error {
    Error::Unreadable { run: RunId(entry.stream().0), source: Arc::new(source) }
}

/// Takes an entry about tokens.
pub(super) fn fold(tokens: &mut Tokens, entry: &StoredEntry) -> Result<(), Error> {
    for r in entry.records() {
        let what = read(r.kind, r.version, Timestamp(entry.at()), r.payload).map_err(|e| unreadable(entry, e))?;
        match what {
            What::TokenCreated(token) => tokens.add(token),
            What::TokenRevoked { id, revoked } => tokens.revoke(&id, revoked),
            What::Administered(_) | What::RefusalsCounted(_) | What::Registered { .. } | What::DocumentPinned => {
                let kind = Kind(r.kind).name().unwrap_or("?");
                let detail = "it does not belong to the stream of tokens".to_owned();
                return Err(unreadable(entry, DecodeError::Malformed { kind, detail }));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by() -> Actor {
        Actor { name: "cli:me".into(), via: "local".into(), from: "cli".into() }
    }

    fn token() -> Token {
        Token {
            id: "ab".into(),
            name: "ci".into(),
            role: "admin".into(),
            namespaces: Some(["a".into(), "b".into()].into()),
            hash: [7; 32],
            created_at: Timestamp(5),
            created_by: by(),
            expires_at: Some(Timestamp(3)),
            revoked: None,
        }
    }

    /// A text in a record: its length, then its bytes.
    fn text(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    fn act(allowed: bool) -> Act {
        Act { by: by(), action: "token.create".into(), target: "ci".into(), allowed, why: "".into() }
    }

    #[test]
    fn the_bytes_of_version_1_are_frozen() {
        let by = [text("cli:me"), text("local"), text("cli")].concat();
        let golden = [
            text("ab"),
            text("ci"),
            text("admin"),
            vec![1, 2],
            text("a"),
            text("b"),
            vec![7; 32],
            vec![1, 6],
            by.clone(),
        ];
        assert_eq!(created(&token()), golden.concat());
        assert_eq!(revoked("ab", "old", &super::tests::by()), [text("ab"), text("old"), by.clone()].concat());
        let golden = [by, text("token.create"), text("ci"), vec![2], text("")].concat();
        assert_eq!(administered(&act(false)), golden);
        let group = RefusalGroup { from: "x".into(), action: "y".into(), why: "z".into(), count: 9 };
        let refusals = Refusals { since: Timestamp(1), until: Timestamp(-1), count: 250, groups: vec![group] };
        let golden = [vec![2, 1, 250, 1], text("x"), text("y"), text("z"), vec![9]].concat();
        assert_eq!(counted(&refusals), golden);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let at = Timestamp(5);
        let read = |kind: Kind, payload: &[u8]| read(kind.0, v1::VERSION, at, payload).unwrap();
        assert_eq!(read(Kind::TOKEN_CREATED, &created(&token())), What::TokenCreated(token()));
        let gone = Revoked { at, reason: "old".into(), by: by() };
        let what = What::TokenRevoked { id: "ab".into(), revoked: gone };
        assert_eq!(read(Kind::TOKEN_REVOKED, &revoked("ab", "old", &by())), what);
        for allowed in [true, false] {
            let what = What::Administered(act(allowed));
            assert_eq!(read(Kind::ADMINISTERED, &administered(&act(allowed))), what);
        }
    }

    #[test]
    fn damaged_and_newer_records_are_errors_and_no_panic() {
        let payload = created(&token());
        for end in 0..payload.len() {
            assert!(readable(Kind::TOKEN_CREATED.0, v1::VERSION, &payload[..end]).is_err(), "{end} bytes");
        }
        assert!(matches!(readable(79, v1::VERSION, &payload), Err(DecodeError::TooNew { .. })));
        assert!(matches!(readable(70, v1::VERSION + 1, &payload), Err(DecodeError::TooNew { .. })));
        let mut other = administered(&act(true));
        let at = other.len() - 2;
        other[at] = 3;
        let error = readable(Kind::ADMINISTERED.0, v1::VERSION, &other).unwrap_err().to_string();
        assert!(error.contains("outcome 3"), "{error}");
    }
}
