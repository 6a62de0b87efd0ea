//! Tokens and the audit: durable, folded from the journal, bounded.

use std::sync::Arc;

use cpd_core::time::Timestamp;
use cpd_engine::control::{Act, Actor, NewToken, What};
use cpd_engine::view::View;
use cpd_engine::{Engine, Error};

use crate::support::{World, crashed, open, register, workflow};

fn by(from: &str) -> Actor {
    Actor { name: "cli:me".into(), via: "local".into(), from: from.into() }
}

fn new(id: &str, name: &str) -> NewToken {
    let namespaces = Some(["fraud".into()].into());
    let hash = [9; 32];
    NewToken { id: id.into(), name: name.into(), role: "operator".into(), namespaces, hash, expires_at: None }
}

fn act(from: &str, action: &str, allowed: bool) -> Act {
    Act { by: by(from), action: action.into(), target: "x".into(), allowed, why: "because".into() }
}

/// What the audit says, the oldest first, in words.
fn words(audited: &[cpd_engine::control::Audited]) -> Vec<String> {
    let word = |what: &What| match what {
        What::TokenCreated(token) => format!("created {}", token.name),
        What::TokenRevoked { id, .. } => format!("revoked {id}"),
        What::Administered(act) => format!("{} {}", act.action, if act.allowed { "allowed" } else { "refused" }),
        What::RefusalsCounted(refusals) => format!("{} refusals", refusals.count),
        What::Registered { name, .. } => format!("registered {name}"),
        What::DocumentPinned => "document".to_owned(),
    };
    audited.iter().rev().map(|a| word(&a.what)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_outlive_a_stop_a_crash_and_the_index() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let control = engine.control();
    let made = control.create_token(new("a1", "ci"), by("cli")).await.unwrap();
    assert_eq!(control.token("a1"), Some(made.clone()));
    let taken = control.create_token(new("a2", "ci"), by("cli")).await.unwrap_err();
    assert!(matches!(&taken, Error::TokenTaken { id, .. } if &**id == "a1"), "{taken}");
    control.create_token(new("a2", "old"), by("cli")).await.unwrap();
    control.revoke_token("a2", by("10.0.0.1"), "leaked").await.unwrap();
    let again = control.revoke_token("a2", by("cli"), "again").await.unwrap();
    assert_eq!(&*again.revoked.as_ref().unwrap().reason, "leaked", "it stays as it was");
    assert!(matches!(control.revoke_token("zz", by("cli"), "").await, Err(Error::NoToken { .. })));
    control.create_token(new("a3", "old"), by("cli")).await.expect("the name of a revoked one is free");

    let known = |engine: &Engine| engine.control().tokens();
    let before = known(&engine);
    assert_eq!(before.len(), 3);
    let crash = crashed(dir.path());
    let other = open(crash.path(), &world).await;
    assert_eq!(known(&other), before, "after a crash that lost the index");
    other.control().create_token(new("a4", "new"), by("cli")).await.unwrap();
    other.stop().await.unwrap();
    assert!(cpd_journal::verify(crash.path().join("journal")).unwrap().is_whole());
    assert_eq!(View::open(crash.path()).unwrap().tokens().unwrap().len(), 4);

    engine.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    assert_eq!(known(&engine), before, "after a stop");
    engine.control().revoke_token("a1", by("cli"), "").await.unwrap();
    engine.stop().await.unwrap();
    let view = View::open(dir.path()).unwrap();
    assert!(view.tokens().unwrap()[0].revoked.is_some());
    assert_eq!(view.runs().count(), 0, "a control stream is no run");
    assert!(view.unreadable().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_has_everything_in_order_and_pages() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let control = engine.control();
    control.create_token(new("a1", "ci"), by("cli")).await.unwrap();
    register(&engine, "w", "do:\n  - a: { call: test.put, with: {} }").await;
    control.note(act("10.0.0.1", "schedule.pause", true)).await.unwrap();
    control.note(act("10.0.0.1", "journal.export", false)).await.unwrap();
    control.revoke_token("a1", by("cli"), "over").await.unwrap();
    let expected = ["created ci", "registered t/w", "schedule.pause allowed", "journal.export refused", "revoked a1"];
    let all = control.audit(None, 100).await.unwrap();
    assert_eq!(words(&all), expected);
    let mut paged = Vec::new();
    while let page @ [.., last] =
        &*control.audit(paged.last().map(|a: &cpd_engine::control::Audited| a.lsn), 2).await.unwrap()
    {
        assert!(page.len() <= 2 && last.lsn.0 >= 1);
        paged.extend_from_slice(page);
    }
    assert_eq!(paged, all);
    engine.stop().await.unwrap();
    // The chain goes on over stops, with the index and without.
    for round in 0..3 {
        if round == 2 {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let engine = open(dir.path(), &world).await;
        engine.control().note(act("cli", "backup", true)).await.unwrap();
        engine.stop().await.unwrap();
    }
    let view = View::open(dir.path()).unwrap();
    assert_eq!(words(&view.audit(None, 100).unwrap()).len(), expected.len() + 3);
    assert!(cpd_journal::verify(dir.path().join("journal")).unwrap().is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_is_counted_and_does_not_fill_the_disk() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let control = engine.control();
    let long = Act { target: "é".repeat(100_000).into(), ..act("10.0.0.1", "enter", false) };
    for _ in 0..50_000 {
        control.note(long.clone()).await.unwrap();
    }
    control.note(act("10.0.0.2", "enter", false)).await.unwrap();
    engine.stop().await.unwrap();
    let view = View::open(dir.path()).unwrap();
    let audited = view.audit(None, 1_000).unwrap();
    let all = words(&audited);
    assert_eq!(all.len(), 12, "{all:?}");
    assert_eq!(all.last().unwrap(), "49990 refusals");
    let What::RefusalsCounted(refusals) = &audited[0].what else { panic!("{:?}", audited[0]) };
    assert_eq!((&*refusals.groups[0].from, refusals.groups[0].count), ("10.0.0.1", 49_990));
    assert!(refusals.since <= refusals.until && refusals.since > Timestamp(0));
    let bytes: u64 = cpd_journal::verify(dir.path().join("journal")).unwrap().bytes;
    assert!(bytes < 20_000, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_nothing_half_made() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    for n in 0..50 {
        let control = engine.control();
        let (id, name) = (format!("t{n}"), format!("name {n}"));
        let mut making = Box::pin(async move { control.create_token(new(&id, &name), by("cli")).await });
        // Polled once, then dropped: the record may be on its way.
        futures_util::future::poll_immediate(&mut making).await;
        drop(making);
        engine.control().note(act("cli", "backup", true)).await.unwrap();
    }
    engine.control().create_token(new("last", "last"), by("cli")).await.unwrap();
    engine.stop().await.unwrap();
    let there = engine.control().tokens();
    assert!(cpd_journal::verify(dir.path().join("journal")).unwrap().is_whole());
    let known = View::open(dir.path()).unwrap().tokens().unwrap();
    assert_eq!(known.len(), 51, "each was begun, so each is there");
    assert!(known == there, "what is in memory is what is in the journal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_whose_caller_goes_away_is_made_or_not_and_keeps_nobody_from_the_next() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    for n in 0..30 {
        let source = workflow(&format!("w{n}"), "1.0.0", "do:\n  - a: { set: { x: 1 } }");
        let mut registering = Box::pin(engine.register_by(&source, "w.yaml", "token:ci"));
        for _ in 0..n % 3 {
            // Somewhere on the way, the record perhaps under way.
            if futures_util::future::poll_immediate(&mut registering).await.is_some() {
                // It was quicker; what is done must not be polled again.
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(registering);
        register(&engine, &format!("next-{n}"), "do:\n  - a: { set: { x: 1 } }").await;
    }
    engine.stop().await.unwrap();
    let there = engine.registry().workflows().len();
    assert!(cpd_journal::verify(dir.path().join("journal")).unwrap().is_whole());
    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.registry().workflows().len(), there, "what is in memory is what is in the journal");
    assert_eq!(there, 50, "those that were begun, and those that followed");
    let audited = view.audit(None, 1_000).unwrap();
    let by_ci = audited.iter().filter(|a| matches!(&a.what, What::Registered { actor, .. } if &**actor == "token:ci"));
    assert_eq!(by_ci.count(), 20);
}
