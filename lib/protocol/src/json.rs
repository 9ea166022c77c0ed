//! Small JSON tools that serde_json does not have: depth and white space of a text, string literals and integers into a
//! byte buffer without a `Result` that cannot fail.

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{Deserializer, Error as _},
};

/// What one look at a JSON text tells without parsing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How deep it nests. For a text that is not JSON, at least as deep as any parser gets before it notices.
    pub(crate) depth: usize,
    /// Bytes of white space between tokens.
    pub(crate) spaces: usize,
}

/// Takes the look.
pub(crate) fn shape(text: &[u8]) -> Shape {
    let mut shape = Shape::default();
    let mut depth = 0usize;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                shape.depth = shape.depth.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => rest = rest.get(string_end(rest)..).unwrap_or_default(),
            _ => shape.spaces += usize::from(is_space(byte)),
        }
    }
    shape
}

/// Where a string ends whose opening quote stands before `text`: behind its closing quote, or at the end of the text.
fn string_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        match text.get(at - 1) {
            Some(b'"') => return at,
            // The escaped byte is no quote that ends anything.
            _ => at += 1,
        }
    }
    text.len()
}

/// The same JSON without white space between its tokens. The text must be valid JSON, with this shape: from `1 2` this
/// would make `12`.
pub(crate) fn minify(text: &str, shape: Shape) -> Cow<'_, [u8]> {
    if shape.spaces == 0 {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() - shape.spaces.min(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if is_space(byte) {
            rest = after;
            continue;
        }
        let token = if byte == b'"' { 1 + string_end(after) } else { 1 };
        let (token, after) = rest.split_at_checked(token).unwrap_or((rest, &[]));
        out.extend_from_slice(token);
        rest = after;
    }
    Cow::Owned(out)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Appends `text` as a JSON string literal, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a number in decimal.
pub(crate) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// A member that may be left out may be `null` too, and then counts as left out: some writers say so of all that they have not set.
pub(crate) fn null_is_absent<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A natural number, or its plain decimal text (no sign, no leading zero): some writers of old quote their numbers.
pub(crate) fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => plain_decimal(&text).ok_or_else(|| D::Error::custom("expected a natural number")),
    }
}

/// Reads a decimal that [`push_u64`] would have written; anything else is `None`.
pub(crate) fn plain_decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_look_counts_brackets_and_spaces_but_not_those_in_strings() {
        assert_eq!(shape(br#"{"a": [1,"[[[\" [", {}]}"#), Shape { depth: 3, spaces: 2 });
        assert_eq!(shape(b"7"), Shape::default());
        assert_eq!(shape(b"]]]["), Shape { depth: 1, spaces: 0 });
        for unfinished in [&b"\""[..], b"\"\\", b"\"\\\"", b"\"[["] {
            assert_eq!(shape(unfinished), Shape::default());
        }
    }

    #[test]
    fn white_space_between_tokens_goes_and_inside_strings_stays() {
        let minified = |text| minify(text, shape(str::as_bytes(text)));
        let text = " [ 1 ,\n\t\"a \\\" b\\\\\" , { \"k\\n\" : null } ]\r\n";
        assert_eq!(minified(text).as_ref(), br#"[1,"a \" b\\",{"k\n":null}]"#);
        assert!(matches!(minified(r#"["a b"]"#), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn a_string_literal_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn a_number_reads_back(number in any::<u64>()) {
            let mut out = Vec::new();
            push_u64(&mut out, number);
            prop_assert_eq!(plain_decimal(std::str::from_utf8(&out).unwrap()), Some(number));
        }
    }
}
