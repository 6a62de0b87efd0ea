//! The form of a snapshot: types of its own, and conversions that name every field and every variant, so that a state that
//! grows does not compile here until the form says how it is kept (and [`super::FORM`] has moved on).
//!
//! Documents and bindings stand in tables, each once, as they do in memory: many acts share them.

use cpd_journal::record::v1::Json;
use serde::{Deserialize, Serialize};

/// Place of a document in the table.
pub(super) type Doc = u32;

#[derive(Serialize, Deserialize)]
pub(super) struct Form<'a> {
    /// The program that wrote it: another one may fold another state.
    pub(super) cpd: String,
    pub(super) plan: [u8; 32],
    pub(super) seq: u64,
    pub(super) digest: [u8; 32],
    #[serde(borrow)]
    pub(super) documents: Vec<Json<'a>>,
    /// Outer ones before inner ones.
    pub(super) bindings: Vec<BindingForm>,
    pub(super) phase: PhaseForm,
    pub(super) behaviour: u16,
    pub(super) started_at: i64,
    pub(super) actor: String,
    pub(super) input: Doc,
    pub(super) context: Doc,
    pub(super) acts: Vec<ActForm>,
    pub(super) next_act: u32,
    pub(super) agenda: Vec<u32>,
    pub(super) abandoned: Vec<AbandonedForm>,
    pub(super) inbox: InboxForm,
    pub(super) events: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct InboxForm {
    pub(super) events: Vec<ReceivedForm>,
    pub(super) next: u64,
    pub(super) remembered: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReceivedForm {
    pub(super) number: u64,
    pub(super) event: Doc,
    pub(super) taken: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BindingForm {
    pub(super) values: Vec<Doc>,
    pub(super) outer: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum PhaseForm {
    Running,
    Paused,
    Completed { output: Doc },
    Faulted { problem: Doc },
    Cancelled { reason: String },
}

#[derive(Serialize, Deserialize)]
pub(super) struct AbandonedForm {
    pub(super) act: u32,
    pub(super) node: u32,
    pub(super) attempt: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ActForm {
    pub(super) id: u32,
    pub(super) node: u32,
    /// The task's reference: a plan that has another task there is not the one that this state belongs to.
    pub(super) pointer: String,
    pub(super) parent: Option<u32>,
    pub(super) branch: u32,
    pub(super) input: Doc,
    pub(super) bindings: Option<u32>,
    pub(super) caught: Option<u32>,
    pub(super) iteration: String,
    pub(super) started_at: i64,
    pub(super) deadline: Option<i64>,
    pub(super) status: StatusForm,
}

#[derive(Serialize, Deserialize)]
pub(super) enum StatusForm {
    Ready,
    List {
        jumps: u32,
    },
    Loop {
        items: Doc,
        index: u32,
        between: bool,
        carry: Doc,
        jumps: u32,
    },
    Branches {
        outputs: Vec<Option<Doc>>,
    },
    Extended {
        stage: StageForm,
        jumps: u32,
    },
    Trying {
        attempt: u32,
        attempt_deadline: Option<i64>,
        jumps: u32,
    },
    Delayed {
        attempt: u32,
        until: i64,
        problem: Doc,
    },
    Catching {
        jumps: u32,
    },
    Calling {
        attempt: u32,
        unknowns: u32,
        args: Doc,
        key: Option<String>,
        phase: CallForm,
    },
    Listening {
        next: u64,
        gathered: Vec<Doc>,
        met: Vec<bool>,
        until_met: Vec<bool>,
        keys: Doc,
        item: Doc,
        index: u32,
        busy: bool,
        closing: bool,
    },
    Publishing {
        event: Doc,
    },
    Approving {
        request: Doc,
        since: i64,
        escalated: bool,
        votes: Vec<VoteForm>,
        delegations: Vec<(String, String)>,
    },
    Waiting {
        until: i64,
    },
    Returned {
        output: Doc,
        then: ThenForm,
    },
    Failing {
        problem: Doc,
        not_before: Option<i64>,
        inside: Option<u32>,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct VoteForm {
    pub(super) by: String,
    pub(super) on_behalf_of: Option<String>,
    pub(super) approves: bool,
    pub(super) comment: String,
    pub(super) at: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) enum StageForm {
    Before,
    Inner { applies: bool },
    After { output: Doc, then: ThenForm },
}

#[derive(Serialize, Deserialize)]
pub(super) enum CallForm {
    InFlight,
    Undetermined { problem: Doc, interrupted: bool },
    BackingOff { until: i64 },
    Reconciling { problem: Doc },
    Unreconciled { problem: Doc },
    Parked { problem: Doc },
}

#[derive(Serialize, Deserialize)]
pub(super) enum ThenForm {
    Continue,
    Exit,
    End,
    To { node: u32 },
}
