//! What is caught and tried again.

use super::Linter;
use crate::definition::plan::{Action, Backoff, Catch, ErrorFilter, Plan, Span as Time};

impl Linter<'_> {
    pub(super) fn errors(&mut self, plan: &Plan) {
        for task in self.tasks(plan) {
            let Action::Try { catch, .. } = &task.node.action else { continue };
            let Some(yaml) = task.yaml.get("catch") else { continue };
            let Catch { filter, when, except_when, retry, body, then } = catch;
            let everything = *filter == ErrorFilter::default() && when.is_none() && except_when.is_none();
            if everything && retry.is_none() && then.is_none() && body.as_ref().is_none_or(Vec::is_empty) {
                let span = Self::key_of(task.yaml, "catch").unwrap_or(task.key);
                let d = self.advise("swallowed-error", span, "every error is caught, and nothing is done about it");
                d.label = Some("the run goes on as if nothing had happened".into());
                d.hint = Some(
                    "say which errors are expected (`errors: { with: { status: 404 } }`), or what to do (`do`)".into(),
                );
            }
            if let Some(retry) = retry.as_ref().filter(|r| at_once(&r.delay) && r.retries_max > 0)
                && retry.jitter.is_none()
                && retry.backoff == Backoff::Constant
            {
                let span = Self::key_of(yaml, "retry").unwrap_or(task.key);
                let d =
                    self.advise("retry-without-delay", span, "tries again at once, when what failed is still failing");
                d.hint = Some("add `delay: PT1S`, and `backoff: { exponential: {} }`".into());
            }
        }
    }
}

fn at_once(delay: &Time) -> bool {
    matches!(delay, Time::Fixed(delay) if delay.is_zero())
}
