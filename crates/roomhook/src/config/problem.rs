//! What is wrong with a configuration, told so that it can be put right: the key, and what to write instead.

use std::fmt;

use figment::error::{Actual, Kind};

/// Everything found wrong in one go; never empty.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

/// One key and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// As it would be looked for: `server.listen`, `app.0.key`.
    pub(crate) key: String,
    /// Where the value came from: a file name or the variable; empty when it is missing or from the defaults.
    pub(crate) place: String,
    pub(crate) advice: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: key.into(), place: String::new(), advice: advice.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.advice)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " (set in {})", self.place) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Turns what the reader of the layers found into a key and an advice. Values are quoted only when they are no secrets.
pub(crate) fn from_figment(error: &figment::Error) -> Problem {
    let parent = error.path.join(".");
    let below = |field: &str| if parent.is_empty() { field.to_owned() } else { format!("{parent}.{field}") };
    let place = error.metadata.as_ref().and_then(|m| m.source.as_ref()).map(ToString::to_string).unwrap_or_default();
    let (key, advice) = match &error.kind {
        Kind::UnknownField(field, known) => (parent.clone(), unknown_key(field, known)),
        Kind::MissingField(field) => (below(field), "is missing; set it".to_owned()),
        Kind::UnknownVariant(_, known) => (parent.clone(), format!("write one of {}", quoted(known))),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            (parent.clone(), format!("is {}, but must be {expected}", shape(actual)))
        }
        Kind::Message(text) => (parent.clone(), unquoted(text)),
        other => (parent.clone(), other.to_string()),
    };
    Problem { key: if key.is_empty() { "file".to_owned() } else { key }, place, advice }
}

/// A parser's message without the line of the file that it quotes: the line may hold a secret.
fn unquoted(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join(": ")
}

/// What kind of thing a value is, without quoting it: it may be a secret.
fn shape(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number (or one out of range)",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

fn unknown_key(field: &str, known: &[&str]) -> String {
    let near = known.iter().map(|candidate| (distance(field, candidate), candidate)).min();
    match near {
        Some((steps, candidate)) if steps <= 2 + field.len() / 4 => {
            format!("there is no such key; did you mean `{candidate}`?")
        }
        _ => format!("there is no such key here; possible are {}", quoted(known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// Levenshtein's distance: how many letters differ.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let cost = if a == b { diagonal } else { 1 + diagonal.min(row[j]).min(row[j + 1]) };
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row.last().copied().unwrap_or(0)
}
