//! Spans of time as definitions and expressions give them: ISO 8601 text, or an object of days to milliseconds.
//!
//! Years and months are refused: they have no fixed length, so a timer of one month would mean something else after a
//! time zone, a leap year or a replay. Fractions are allowed as the specification's schema has them (`PT0.5S`, `PT1.5H`).

use std::time::Duration;

use thiserror::Error;

use crate::Value;

/// The longest span: a hundred years, so that no sum of an instant and a span overflows.
pub const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

/// Why something is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Neither a text nor an object.
    #[error("found {0}, expected an ISO 8601 duration such as `PT30S`, or an object such as `{{seconds: 30}}`")]
    Kind(String),
    /// A text that is no duration.
    #[error("found {found:?}, expected an ISO 8601 duration such as `PT30S` or `P1DT12H`")]
    Malformed {
        /// The text.
        found: String,
    },
    /// Years or months.
    #[error("found {unit} in {found:?}, which have no fixed length")]
    Calendar {
        /// `years` or `months`.
        unit: &'static str,
        /// The text.
        found: String,
    },
    /// An object with a member that is no unit.
    #[error("found the unit {0:?}, expected `days`, `hours`, `minutes`, `seconds` or `milliseconds`")]
    Unit(String),
    /// A unit whose value is not a whole number of at least 0.
    #[error("found {found} for `{unit}`, expected a whole number of at least 0")]
    Amount {
        /// The unit.
        unit: String,
        /// What there is.
        found: String,
    },
    /// An object without members.
    #[error("found an empty object, expected at least one of `days`, `hours`, `minutes`, `seconds`, `milliseconds`")]
    Empty,
    /// Longer than a hundred years.
    #[error("found a span of more than a hundred years")]
    TooLong,
}

impl DurationError {
    /// What an author can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Calendar { unit: "months", .. } => {
                Some("minutes stand behind a `T` (`PT5M`); for months count in days (`P30D`)")
            }
            Self::Calendar { .. } => Some("count in weeks or days: `P52W`, `P365D`"),
            Self::Malformed { found } if found.starts_with("P") && !found.contains('T') => {
                Some("hours, minutes and seconds stand behind a `T`: `PT5M`")
            }
            Self::Malformed { .. } => Some("a number by itself has no unit: five minutes are `PT5M`"),
            Self::Kind(_) => Some("five minutes are `PT5M` or `{minutes: 5}`"),
            _ => None,
        }
    }
}

/// Reads a value: ISO 8601 text, or an object of units.
///
/// # Errors
/// If it is no span of time.
pub fn from_value(value: &Value) -> Result<Duration, DurationError> {
    match value {
        Value::Str(text) => from_text(text),
        Value::Obj(members) => {
            if members.is_empty() {
                return Err(DurationError::Empty);
            }
            let mut millis = 0u64;
            for (unit, amount) in members.iter() {
                let per = match &**unit {
                    "days" => 86_400_000,
                    "hours" => 3_600_000,
                    "minutes" => 60_000,
                    "seconds" => 1_000,
                    "milliseconds" => 1,
                    _ => return Err(DurationError::Unit(unit.to_string())),
                };
                let whole = amount.as_i64().and_then(|n| u64::try_from(n).ok());
                let whole =
                    whole.ok_or_else(|| DurationError::Amount { unit: unit.to_string(), found: brief(amount) })?;
                let part = whole.checked_mul(per).ok_or(DurationError::TooLong)?;
                millis = millis.checked_add(part).ok_or(DurationError::TooLong)?;
            }
            within(Duration::from_millis(millis))
        }
        other => Err(DurationError::Kind(brief(other))),
    }
}

/// Reads ISO 8601 text such as `PT30S` or `P1DT12H`.
///
/// # Errors
/// If it is no duration, or one with years or months.
pub fn from_text(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed { found: text.chars().take(60).collect() };
    let calendar = |unit| DurationError::Calendar { unit, found: text.chars().take(60).collect() };
    let mut rest = text.strip_prefix('P').ok_or_else(malformed)?;
    let (mut total, mut in_time, mut last, mut any) = (Duration::ZERO, false, 0, false);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time || time.is_empty() {
                return Err(malformed());
            }
            (in_time, rest) = (true, time);
            continue;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(malformed)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next().ok_or_else(malformed)?;
        // Units come in this order, each at most once.
        let (rank, seconds) = match (unit, in_time) {
            ('Y', false) => return Err(calendar("years")),
            ('M', false) => return Err(calendar("months")),
            ('W', false) => (1, 604_800),
            ('D', false) => (2, 86_400),
            ('H', true) => (3, 3_600),
            ('M', true) => (4, 60),
            ('S', true) => (5, 1),
            _ => return Err(malformed()),
        };
        if rank <= last {
            return Err(malformed());
        }
        (last, any) = (rank, true);
        let part = amount(number, seconds).ok_or_else(malformed)?;
        total = total.checked_add(part).filter(|t| *t <= LONGEST).ok_or(DurationError::TooLong)?;
        rest = &tail[1..];
    }
    if any { Ok(total) } else { Err(malformed()) }
}

/// A number with an optional fraction, times a unit; exact to the nanosecond. Saturates far above [`LONGEST`].
fn amount(number: &str, seconds: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(seconds);
    let nanos = format!("{fraction:0<9}")[..9].parse::<u64>().ok()?;
    Some(Duration::from_secs(whole).saturating_add(Duration::from_nanos(nanos.saturating_mul(seconds))))
}

fn within(span: Duration) -> Result<Duration, DurationError> {
    if span <= LONGEST { Ok(span) } else { Err(DurationError::TooLong) }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(b) => b.to_string(),
        Value::Num(_) => value.to_json(),
        Value::Str(s) => format!("{:?}", s.chars().take(40).collect::<String>()),
        Value::Arr(_) => "a list".into(),
        Value::Obj(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    #[test]
    fn reads_iso_text() {
        for (text, millis) in [
            ("PT30S", 30_000),
            ("PT0S", 0),
            ("P1DT12H", 129_600_000),
            ("P2W", 1_209_600_000),
            ("PT0.5S", 500),
            ("PT1.5H", 5_400_000),
            ("PT1H2M3.004S", 3_723_004),
            ("P1W1D", 691_200_000),
        ] {
            assert_eq!(from_text(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "P",
            "PT",
            "P1DT",
            "30",
            "30s",
            "PT30",
            "PTS",
            "PT.5S",
            "PT1.S",
            "PT1S1M",
            "PT1S1S",
            "P1H",
            "PT1D",
            "-PT1S",
            "pt1s",
            "PT1S ",
            "PTT1S",
            "P1DT1HT1M",
            "PT1,5S",
            "PT+1S",
            "P٣D",
        ] {
            assert!(matches!(from_text(text), Err(DurationError::Malformed { .. })), "{text}");
        }
        assert!(matches!(from_text("P1Y"), Err(DurationError::Calendar { unit: "years", .. })));
        assert!(matches!(from_text("P1M"), Err(DurationError::Calendar { unit: "months", .. })));
        assert_eq!(from_text("P99999999999999999999999D"), Err(DurationError::TooLong));
        assert_eq!(from_text("P36526D"), Err(DurationError::TooLong));
    }

    #[test]
    fn reads_objects_of_units() {
        assert_eq!(from_value(&json!({"minutes": 2, "milliseconds": 5})), Ok(Duration::from_millis(120_005)));
        assert_eq!(from_value(&json!({"seconds": 2.0})), Ok(Duration::from_secs(2)));
        assert_eq!(from_value(&json!({})), Err(DurationError::Empty));
        assert_eq!(from_value(&json!({"weeks": 1})), Err(DurationError::Unit("weeks".into())));
        for bad in [json!(-1), json!(1.5), json!("1"), json!(null)] {
            assert!(matches!(from_value(&json!({ "days": bad })), Err(DurationError::Amount { .. })));
        }
        assert_eq!(from_value(&json!({"days": i64::MAX})), Err(DurationError::TooLong));
        assert!(matches!(from_value(&json!(30)), Err(DurationError::Kind(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_is_longer_than_the_longest(text in "P?[0-9.TWDHMSY]{0,30}|\\PC*") {
            if let Ok(span) = from_text(&text) {
                prop_assert!(span <= LONGEST);
            }
        }

        #[test]
        fn whole_seconds_survive_the_text_form(s in 0u64..3_000_000_000) {
            prop_assert_eq!(from_text(&format!("PT{s}S")), Ok(Duration::from_secs(s)));
        }
    }
}
