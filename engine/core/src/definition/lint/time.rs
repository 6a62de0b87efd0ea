//! Time: time-outs that something else overtakes, waits without an end, schedules that never fire.

use std::time::Duration;

use super::{Linter, Task, ancestors};
use crate::definition::plan::{Action, Node, Plan, Span as Time};

impl Linter<'_> {
    pub(super) fn time(&mut self, plan: &Plan) {
        for task in self.tasks(plan) {
            self.overtaken(plan, task);
            let bounded = || task.node.timeout.is_some() || ancestors(plan, task.node.id).any(|n| n.timeout.is_some());
            if matches!(task.node.action, Action::Listen(_)) && !bounded() {
                let span = Self::key_of(task.yaml, "listen").unwrap_or(task.key);
                let d = self.advise("listen-without-timeout", span, "waits for ever if the event does not come");
                d.hint =
                    Some("add `timeout: { after: P1D }` here or around it, and catch it if that is no error".into());
            }
        }
        self.schedule();
    }

    fn overtaken(&mut self, plan: &Plan, task: Task<'_>) {
        let outer = ancestors(plan, task.node.id).find_map(|n| Some((n, fixed(n)?)));
        let (own, what, key) = match (&task.node.action, fixed(task.node)) {
            (Action::Wait(Time::Fixed(wait)), Some(limit)) if *wait >= limit => {
                (*wait, "wait", Some((task.node, limit)))
            }
            (Action::Wait(Time::Fixed(wait)), _) => (*wait, "wait", outer),
            (_, Some(limit)) => (limit, "timeout", outer),
            _ => return,
        };
        let Some((around, limit)) = key.filter(|(_, limit)| own >= *limit && (what == "wait" || own > *limit)) else {
            return;
        };
        let span = Self::key_of(task.yaml, what).unwrap_or(task.key);
        let name = if around.parent.is_none() { "the workflow".to_owned() } else { format!("task `{}`", around.name) };
        let place = self.at(&format!("{}/timeout", around.pointer)).and_then(|(_, key)| key);
        let message = match what {
            "wait" => format!("the wait never ends: {name} times out first, or at the same time"),
            _ => format!("this time-out is never reached: {name} times out first"),
        };
        let d = self.advise("overtaken-time", span, message);
        d.label = Some(shown(own));
        if let Some(place) = place {
            d.relate(place, format!("after {}", shown(limit)));
        }
    }

    fn schedule(&mut self) {
        let Some(yaml) = self.root.get("schedule").and_then(|s| s.get("cron")) else { return };
        if let Some(text) = yaml.text().filter(|t| never_fires(t)) {
            let d =
                self.advise("cron-never-fires", yaml.mark, format!("`{text}` names days that its months do not have"));
            d.hint = Some("fields are minute, hour, day of the month, month, day of the week".into());
        }
    }
}

fn fixed(node: &Node) -> Option<Duration> {
    match node.timeout {
        Some(Time::Fixed(limit)) => Some(limit),
        _ => None,
    }
}

fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Whether a cron expression that was read without an error fits no day of any year.
fn never_fires(text: &str) -> bool {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [.., days, months, weekdays] = parts[..] else { return false };
    // A day of the week beside a day of the month is another way to be met.
    if !matches!(weekdays, "*" | "?") {
        return false;
    }
    const NAMES: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let number = |s: &str| {
        let named = NAMES.iter().position(|n| n.eq_ignore_ascii_case(s)).and_then(|i| u32::try_from(i + 1).ok());
        named.or_else(|| s.parse().ok())
    };
    // The least and the most of each part of a list; `None` for what is not understood.
    let ranges = |field: &str, most: u32| -> Option<Vec<(u32, u32)>> {
        let range = |part: &str| {
            let (range, step) = part.split_once('/').map_or((part, false), |(r, _)| (r, true));
            match range.split_once('-') {
                _ if matches!(range, "*" | "?") => Some((1, most)),
                Some((from, to)) => Some((number(from)?, number(to)?)),
                None => number(range).map(|n| (n, if step { most } else { n })),
            }
        };
        field.split(',').map(range).collect()
    };
    let (Some(days), Some(months)) = (ranges(days, 31), ranges(months, 12)) else { return false };
    let earliest = days.iter().map(|(from, _)| *from).min().unwrap_or(1);
    let longest = |(from, to): &(u32, u32)| (*from..=*to).filter_map(|m| LONGEST.get(m.checked_sub(1)? as usize)).max();
    months.iter().filter_map(longest).max().is_some_and(|longest| earliest > *longest)
}

#[cfg(test)]
mod tests {
    use super::never_fires;

    #[test]
    fn days_that_no_month_has_are_found_and_leap_days_are_days() {
        for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 0 31 FEB ?", "0 0 30,31 feb *", "0 0 31 6-6 *"] {
            assert!(never_fires(text), "{text}");
        }
        for text in [
            "0 0 29 2 *",
            "0 0 31 4,5 *",
            "0 0 30 2 1",
            "* * * * *",
            "0 0 1,31 2 *",
            "0 0 31 */2 *",
            "@daily",
            "0 0 30/1 1-2 *",
        ] {
            assert!(!never_fires(text), "{text}");
        }
    }
}
