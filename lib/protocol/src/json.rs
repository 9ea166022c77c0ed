//! Small JSON tools that serde_json does not have: depth and white space of a text, string literals and integers into a
//! byte buffer without a `Result` that cannot fail.

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{Deserializer, Error as _},
};

/// How deep a JSON text nests, without parsing it: for a text that is not JSON, a number that means nothing but is at
/// least as large as any parser's recursion into it.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut depth) = (0usize, 0usize);
    outside_strings(text, |byte| match byte {
        b'[' | b'{' => {
            depth += 1;
            deepest = deepest.max(depth);
        }
        b']' | b'}' => depth = depth.saturating_sub(1),
        _ => {}
    });
    deepest
}

/// The same JSON without white space between its tokens. The text must be valid JSON: from `1 2` this would make `12`.
pub(crate) fn minify(text: &str) -> Cow<'_, [u8]> {
    let mut spaces = 0usize;
    outside_strings(text.as_bytes(), |byte| spaces += usize::from(is_space(byte)));
    if spaces == 0 {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() - spaces);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text.as_bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if is_space(byte) {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    Cow::Owned(out)
}

fn outside_strings(text: &[u8], mut see: impl FnMut(u8)) {
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'"' {
            see(byte);
            continue;
        }
        while let Some(&byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => {
                    bytes.next();
                }
                _ => {}
            }
        }
    }
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
    fn depth_counts_brackets_but_not_those_in_strings() {
        assert_eq!(depth(br#"{"a":[1,"[[[\"[",{}]}"#), 3);
        assert_eq!(depth(b"7"), 0);
        assert_eq!(depth(b"]]]["), 1);
    }

    #[test]
    fn white_space_between_tokens_goes_and_inside_strings_stays() {
        let text = " [ 1 ,\n\t\"a \\\" b\\\\\" , { \"k\\n\" : null } ]\r\n";
        assert_eq!(minify(text).as_ref(), br#"[1,"a \" b\\",{"k\n":null}]"#);
        assert!(matches!(minify(r#"["a b"]"#), Cow::Borrowed(_)));
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
