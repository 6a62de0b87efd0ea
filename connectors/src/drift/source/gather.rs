//! Gathers the values of one column while a file is read.

use std::collections::BTreeMap;

use super::{Column, Data, Error, Kind, Place, Source, short};

/// A column that is being read.
pub(super) struct Gather<'a> {
    source: &'a Source,
    name: String,
    missing: u64,
    state: State,
    /// If nobody said the kind: the first value that was no number.
    first_text: Option<(Place, String)>,
}

enum State {
    Numeric(Vec<f64>),
    /// Numeric so far; nobody said that it must be.
    Undecided(Vec<f64>),
    Categorical(BTreeMap<String, u64>),
    /// Turned out to be categorical: has to be read again from the start.
    Again,
}

impl<'a> Gather<'a> {
    pub(super) fn new(source: &'a Source, name: String, kind: Option<Kind>) -> Self {
        let state = match kind {
            Some(Kind::Numeric) => State::Numeric(Vec::new()),
            Some(Kind::Categorical) => State::Categorical(BTreeMap::new()),
            None => State::Undecided(Vec::new()),
        };
        Self { source, name, missing: 0, state, first_text: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether numbers should be handed in as numbers.
    pub(super) fn is_numeric(&self) -> bool {
        matches!(self.state, State::Numeric(_) | State::Undecided(_))
    }

    pub(super) fn missing(&mut self) {
        self.missing += 1;
    }

    /// Takes a value that is a number by type. `left` is what the whole file may still keep.
    pub(super) fn number(&mut self, value: f64, place: Place, left: &mut usize) -> Result<(), Error> {
        match &mut self.state {
            State::Numeric(values) | State::Undecided(values) if value.is_finite() => {
                let max = self.source.limits.values_max;
                *left =
                    left.checked_sub(1).ok_or_else(|| Error::TooManyValues { path: self.source.path.clone(), max })?;
                values.push(value);
                Ok(())
            }
            State::Numeric(_) | State::Undecided(_) => Err(self.not_numeric(place, &value.to_string())),
            State::Categorical(_) | State::Again => self.category(&value.to_string()),
        }
    }

    /// Takes a value that is text and may read as a number.
    pub(super) fn text(&mut self, value: &str, place: Place, left: &mut usize) -> Result<(), Error> {
        match &mut self.state {
            State::Categorical(_) => self.category(value),
            State::Again => Ok(()),
            State::Numeric(_) | State::Undecided(_) => {
                match value.trim_ascii().parse::<f64>().ok().filter(|v| v.is_finite()) {
                    Some(number) => self.number(number, place, left),
                    None if matches!(self.state, State::Undecided(_)) => {
                        if let State::Undecided(values) = std::mem::replace(&mut self.state, State::Again) {
                            *left += values.len();
                        }
                        self.first_text = Some((place, short(value)));
                        Ok(())
                    }
                    None => Err(self.not_numeric(place, value)),
                }
            }
        }
    }

    /// Counts a category.
    pub(super) fn category(&mut self, value: &str) -> Result<(), Error> {
        let State::Categorical(counts) = &mut self.state else { return Ok(()) };
        if let Some(count) = counts.get_mut(value) {
            *count += 1;
            return Ok(());
        }
        let max = self.source.limits.categories_max;
        if counts.len() >= max {
            return Err(Error::TooManyCategories {
                path: self.source.path.clone(),
                column: self.name.clone(),
                max,
                first_text: self.first_text.take(),
            });
        }
        counts.insert(value.to_owned(), 1);
        Ok(())
    }

    fn not_numeric(&self, place: Place, value: &str) -> Error {
        Error::NotNumeric { path: self.source.path.clone(), place, column: self.name.clone(), value: short(value) }
    }

    /// The same column, to be read as categorical from the start, if that is what it turned out to be.
    pub(super) fn again(&self) -> Option<Self> {
        matches!(self.state, State::Again).then(|| Self {
            source: self.source,
            name: self.name.clone(),
            missing: 0,
            state: State::Categorical(BTreeMap::new()),
            first_text: self.first_text.clone(),
        })
    }

    pub(super) fn finish(self) -> Column {
        let data = match self.state {
            State::Numeric(values) | State::Undecided(values) => Data::Numeric(values),
            State::Categorical(counts) => Data::Categorical(counts),
            State::Again => Data::Categorical(BTreeMap::new()),
        };
        Column { name: self.name, missing: self.missing, data }
    }
}
