//! Dates and times, in UTC.
//!
//! "Broken down time" is jq's array of year, month (from 0), day, hours, minutes, seconds, day of the week (Sunday is
//! 0) and day of the year (from 0). Time zones are not known: `%Z` prints `UTC`, and an offset read by `%z` is skipped,
//! as jq does. No filter here reads the clock or the zone of the machine.

use super::super::interp::V;
use super::super::ops::{Op, fault, text};
use super::{Entry, value};
use crate::value::Value;

pub(super) static TABLE: &[Entry] = &[
    value!("gmtime" / 0 => gmtime),
    value!("mktime" / 0 => mktime),
    value!("strftime" / 1 => |v: &Value, [format]: [&Value; 1]| strftime(v, format)),
    value!("strptime" / 1 => |v: &Value, [format]: [&Value; 1]| strptime(v, format)),
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The years that C's 32-bit `tm_year` can hold, roughly; beyond them arithmetic on seconds could overflow.
const YEARS: std::ops::RangeInclusive<i64> = -2_000_000_000..=2_000_000_000;

#[derive(Clone, Copy, Default)]
struct Time {
    year: i64,
    /// From 0.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: i64,
    yearday: i64,
}

/// Days since 1970-01-01 of the first day of a month (from 0), in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_of_month_start(year: i64, month: i64) -> i64 {
    let year = if month < 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * ((month + 10) % 12) + 2) / 5;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl Time {
    fn of_epoch(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = (mp + 2) % 12;
        let year = yoe + era * 400 + i64::from(month < 2);
        Self {
            year,
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            yearday: days - days_of_month_start(year, 0),
        }
    }

    /// Seconds since the epoch; fields out of their ranges carry over, as with C's `timegm`.
    fn epoch(self) -> Option<i64> {
        let year = self.year.checked_add(self.month.div_euclid(12)).filter(|y| YEARS.contains(y))?;
        let days = days_of_month_start(year, self.month.rem_euclid(12)) + self.day - 1;
        Some(days * 86_400 + self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// From an array of numbers; those that are missing are zero.
    fn of(v: &Value) -> Option<Self> {
        let fields = v.as_array()?;
        let mut out = [0; 8];
        for (out, v) in out.iter_mut().zip(fields) {
            let f = v.as_f64().filter(|f| !f.is_nan())?;
            // The range of C's `int`, in which no sum below can overflow.
            *out = f.clamp(-2_147_483_648.0, 2_147_483_647.0) as i64;
        }
        let [year, month, day, hour, minute, second, weekday, yearday] = out;
        Some(Self { year, month, day, hour, minute, second, weekday, yearday })
    }

    fn to_value(self, fraction: f64) -> Value {
        let second =
            if fraction == 0.0 { Value::from(self.second) } else { Value::from(self.second as f64 + fraction) };
        let [year, month, day, hour, minute, weekday, yearday] =
            [self.year, self.month, self.day, self.hour, self.minute, self.weekday, self.yearday].map(Value::from);
        Value::from(vec![year, month, day, hour, minute, second, weekday, yearday])
    }
}

fn gmtime(v: &Value) -> Op {
    let Some(seconds) = v.as_f64() else { return fault("gmtime() requires numeric inputs") };
    let whole = seconds.floor();
    if !(-6e16..6e16).contains(&whole) {
        return fault("error converting number of seconds since epoch to datetime");
    }
    Ok(Time::of_epoch(whole as i64).to_value(seconds - whole))
}

fn mktime(v: &Value) -> Op {
    if v.as_array().is_none() {
        return fault("mktime requires array inputs");
    }
    let Some(time) = Time::of(v) else { return fault("mktime requires parsed datetime inputs") };
    time.epoch().map_or_else(|| fault("invalid gmtime representation"), |s| Ok(Value::from(s)))
}

fn strftime(v: &Value, format: &Value) -> Op {
    let broken_down = match v {
        Value::Num(_) => gmtime(v)?,
        Value::Arr(_) => v.clone(),
        _ => return fault("strftime/1 requires parsed datetime inputs"),
    };
    let Some(format) = format.as_str() else { return fault("strftime/1 requires a string format") };
    let time = Time::of(&broken_down).and_then(Time::epoch);
    let Some(epoch) = time else { return fault("strftime/1 requires parsed datetime inputs") };
    text(print(Time::of_epoch(epoch), epoch, format))
}

/// ISO 8601 week of the year, and the year that it belongs to.
fn iso_week(t: &Time) -> (i64, i64) {
    let monday_based = (t.weekday + 6) % 7;
    let week = (t.yearday - monday_based + 10) / 7;
    let year_start = |y| days_of_month_start(y, 0);
    let weeks_in = |y: i64| {
        let first = (year_start(y) + 4).rem_euclid(7);
        let leap = year_start(y + 1) - year_start(y) == 366;
        if first == 4 || first == 3 && leap { 53 } else { 52 }
    };
    match week {
        0 => (t.year - 1, weeks_in(t.year - 1)),
        w if w > weeks_in(t.year) => (t.year + 1, 1),
        w => (t.year, w),
    }
}

fn print(t: Time, epoch: i64, format: &str) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    let twelve = |h: i64| (h + 11) % 12 + 1;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        // The alternative forms of locales that are not known here mean the plain ones.
        while let Some('E' | 'O' | '-' | '_' | '0' | '^' | '#') = directive {
            directive = chars.next();
        }
        let part = match directive {
            Some('Y') => t.year.to_string(),
            Some('C') => format!("{:02}", t.year.div_euclid(100)),
            Some('y') => format!("{:02}", t.year.rem_euclid(100)),
            Some('m') => format!("{:02}", t.month + 1),
            Some('d') => format!("{:02}", t.day),
            Some('e') => format!("{:2}", t.day),
            Some('H') => format!("{:02}", t.hour),
            Some('k') => format!("{:2}", t.hour),
            Some('I') => format!("{:02}", twelve(t.hour)),
            Some('l') => format!("{:2}", twelve(t.hour)),
            Some('M') => format!("{:02}", t.minute),
            Some('S') => format!("{:02}", t.second),
            Some('j') => format!("{:03}", t.yearday + 1),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('A') => DAYS[t.weekday as usize].to_owned(),
            Some('a') => DAYS[t.weekday as usize][..3].to_owned(),
            Some('B') => MONTHS[t.month as usize].to_owned(),
            Some('b' | 'h') => MONTHS[t.month as usize][..3].to_owned(),
            Some('p') => if t.hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('P') => if t.hour < 12 { "am" } else { "pm" }.to_owned(),
            Some('s') => epoch.to_string(),
            Some('u') => ((t.weekday + 6) % 7 + 1).to_string(),
            Some('w') => t.weekday.to_string(),
            Some('U') => format!("{:02}", (t.yearday + 7 - t.weekday) / 7),
            Some('W') => format!("{:02}", (t.yearday + 7 - (t.weekday + 6) % 7) / 7),
            Some('V') => format!("{:02}", iso_week(&t).1),
            Some('G') => iso_week(&t).0.to_string(),
            Some('g') => format!("{:02}", iso_week(&t).0.rem_euclid(100)),
            Some('D' | 'x') => print(t, epoch, "%m/%d/%y"),
            Some('F') => print(t, epoch, "%Y-%m-%d"),
            Some('T' | 'X') => print(t, epoch, "%H:%M:%S"),
            Some('R') => print(t, epoch, "%H:%M"),
            Some('r') => print(t, epoch, "%I:%M:%S %p"),
            Some('c') => print(t, epoch, "%a %b %e %H:%M:%S %Y"),
            Some('n') => "\n".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        };
        out.push_str(&part);
    }
    out
}

fn strptime(v: &Value, format: &Value) -> Op {
    let (Some(s), Some(format)) = (v.as_str(), format.as_str()) else {
        return fault("strptime/1 requires string inputs and arguments");
    };
    let mut reader = Reader { rest: s, time: Time::default(), afternoon: None, days_known: (false, false) };
    match reader.read(format).filter(|()| reader.rest.is_empty()) {
        Some(()) => Ok(reader.finish().to_value(0.0)),
        None => fault(format!("date \"{s}\" does not match format \"{format}\"")),
    }
}

/// Reads a date by a format, as C's `strptime` does: names in any case, white space for any white space.
struct Reader<'s> {
    rest: &'s str,
    time: Time,
    afternoon: Option<bool>,
    /// Whether the day of the week and the day of the year were read.
    days_known: (bool, bool),
}

impl Reader<'_> {
    fn read(&mut self, format: &str) -> Option<()> {
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c.is_ascii_whitespace() {
                self.rest = self.rest.trim_start();
            } else if c != '%' {
                self.rest = self.rest.strip_prefix(c)?;
            } else {
                let mut directive = chars.next()?;
                while let 'E' | 'O' | '-' | '_' | '0' | '^' | '#' = directive {
                    directive = chars.next()?;
                }
                self.directive(directive)?;
            }
        }
        Some(())
    }

    fn directive(&mut self, directive: char) -> Option<()> {
        match directive {
            'Y' => self.time.year = self.number(4, 0, 9999)?,
            'y' => {
                let y = self.number(2, 0, 99)?;
                self.time.year = if y < 69 { 2000 + y } else { 1900 + y };
            }
            'm' => self.time.month = self.number(2, 1, 12)? - 1,
            'd' | 'e' => self.time.day = self.number(2, 1, 31)?,
            'H' | 'k' => self.time.hour = self.number(2, 0, 23)?,
            'I' | 'l' => self.time.hour = self.number(2, 1, 12)? % 12,
            'M' => self.time.minute = self.number(2, 0, 59)?,
            'S' => self.time.second = self.number(2, 0, 60)?,
            'j' => {
                self.time.yearday = self.number(3, 1, 366)? - 1;
                self.days_known.1 = true;
            }
            'a' | 'A' => {
                self.time.weekday = self.name(&DAYS)?;
                self.days_known.0 = true;
            }
            'b' | 'B' | 'h' => self.time.month = self.name(&MONTHS)?,
            'p' | 'P' => self.afternoon = Some(self.name(&["AM.", "PM."])? == 1),
            'w' => {
                self.time.weekday = self.number(1, 0, 6)?;
                self.days_known.0 = true;
            }
            'u' => {
                self.time.weekday = self.number(1, 1, 7)? % 7;
                self.days_known.0 = true;
            }
            's' => {
                self.time = Time::of_epoch(self.number(12, 0, 999_999_999_999)?);
                self.days_known = (true, true);
            }
            'Z' => self.rest = self.rest.trim_start().trim_start_matches(|c: char| !c.is_whitespace()),
            'z' => self.offset()?,
            'D' => self.read("%m/%d/%y")?,
            'F' => self.read("%Y-%m-%d")?,
            'T' => self.read("%H:%M:%S")?,
            'R' => self.read("%H:%M")?,
            'r' => self.read("%I:%M:%S %p")?,
            'c' => self.read("%a %b %e %H:%M:%S %Y")?,
            'n' | 't' => self.rest = self.rest.trim_start(),
            '%' => self.rest = self.rest.strip_prefix('%')?,
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self, digits_max: usize, least: i64, most: i64) -> Option<i64> {
        let s = self.rest.trim_start_matches(' ');
        let len = s.bytes().take(digits_max).take_while(u8::is_ascii_digit).count();
        let n = s[..len].parse().ok().filter(|n| (least..=most).contains(n))?;
        self.rest = &s[len..];
        Some(n)
    }

    /// A name, in full or by its first three letters (two for `AM.` and `PM.`), in any case.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        let rest = self.rest;
        let starts = |name: &str| rest.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
        let (i, len) = names.iter().enumerate().find_map(|(i, name)| {
            let short = if name.ends_with('.') { &name[..2] } else { &name[..3] };
            [*name, short].into_iter().find(|n| starts(n)).map(|n| (i, n.len()))
        })?;
        self.rest = &rest[len..];
        i64::try_from(i).ok()
    }

    /// `Z`, `+hh`, `+hhmm` or `+hh:mm`.
    fn offset(&mut self) -> Option<()> {
        let s = self.rest.trim_start();
        if let Some(rest) = s.strip_prefix(['Z', 'z']) {
            self.rest = rest;
            return Some(());
        }
        self.rest = s.strip_prefix(['+', '-'])?;
        self.number(2, 0, 24)?;
        self.rest = self.rest.strip_prefix(':').unwrap_or(self.rest);
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            self.number(2, 0, 59)?;
        }
        Some(())
    }

    fn finish(self) -> Time {
        let mut t = self.time;
        if self.afternoon == Some(true) {
            t.hour += 12;
        }
        // A format without a day leaves it zero, as in C; then there is nothing to derive.
        let midnight = Time { hour: 0, minute: 0, second: 0, ..t }.epoch().filter(|_| t.day != 0);
        if let Some(days) = midnight.map(|s| s.div_euclid(86_400)) {
            if !self.days_known.0 {
                t.weekday = (days + 4).rem_euclid(7);
            }
            if !self.days_known.1 {
                t.yearday = days - days_of_month_start(t.year, 0);
            }
        }
        t
    }
}
