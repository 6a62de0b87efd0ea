//! The door as a daemon uses it: who comes in by what, what is told, and what stands in the audit.

use std::sync::LazyLock;

use cpd_engine::control::What;
use http::{HeaderValue, StatusCode};
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;
use crate::door::token::Issued;

static LOOPBACK: LazyLock<[SocketAddr; 2]> =
    LazyLock::new(|| ["127.0.0.1:7070".parse().unwrap(), "[::1]:7070".parse().unwrap()]);

/// An engine in a directory, and a door to it.
struct House {
    _dir: tempfile::TempDir,
    engine: Engine,
    door: Door,
}

impl House {
    async fn new(auth: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::builder(dir.path()).shards(1).open().await.unwrap();
        let door = Door::new(&toml::from_str(auth).unwrap(), &engine, &*LOOPBACK).unwrap();
        Self { _dir: dir, engine, door }
    }

    async fn token(&self, name: &str, role: Role, scope: &[&str]) -> Issued {
        let scope = token::scope(scope.iter().copied()).unwrap();
        let wish = token::Wish { name: name.into(), role, scope, expires_at: None };
        token::issue(&self.engine.control(), wish, by()).await.unwrap()
    }

    /// What was refused, in words, the oldest first.
    async fn refused(&self) -> Vec<String> {
        // What was refused is on its way; what is allowed is waited for, and stands behind it.
        let admin = Principal::local("admin");
        self.door.allow(&admin, PEER, wish(Permission::Administer, None)).await.unwrap();
        let audited = self.engine.control().audit(None, 1_000).await.unwrap();
        let refused = audited.into_iter().rev().filter_map(|a| match a.what {
            What::Administered(act) if !act.allowed => Some(format!("{} {}: {}", act.by.from, act.action, act.why)),
            _ => None,
        });
        refused.collect()
    }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn by() -> Actor {
    Actor { name: "cli:me".into(), via: "local".into(), from: "cli".into() }
}

fn wish(permission: Permission, namespace: Option<&str>) -> Wish<'_> {
    Wish { permission, namespace, action: "thing.do", target: "it" }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

#[tokio::test]
async fn a_token_lets_in_until_it_is_revoked() {
    let house = House::new("").await;
    let Issued { token, text } = house.token("ci", Role::Operator, &["fraud"]).await;
    let principal = house.door.recognise(&bearer(&text), PEER, None).await.unwrap();
    assert_eq!((&*principal.name, principal.role), ("token:ci", Role::Operator));
    assert_eq!(principal.via, Via::Token(token.id.clone()));
    principal.may(Permission::Operate, Some("fraud")).unwrap();
    principal.may(Permission::Operate, Some("hr")).unwrap_err();
    let spelled = headers(&[("authorization", &format!("bEaReR   {text} "))]);
    assert!(house.door.recognise(&spelled, PEER, None).await.is_ok());

    house.engine.control().revoke_token(&token.id, by(), "leaked").await.unwrap();
    let refusal = house.door.recognise(&bearer(&text), PEER, None).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
    let refused = house.refused().await;
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("10.0.0.7 enter: token ") && refused[0].contains("revoked"), "{refused:?}");
}

#[tokio::test]
async fn an_expired_token_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let clock = cpd_engine::SimClock::new(cpd_core::time::Timestamp(1_700_000_000_000_000));
    let engine = Engine::builder(dir.path()).shards(1).clock(clock.clone()).open().await.unwrap();
    let door = Door::new(&Auth::default(), &engine, &[]).unwrap();
    let day = Duration::from_secs(86_400);
    let expires_at = Some(engine.control().now().plus(day));
    let wish = token::Wish { name: "ci".into(), role: Role::Viewer, scope: Scope::All, expires_at };
    let Issued { text, .. } = token::issue(&engine.control(), wish.clone(), by()).await.unwrap();
    clock.advance(day - Duration::from_micros(1));
    assert!(door.recognise(&bearer(&text), PEER, None).await.is_ok());
    clock.advance(Duration::from_micros(1));
    assert_eq!(door.recognise(&bearer(&text), PEER, None).await.unwrap_err().status(), 401);
    let past = token::issue(&engine.control(), wish, by()).await.err().unwrap().to_string();
    assert!(past.contains("still to come"), "{past}");
}

#[tokio::test(start_paused = true)]
async fn all_that_is_wrong_looks_the_same_from_outside() {
    let house = House::new("").await;
    let Issued { token, text } = house.token("ci", Role::Admin, &["*"]).await;
    let other = house.token("other", Role::Admin, &["*"]).await;
    house.engine.control().revoke_token(&other.token.id, by(), "").await.unwrap();
    // The right id with another one's secret, and a checksum that fits: made as tokens are.
    let stranger = House::new("").await.token("ci", Role::Admin, &["*"]).await;
    let (id, secret) = (&*token.id, stranger.text.split('_').nth(2).unwrap());
    let forged = format!("cpd_{id}_{secret}");
    let changed = format!("{}x", &text[..text.len() - 1]);
    let basic = headers(&[("authorization", "Basic dXNlcjpwYXNz")]);
    let twice = headers(&[("authorization", &format!("Bearer {text}")), ("authorization", "Bearer x")]);
    let mut bytes = HeaderMap::new();
    bytes.insert("authorization", HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap());
    let huge = format!("cpd_{}", "A".repeat(1 << 20));
    let wrong = [&*forged, &changed, &other.text, &stranger.text, "", "cpd_", "a.b.c", &huge].map(bearer);
    let mut told = Vec::new();
    for (n, headers) in wrong.iter().chain([&basic, &twice, &bytes]).enumerate() {
        let peer = IpAddr::from([10, 0, 1, u8::try_from(n).unwrap()]);
        let refusal = house.door.recognise(headers, peer, None).await.unwrap_err();
        told.push((refusal.status(), refusal.title(), refusal.detail(), refusal.headers()));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, StatusCode::UNAUTHORIZED);
    assert_eq!(told[0].3["www-authenticate"], "Bearer realm=\"cpd\", error=\"invalid_token\"");
    let none = house.door.recognise(&HeaderMap::new(), PEER, None).await.unwrap_err();
    assert_eq!(none.headers()["www-authenticate"], "Bearer realm=\"cpd\"");
    let refused = house.refused().await.join("\n");
    for why in ["which there is not", "wrong secret", "was revoked", "wrong form or checksum", "no credential"] {
        assert!(refused.contains(why), "no {why:?} in\n{refused}");
    }
    assert!(!refused.contains(&text[17..]) && !refused.contains(secret), "no secret in the audit");
}

#[tokio::test(start_paused = true)]
async fn guessing_is_slowed_down_and_turned_away_and_the_right_token_still_works() {
    let house = House::new("").await;
    let Issued { text, .. } = house.token("ci", Role::Viewer, &["*"]).await;
    let begun = tokio::time::Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..60 {
        let refusal = house.door.recognise(&bearer("cpd_guess"), PEER, None).await.unwrap_err();
        if refusal.status() == 429 {
            assert!(refusal.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        }
        statuses.push(refusal.status().as_u16());
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses.last(), Some(&429));
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(house.door.recognise(&bearer(&text), PEER, None).await.is_ok(), "others behind that address are let in");
    let other = house.door.recognise(&bearer("cpd_guess"), HERE, None).await.unwrap_err();
    assert_eq!(other.status(), 401);
}

#[tokio::test]
async fn this_machine_is_let_in_only_if_told_so_and_if_it_is_this_machine() {
    let closed = House::new("").await;
    assert_eq!(closed.door.recognise(&HeaderMap::new(), HERE, None).await.unwrap_err().status(), 401);

    let house = House::new("local = true").await;
    for good in [
        &[][..],
        &[("host", "127.0.0.1:7070")],
        &[("host", "localhost")],
        &[("host", "[::1]:7070"), ("origin", "http://localhost:7070"), ("sec-fetch-site", "same-origin")],
    ] {
        let principal = house.door.recognise(&headers(good), HERE, None).await.unwrap();
        assert_eq!((principal.role, principal.via), (Role::Admin, Via::Local), "{good:?}");
    }
    for bad in [
        &[("x-forwarded-for", "10.0.0.1")][..],
        &[("forwarded", "for=10.0.0.1")],
        &[("via", "1.1 proxy")],
        &[("host", "evil.example")],
        &[("host", "127.0.0.1.evil.example")],
        &[("host", "localhost"), ("host", "evil.example")],
        &[("host", "localhost"), ("origin", "https://evil.example")],
        &[("host", "localhost"), ("origin", "null")],
        &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
    ] {
        let refusal = house.door.recognise(&headers(bad), HERE, None).await.unwrap_err();
        assert_eq!(refusal.status(), 401, "{bad:?}");
    }
    assert_eq!(house.door.recognise(&HeaderMap::new(), PEER, None).await.unwrap_err().status(), 401);
    let wrong = house.door.recognise(&bearer("cpd_wrong"), HERE, None).await.unwrap_err();
    assert_eq!(wrong.status(), 401, "a wrong credential is not as good as none");
    assert!(house.door.recognise(&HeaderMap::new(), "::ffff:127.0.0.1".parse().unwrap(), None).await.is_ok());

    let everywhere = ["0.0.0.0:7070".parse().unwrap()];
    let error =
        Door::new(&toml::from_str("local = true").unwrap(), &house.engine, &everywhere).err().unwrap().to_string();
    assert!(error.contains("more than loopback"), "{error}");
}

#[tokio::test]
async fn a_certificate_counts_where_no_header_is() {
    let auth = "[[certificates]]\nname = \"cn:batch\"\nrole = \"operator\"\nnamespaces = [\"fraud\"]";
    let house = House::new(auth).await;
    let certificate = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    };
    let batch = certificate("batch");
    let principal = house.door.recognise(&HeaderMap::new(), PEER, Some(&batch)).await.unwrap();
    assert_eq!((&*principal.name, principal.role), ("certificate:cn:batch", Role::Operator));
    let refusal = house.door.recognise(&bearer("cpd_wrong"), PEER, Some(&batch)).await.unwrap_err();
    assert_eq!(refusal.status(), 401, "a wrong header is not made good by a certificate");
    let refusal = house.door.recognise(&HeaderMap::new(), PEER, Some(&certificate("who"))).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    let refused = house.refused().await;
    assert!(refused[1].contains("CN=who"), "{refused:?}");
}

#[tokio::test]
async fn what_is_administered_is_recorded_before_it_is_done_and_what_is_refused_too() {
    let house = House::new("").await;
    let Issued { text, .. } = house.token("ci", Role::Operator, &["fraud"]).await;
    let principal = house.door.recognise(&bearer(&text), PEER, None).await.unwrap();
    house.door.allow(&principal, PEER, wish(Permission::Operate, Some("fraud"))).await.unwrap();
    let refusal = house.door.allow(&principal, PEER, wish(Permission::Administer, None)).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    assert_eq!(refusal.detail(), "token:ci (operator) may not administer");
    let refusal = house.door.allow(&principal, PEER, wish(Permission::Read, Some("hr"))).await.unwrap_err();
    assert_eq!(refusal.detail(), "token:ci (operator) does not reach the namespace hr");
    let mut admin = Principal::local("cli:root");
    admin.via = Via::Oidc("https://id.example".into());
    house.door.allow(&admin, HERE, wish(Permission::Administer, None)).await.unwrap();
    let acts: Vec<Act> = house
        .engine
        .control()
        .audit(None, 100)
        .await
        .unwrap()
        .into_iter()
        .rev()
        .filter_map(|a| if let What::Administered(act) = a.what { Some(act) } else { None })
        .collect();
    let [first, second, third] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!((&*first.by.name, &*first.by.from, first.allowed), ("token:ci", "10.0.0.7", false));
    assert!(first.by.via.starts_with("token "), "{first:?}");
    assert!(second.why.contains("namespace hr"), "{second:?}");
    let Act { by, action, target, allowed, .. } = third;
    assert_eq!((&*by.name, &*by.via, &*by.from), ("cli:root", "oidc https://id.example", "127.0.0.1"));
    assert_eq!((&**action, &**target, *allowed), ("thing.do", "it", true));
    house.engine.stop().await.unwrap();
    let refusal = house.door.allow(&admin, HERE, wish(Permission::Administer, None)).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE, "what cannot be recorded is not done");
}

#[tokio::test]
async fn another_configuration_is_taken_and_a_wrong_one_is_not() {
    let house = House::new("local = true").await;
    let wrong: Auth =
        toml::from_str("[[certificates]]\nname = \"x\"\nrole = \"viewer\"\nnamespaces = [\"*\"]").unwrap();
    house.door.reload(&wrong).unwrap_err();
    assert!(house.door.recognise(&HeaderMap::new(), HERE, None).await.is_ok());
    house.door.reload(&Auth::default()).unwrap();
    assert!(house.door.recognise(&HeaderMap::new(), HERE, None).await.is_err());
}

/// The manual's table of roles is what the code does.
#[test]
fn the_manual_says_what_roles_hold() {
    let manual = include_str!("../../docs/security.md");
    let row = |name: &str| {
        let line = manual.lines().find(|l| l.starts_with(&format!("| `{name}` |"))).expect("a row");
        line.split('|').map(str::trim).skip(3).take(4).map(|cell| cell == "yes").collect::<Vec<_>>()
    };
    let head = manual.lines().find(|l| l.starts_with("| permission |")).expect("a head");
    let roles: Vec<Role> = head.split('|').filter_map(|cell| Role::named(cell.trim())).collect();
    assert_eq!(roles, Role::ALL);
    for permission in [Permission::Read, Permission::Operate, Permission::Approve, Permission::Administer] {
        let held: Vec<bool> = roles.iter().map(|role| role.holds(permission)).collect();
        assert_eq!(row(permission.name()), held, "{}", permission.name());
    }
}

/// The manual's examples can be meant so.
#[test]
fn the_manuals_examples_are_taken() {
    let manual = include_str!("../../docs/security.md");
    let examples: Vec<&str> = manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let config: crate::config::Config = toml::from_str(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        check(&config.auth, &[]).unwrap();
        assert!(config.tls.is_some() || config.auth.oidc.len() == 1, "{example}");
    }
}
