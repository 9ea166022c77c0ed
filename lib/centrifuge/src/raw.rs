//! Payloads as raw JSON text: checked, minified, never built into a tree.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why bytes cannot be embedded in a JSON frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    #[error("payload is not UTF-8")]
    Utf8,
    #[error("payload is not one JSON value")]
    Syntax,
    #[error("payload is nested more than {max} levels deep")]
    TooDeep { max: usize },
}

/// Checks that `text` is one JSON value nested at most `depth_max` deep and returns it without white space between
/// tokens, so that it holds no line feed. The result shares `text` when there was nothing to remove.
///
/// # Errors
/// As [`NotJson`] names them.
pub fn minify(text: &Bytes, depth_max: usize) -> Result<Bytes, NotJson> {
    let json = std::str::from_utf8(text).map_err(|_| NotJson::Utf8)?;
    check_depth(json.as_bytes(), depth_max).map_err(|TooDeep| NotJson::TooDeep { max: depth_max })?;
    let value: &RawValue = serde_json::from_str(json).map_err(|_| NotJson::Syntax)?;
    if value.get().len() == text.len() && !has_space(value.get().as_bytes()) {
        return Ok(text.clone());
    }
    Ok(minified(value.get()))
}

/// Nested deeper than allowed.
#[derive(Debug)]
pub(crate) struct TooDeep;

/// One pass over text that need not be JSON: counts brackets outside strings.
pub(crate) fn check_depth(text: &[u8], depth_max: usize) -> Result<(), TooDeep> {
    let (mut depth, mut tokens) = (0_usize, Outside::default());
    for &byte in text {
        if !tokens.step(byte) {
            continue;
        }
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return Err(TooDeep);
        }
    }
    Ok(())
}

/// Follows JSON text byte by byte and knows whether a byte lies outside string literals.
#[derive(Default)]
struct Outside {
    in_string: bool,
    escaped: bool,
}

impl Outside {
    /// Whether this byte is outside strings (their closing quote counts as inside).
    fn step(&mut self, byte: u8) -> bool {
        if !self.in_string {
            self.in_string = byte == b'"';
            return true;
        }
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
        }
        false
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn has_space(json: &[u8]) -> bool {
    let mut tokens = Outside::default();
    json.iter().any(|&byte| tokens.step(byte) && is_space(byte))
}

/// Valid JSON without white space between its tokens.
fn minified(json: &str) -> Bytes {
    let mut tokens = Outside::default();
    json.bytes().filter(|&byte| !(tokens.step(byte) && is_space(byte))).collect()
}

/// For `#[serde(deserialize_with)]`: a payload field as minified raw text.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    let text = value.get();
    Ok(if has_space(text.as_bytes()) { minified(text) } else { Bytes::copy_from_slice(text.as_bytes()) })
}

/// For `#[serde(deserialize_with)]`: `null` means the field's zero value, as in the reference server.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_outside_strings_only() {
        let text = Bytes::from_static(b" {\n\t\"a b\" : [1, \"x\\\" y\"] }\r\n");
        assert_eq!(minify(&text, 8).unwrap(), r#"{"a b":[1,"x\" y"]}"#);
    }

    #[test]
    fn what_is_minified_already_is_shared() {
        let text = Bytes::from_static(br#"{"a":"b c"}"#);
        assert_eq!(minify(&text, 8).unwrap().as_ptr(), text.as_ptr());
    }

    #[test]
    fn refusals_name_the_cause() {
        assert_eq!(minify(&Bytes::from_static(b"\xff"), 8), Err(NotJson::Utf8));
        assert_eq!(minify(&Bytes::from_static(b"{} {}"), 8), Err(NotJson::Syntax));
        assert_eq!(minify(&Bytes::from_static(b""), 8), Err(NotJson::Syntax));
        assert_eq!(minify(&Bytes::from_static(b"[[[1]]]"), 2), Err(NotJson::TooDeep { max: 2 }));
        assert_eq!(minify(&Bytes::from_static(br#"["[[[["]"#), 1).unwrap(), r#"["[[[["]"#);
    }
}
