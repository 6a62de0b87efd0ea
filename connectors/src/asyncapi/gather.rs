//! The messages of one subscription, as they come.
//!
//! For each message: it is read; if `filter` does not hold it is passed over; else it is kept, and then the subscription has
//! enough if `amount` are kept, if `while` does not hold for it any more, or if `until` holds for it. So the message that ends a
//! subscription belongs to it.
//!
//! Bounded by the number of messages and by their bytes. More than that is an error, not a cut: a workflow that took
//! a part for the whole would be the worse surprise. What a filter passes over is not kept and not counted.

use std::ops::ControlFlow;

use cpd_connector_api::attachment::{Condition, Conditions};
use cpd_connector_api::{Problem, Standard, Value};

use super::message::{Form, Inbound};
use crate::http::Trouble;

/// The most that a subscription keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages.
    pub messages: usize,
    /// Bytes of payloads and headers.
    pub bytes: usize,
}

/// What has been kept so far.
#[derive(Debug)]
pub struct Gathered {
    conditions: Conditions,
    amount: Option<usize>,
    limits: Limits,
    form: Form,
    from: String,
    messages: Vec<Value>,
    bytes: usize,
    passed_over: usize,
}

impl Gathered {
    /// Nothing yet. `from` says in messages where they come from.
    pub fn new(conditions: Conditions, amount: Option<usize>, limits: Limits, form: Form, from: String) -> Self {
        Self { conditions, amount, limits, form, from, messages: Vec::new(), bytes: 0, passed_over: 0 }
    }

    /// Takes the next message; breaks when there is enough.
    ///
    /// # Errors
    /// If it does not read, a condition fails, or there are too many.
    pub fn take(&mut self, inbound: &Inbound) -> Result<ControlFlow<()>, Trouble> {
        let nth = self.messages.len() + self.passed_over + 1;
        let message = inbound.value(&self.form).map_err(|what| {
            let detail = format!("message {nth} from {} does not read: {what}", self.from);
            Trouble::failed(Problem::standard(Standard::Communication, detail).with_status(502))
        })?;
        let holds = |condition: &Option<Condition>, default: bool| {
            condition.as_ref().map_or(Ok(default), |c| c.holds(&message)).map_err(Trouble::Refused)
        };
        if !holds(&self.conditions.filter, true)? {
            self.passed_over += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let more = holds(&self.conditions.proceed, true)?;
        let last = holds(&self.conditions.until, false)?;
        self.bytes += inbound.bytes();
        if self.messages.len() >= self.limits.messages || self.bytes > self.limits.bytes {
            let Limits { messages, bytes } = self.limits;
            let detail = format!(
                "found more than {messages} messages or {bytes} bytes of them from {}, expected at most that \
                 (`subscription.consume.amount` ends it sooner; [connectors.asyncapi] has the limits)",
                self.from
            );
            return Err(Trouble::Refused(Problem::standard(Standard::Runtime, detail)));
        }
        self.messages.push(message);
        let enough = last || !more || self.amount.is_some_and(|amount| self.messages.len() >= amount);
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// The largest message that is of any use.
    pub fn message_bytes_max(&self) -> usize {
        self.limits.bytes
    }

    /// How many a filter has passed over.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// What was kept, in the order in which it came.
    pub fn into_messages(self) -> Vec<Value> {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: i64) -> Inbound {
        Inbound { payload: n.to_string().into_bytes(), ..Inbound::default() }
    }

    fn payload(message: &Value) -> i64 {
        message.get("payload").and_then(Value::as_i64).unwrap_or(-1)
    }

    fn when(holds: fn(i64) -> bool) -> Option<Condition> {
        Some(Condition::new(move |message| Ok(holds(payload(message)))))
    }

    const WIDE: Limits = Limits { messages: 100, bytes: 10_000 };

    fn kept(conditions: Conditions, amount: Option<usize>) -> (Vec<i64>, usize) {
        let mut gathered = Gathered::new(conditions, amount, WIDE, Form::default(), "here".into());
        let enough = (1..=20).any(|n| gathered.take(&number(n)).unwrap().is_break());
        assert!(enough, "it never had enough");
        let passed = gathered.passed_over();
        (gathered.into_messages().iter().map(payload).collect(), passed)
    }

    #[test]
    fn the_message_that_ends_a_subscription_belongs_to_it() {
        let while_small = Conditions { proceed: when(|n| n < 3), ..Conditions::default() };
        assert_eq!(kept(while_small, None), (vec![1, 2, 3], 0));
        let until_three = Conditions { until: when(|n| n == 3), ..Conditions::default() };
        assert_eq!(kept(until_three, None), (vec![1, 2, 3], 0));
        assert_eq!(kept(Conditions::default(), Some(2)), (vec![1, 2], 0));
    }

    #[test]
    fn what_a_filter_passes_over_counts_for_nothing() {
        let even = || when(|n| n % 2 == 0);
        assert_eq!(kept(Conditions { filter: even(), ..Conditions::default() }, Some(2)), (vec![2, 4], 2));
        let until_odd = Conditions { filter: even(), until: when(|n| n % 2 == 1 || n == 6), ..Conditions::default() };
        assert_eq!(kept(until_odd, None), (vec![2, 4, 6], 3));
    }

    #[test]
    fn too_many_messages_or_bytes_are_an_error_and_not_a_cut() {
        for limits in [Limits { messages: 2, bytes: 1_000 }, Limits { messages: 100, bytes: 2 }] {
            let mut gathered = Gathered::new(Conditions::default(), None, limits, Form::default(), "here".into());
            assert!((1..=2).all(|n| gathered.take(&number(n)).is_ok()));
            let Err(Trouble::Refused(problem)) = gathered.take(&number(3)) else { panic!("expected a refusal") };
            assert!(problem.to_string().contains("messages or"), "{problem}");
        }
    }

    #[test]
    fn a_condition_that_fails_ends_the_subscription_with_its_problem() {
        let fails = Condition::new(|_| Err(Problem::standard(Standard::Expression, "no such function")));
        let conditions = Conditions { filter: Some(fails), ..Conditions::default() };
        let mut gathered = Gathered::new(conditions, None, WIDE, Form::default(), "here".into());
        let Err(Trouble::Refused(problem)) = gathered.take(&number(1)) else { panic!("expected a refusal") };
        assert!(problem.kind.ends_with("/expression"), "{problem}");
    }

    #[test]
    fn a_payload_that_says_it_is_json_and_is_none_is_trouble() {
        let form = Form { content_type: Some("application/json".into()), ..Form::default() };
        let mut gathered = Gathered::new(Conditions::default(), None, WIDE, form, "here".into());
        let bad = Inbound { payload: b"{not json".to_vec(), ..Inbound::default() };
        let Err(Trouble::Failed { problem, .. }) = gathered.take(&bad) else { panic!("expected a failure") };
        assert!(problem.to_string().contains("message 1 from here does not read"), "{problem}");
    }
}
