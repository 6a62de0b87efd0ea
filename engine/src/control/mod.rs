//! The control plane in the journal: bearer tokens, and who administered what.
//!
//! Two streams of their own hold it, so that a start reads the few records about tokens and not the long audit:
//!
//! | stream | records | at the start |
//! |---|---|---|
//! | tokens | `TokenCreated`, `TokenRevoked` | folded |
//! | audit | `Administered`, `RefusalsCounted` | only its last entry is read, to go on from |
//!
//! Registrations are administrative records, too; they have the registry's stream. [`Control::audit`] shows all three in the
//! order in which they happened.
//!
//! - A token is there, or gone, when its record is durable, and not before.
//! - What was allowed is recorded before it is done: [`Control::note`] returns when the record is durable.
//! - What was refused is recorded without waiting, and within bounds (module `limit`): a flood is counted, not kept.
//! - The engine gives roles no meaning, and never sees a secret: it keeps digests.

mod audit;
mod limit;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cpd_core::time::Timestamp;
use cpd_journal::record::Kind;
use cpd_journal::record::v1;
use cpd_journal::{Batch, Chain, EntryBuilder, Lsn, Position, Reader, Receipt, Status, StreamId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

pub(crate) use self::audit::audit;
pub use self::audit::{Audited, What};
use self::limit::{Limiter, Verdict, WINDOW};
pub use self::limit::{RefusalGroup, Refusals};
pub(crate) use self::record::readable;
use crate::engine::{Engine, Shared};
use crate::error::Error;
use crate::index::{AUDIT_LAST, TOKENS_LAST};

/// The stream of tokens. Like the registry's it lies before all runs.
pub(crate) const TOKENS: StreamId = StreamId(*b"\0\0\0\0\0\0\0tokens\0\0\0");
/// The stream of what was administered.
pub(crate) const AUDIT: StreamId = StreamId(*b"\0\0\0\0\0\0\0audit\0\0\0\0");

/// The longest text that is kept of what a caller sent, in bytes; more is cut.
const TEXT_MAX: usize = 256;

/// Who did something, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The name of the principal; empty if it was not recognised.
    pub name: Arc<str>,
    /// How it was recognised; empty if it was not.
    pub via: Arc<str>,
    /// The address of the peer, or `cli`.
    pub from: Arc<str>,
}

/// A bearer token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its public id.
    pub id: Arc<str>,
    /// Its name, for people; no two tokens that are not revoked have the same.
    pub name: Arc<str>,
    /// The name of its role.
    pub role: Arc<str>,
    /// The namespaces that it reaches; `None` if it reaches all.
    pub namespaces: Option<BTreeSet<Arc<str>>>,
    /// Digest of the whole token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// From when on it is good no more.
    pub expires_at: Option<Timestamp>,
    /// Whether, when and why it was revoked.
    pub revoked: Option<Revoked>,
}

/// How a token came to be good no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Arc<str>,
    /// Who revoked it.
    pub by: Actor,
}

impl Token {
    /// Whether it is good at that time.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// See [`Token::id`].
    pub id: Arc<str>,
    /// See [`Token::name`].
    pub name: Arc<str>,
    /// See [`Token::role`].
    pub role: Arc<str>,
    /// See [`Token::namespaces`].
    pub namespaces: Option<BTreeSet<Arc<str>>>,
    /// See [`Token::hash`].
    pub hash: [u8; 32],
    /// See [`Token::expires_at`].
    pub expires_at: Option<Timestamp>,
}

/// Something that somebody wanted to do on the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Who.
    pub by: Actor,
    /// What, such as `token.create`.
    pub action: Arc<str>,
    /// To what.
    pub target: Arc<str>,
    /// Whether it was let.
    pub allowed: bool,
    /// Why it was refused, or what reason was given.
    pub why: Arc<str>,
}

/// What the engine holds of the control plane.
pub(crate) struct ControlState {
    tokens: RwLock<Tokens>,
    /// Held until a change is durable: one change of the tokens at a time.
    tokens_chain: tokio::sync::Mutex<Chain>,
    audit_chain: Mutex<Chain>,
    /// Positions of the last durable entries of the two streams; 0 for none.
    tokens_last: Arc<AtomicU64>,
    audit_last: Arc<AtomicU64>,
    limiter: Mutex<Limiter>,
}

/// Every token in the order in which they were made, and where each id is.
#[derive(Default)]
struct Tokens {
    all: Vec<Arc<Token>>,
    by_id: BTreeMap<Arc<str>, usize>,
}

impl Tokens {
    fn get(&self, id: &str) -> Option<&Arc<Token>> {
        self.by_id.get(id).map(|at| &self.all[*at])
    }

    fn add(&mut self, token: Token) {
        self.by_id.insert(token.id.clone(), self.all.len());
        self.all.push(Arc::new(token));
    }

    fn revoke(&mut self, id: &str, revoked: Revoked) {
        if let Some(at) = self.by_id.get(id) {
            Arc::make_mut(&mut self.all[*at]).revoked = Some(revoked);
        }
    }
}

impl ControlState {
    /// Reads the tokens back from the journal.
    pub(crate) fn load(reader: &Reader, tokens: Option<Position>, audit: Option<Position>) -> Result<Self, Error> {
        let mut folded = Tokens::default();
        let mut tokens_chain = Chain::start(TOKENS);
        if let Some(last) = tokens {
            let entries = reader.history(last)?;
            for entry in &entries {
                record::fold(&mut folded, entry)?;
            }
            tokens_chain = entries.last().map_or(tokens_chain, |entry| entry.chain());
        }
        let audit_chain = match audit {
            Some(last) => reader.read(last)?.chain(),
            None => Chain::start(AUDIT),
        };
        let number = |position: Option<Position>| Arc::new(AtomicU64::new(position.map_or(0, |p| p.0)));
        Ok(Self {
            tokens: RwLock::new(folded),
            tokens_chain: tokio::sync::Mutex::new(tokens_chain),
            audit_chain: Mutex::new(audit_chain),
            tokens_last: number(tokens),
            audit_last: number(audit),
            limiter: Mutex::new(Limiter::default()),
        })
    }

    fn last(of: &AtomicU64) -> Option<Position> {
        Some(Position(of.load(Ordering::Acquire))).filter(|p| *p != Position::NONE)
    }
}

/// Every token that a journal knows, the oldest first.
pub(crate) fn tokens(reader: &Reader, last: Option<Position>) -> Result<Vec<Arc<Token>>, Error> {
    let mut tokens = Tokens::default();
    for entry in last.map(|last| reader.history(last)).transpose()?.iter().flatten() {
        record::fold(&mut tokens, entry)?;
    }
    Ok(tokens.all)
}

/// Tokens, and the record of who administered what. Cheap to clone; each is a handle to the engine.
#[derive(Clone)]
pub struct Control {
    engine: Engine,
}

impl Control {
    pub(crate) fn of(engine: &Engine) -> Self {
        Self { engine: engine.clone() }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    /// What time it is for the engine, and so for tokens.
    pub fn now(&self) -> Timestamp {
        self.shared().clock.now()
    }

    /// Every token, those that were revoked too, the oldest first.
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        self.shared().control.tokens.read().all.clone()
    }

    /// The token of that id.
    pub fn token(&self, id: &str) -> Option<Arc<Token>> {
        self.shared().control.tokens.read().get(id).cloned()
    }

    /// Makes a token; durable when this returns.
    ///
    /// # Errors
    /// If there is a token of that id, or one of that name that is not revoked; or if the journal takes nothing now.
    pub async fn create_token(&self, new: NewToken, by: Actor) -> Result<Arc<Token>, Error> {
        let shared = self.shared().clone();
        self.in_task(async move {
            let shared = &*shared;
            let mut chain = shared.control.tokens_chain.lock().await;
            {
                let tokens = shared.control.tokens.read();
                let named = tokens.all.iter().find(|t| t.revoked.is_none() && t.name == new.name);
                if let Some(taken) = named.or_else(|| tokens.get(&new.id)) {
                    return Err(Error::TokenTaken { name: taken.name.clone(), id: taken.id.clone() });
                }
            }
            let NewToken { id, name, role, namespaces, hash, expires_at } = new;
            let (created_at, created_by) = (shared.clock.now(), by.cut());
            let token = Token { id, name, role, namespaces, hash, created_at, created_by, expires_at, revoked: None };
            let record = record::created(&token);
            append(shared, &mut chain, created_at, Kind::TOKEN_CREATED, &record).await?;
            shared.control.tokens.write().add(token.clone());
            Ok(Arc::new(token))
        })
        .await
    }

    /// Revokes a token; durable when this returns. One that is revoked stays as it is.
    ///
    /// # Errors
    /// If there is no such token, or the journal takes nothing now.
    pub async fn revoke_token(&self, id: &str, by: Actor, reason: &str) -> Result<Arc<Token>, Error> {
        let (id, reason) = (Arc::<str>::from(id), Arc::<str>::from(cut(reason)));
        let shared = self.shared().clone();
        self.in_task(async move {
            let shared = &*shared;
            let mut chain = shared.control.tokens_chain.lock().await;
            let known = shared.control.tokens.read().get(&id).cloned();
            let known = known.ok_or_else(|| Error::NoToken { id: id.clone() })?;
            if known.revoked.is_some() {
                return Ok(known);
            }
            let (at, by) = (shared.clock.now(), by.cut());
            let record = record::revoked(&id, &reason, &by);
            append(shared, &mut chain, at, Kind::TOKEN_REVOKED, &record).await?;
            let mut tokens = shared.control.tokens.write();
            tokens.revoke(&id, Revoked { at, reason, by });
            Ok(tokens.get(&id).cloned().unwrap_or(known))
        })
        .await
    }

    /// Records what somebody did, or was refused. What was allowed is durable when this returns, so call it before the thing is
    /// done. What was refused is on its way when this returns; of too many only the number is kept.
    ///
    /// # Errors
    /// If the journal takes nothing now, and the act was allowed: then it must not be done.
    pub async fn note(&self, act: Act) -> Result<(), Error> {
        let shared = self.shared();
        let act = act.cut();
        if act.allowed {
            room(shared)?;
            let written = submit_audit(shared, Kind::ADMINISTERED, &record::administered(&act))?;
            return written.await.map_err(|_| Error::Stopped)?.map_err(Error::from);
        }
        let verdict = shared.control.limiter.lock().take(&act, shared.clock.now());
        match verdict {
            // Whether it is durable is not waited for: a refusal must not take the time of a disk.
            Verdict::Record if room(shared).is_ok() => {
                drop(submit_audit(shared, Kind::ADMINISTERED, &record::administered(&act))?);
            }
            Verdict::Record => {
                if shared.control.limiter.lock().count(&act, shared.clock.now()) {
                    self.summarise_later();
                }
            }
            Verdict::Counted { first: false } => {}
            Verdict::Counted { first: true } => self.summarise_later(),
        }
        Ok(())
    }

    /// The last `limit` records of the control plane before the record `before`, the newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn audit(&self, before: Option<Lsn>, limit: usize) -> Result<Vec<Audited>, Error> {
        let shared = self.shared().clone();
        let registry = shared.registry.last().await;
        let looking = tokio::task::spawn_blocking(move || {
            let control = &shared.control;
            let last = [registry, ControlState::last(&control.tokens_last), ControlState::last(&control.audit_last)];
            audit(&shared.reader, &last, before, limit)
        });
        looking.await.map_err(|_| Error::Stopped)?
    }

    /// Does something in a task of its own: a caller who stops waiting must not leave a change half made.
    async fn in_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared().tracker.spawn(work).await.map_err(|_| Error::Stopped)?
    }

    /// Writes the summary of what is counted when its window is over, or when the engine stops.
    fn summarise_later(&self) {
        let shared = self.shared().clone();
        let tracker = shared.tracker.clone();
        tracker.spawn(async move {
            loop {
                let ended = tokio::select! {
                    () = tokio::time::sleep(shared.clock.lasts(WINDOW)) => false,
                    () = shared.ended.cancelled() => true,
                };
                // On a full disk it waits for another window: what is counted takes no more room then.
                if ended || room(&shared).is_ok() {
                    break;
                }
            }
            let refusals = shared.control.limiter.lock().summary();
            if let Some(refusals) = refusals {
                // Whether it could be written is said where it is.
                drop(submit_audit(&shared, Kind::REFUSALS_COUNTED, &record::counted(&refusals)));
            }
        });
    }
}

fn room(shared: &Shared) -> Result<(), Error> {
    match shared.writer.status() {
        Status::Full => Err(Error::DiskFull),
        Status::Ok | Status::Poisoned(_) | Status::Closed => Ok(()),
    }
}

/// Adds a record about tokens, and waits until it is durable.
async fn append(shared: &Shared, chain: &mut Chain, at: Timestamp, kind: Kind, payload: &[u8]) -> Result<(), Error> {
    room(shared)?;
    let written = submit(shared, chain, TOKENS_LAST, &shared.control.tokens_last, at, kind, payload)?;
    written.await.map_err(|_| Error::Stopped)?.map_err(Error::from)
}

/// Hands a record of the audit to the writer. The answer may be dropped.
fn submit_audit(shared: &Shared, kind: Kind, payload: &[u8]) -> Result<Written, Error> {
    let mut chain = shared.control.audit_chain.lock();
    let at = shared.clock.now();
    submit(shared, &mut chain, AUDIT_LAST, &shared.control.audit_last, at, kind, payload)
}

type Written = oneshot::Receiver<Result<(), cpd_journal::Error>>;

/// Hands an entry of one record to the writer, and moves the chain on: whatever comes of it, what follows is behind it.
///
/// Where the stream ends now is noted by the writer's own thread, in the order in which it writes.
fn submit(
    shared: &Shared,
    chain: &mut Chain,
    key: &'static [u8],
    last: &Arc<AtomicU64>,
    at: Timestamp,
    kind: Kind,
    payload: &[u8],
) -> Result<Written, Error> {
    let mut builder = EntryBuilder::new(chain, at.as_micros());
    builder.push(kind.0, v1::VERSION, payload);
    let (entry, next) = builder.finish()?;
    let (tell, told) = oneshot::channel();
    let (indexer, last) = (shared.indexer.clone(), last.clone());
    let done = Box::new(move |result: Result<Vec<Receipt>, cpd_journal::Error>| {
        match result.as_deref() {
            Ok([receipt]) => {
                last.store(receipt.position.0, Ordering::Release);
                indexer.control(key, receipt.position, receipt.lsn, Lsn(receipt.lsn.0 + 1));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(error = %error, "a record of the control plane was not written"),
        }
        // Nobody may be waiting.
        drop(tell.send(result.map(drop)));
    });
    shared.writer.submit(Batch { entries: vec![entry], done });
    *chain = next;
    Ok(told)
}

impl Actor {
    fn cut(self) -> Self {
        Self { name: cut(&self.name).into(), via: cut(&self.via).into(), from: cut(&self.from).into() }
    }
}

impl Act {
    fn cut(self) -> Self {
        let Self { by, action, target, allowed, why } = self;
        Self { by: by.cut(), action: cut(&action).into(), target: cut(&target).into(), allowed, why: cut(&why).into() }
    }
}

/// The beginning of a text, as much as is kept of it.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
