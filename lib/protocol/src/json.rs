//! Small JSON tools that serde_json does not have: depth and shortest spelling of a text, string literals and integers into a
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
    /// Whether any string has an escape.
    pub(crate) escapes: bool,
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
            b'"' => {
                let (end, escapes) = string_end(rest);
                shape.escapes |= escapes;
                rest = rest.get(end..).unwrap_or_default();
            }
            _ => shape.spaces += usize::from(is_space(byte)),
        }
    }
    shape
}

/// Where a string ends whose opening quote stands before `text` (behind its closing quote, or at the end of the text), and
/// whether it has an escape.
fn string_end(text: &[u8]) -> (usize, bool) {
    let (mut at, mut escapes) = (0, false);
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text.get(at - 1) == Some(&b'"') {
            return (at, escapes);
        }
        // The escaped byte is no quote that ends anything.
        (at, escapes) = (at + 1, true);
    }
    (text.len(), escapes)
}

/// The same JSON in its shortest spelling: no white space between tokens, and in strings no escape that needs not be there,
/// as [`push_string`] writes them. So it does not matter which of its many spellings a text came in. Numbers, and the order
/// of members, stay as they are.
///
/// The text must be valid JSON, with this shape: from `1 2` this would make `12`. It never gets longer. One half of a surrogate
/// pair, which is no character, stays the escape that it is.
pub(crate) fn minify(text: &str, shape: Shape) -> Cow<'_, [u8]> {
    if shape.spaces == 0 && !shape.escapes {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() - shape.spaces.min(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if is_space(byte) {
            rest = after;
            continue;
        }
        let (end, escapes) = if byte == b'"' { string_end(after) } else { (0, false) };
        let (token, after) = rest.split_at_checked(1 + end).unwrap_or((rest, &[]));
        if escapes {
            push_unescaped(&mut out, token);
        } else {
            out.extend_from_slice(token);
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// Appends a string literal with each escape replaced by the shortest way to say the same.
fn push_unescaped(out: &mut Vec<u8>, literal: &[u8]) {
    let mut rest = literal;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (len, said) = match escape.get(1) {
            Some(b'/') => (2, Some('/')),
            Some(b'u') => escaped_char(escape),
            _ => (2, None),
        };
        let (escape, after) = escape.split_at_checked(len).unwrap_or((escape, &[]));
        match said {
            Some(said) => push_char(out, said),
            // Short already, or nothing that could be said otherwise.
            None => out.extend_from_slice(escape),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// What `\uXXXX`, or two of them for a pair, stand for, and how long that is; `None` for what is no character.
fn escaped_char(text: &[u8]) -> (usize, Option<char>) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (2, None) };
    if let Some(said) = char::from_u32(first.into()) {
        return (6, Some(said));
    }
    match unit(6).and_then(|second| char::decode_utf16([first, second]).next()?.ok()) {
        Some(said) => (12, Some(said)),
        None => (6, None),
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Appends `text` as a JSON string literal, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| must_be_escaped(byte)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        push_escape(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends one character of a string literal.
fn push_char(out: &mut Vec<u8>, said: char) {
    match u8::try_from(said) {
        Ok(byte) if must_be_escaped(byte) => push_escape(out, byte),
        _ => out.extend_from_slice(said.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

const fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
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
        assert_eq!(shape(br#"{"a": [1,"[[[\" [", {}]}"#), Shape { depth: 3, spaces: 2, escapes: true });
        assert_eq!(shape(b"7"), Shape::default());
        assert_eq!(shape(b"]]]["), Shape { depth: 1, ..Shape::default() });
        for (unfinished, escapes) in [(&b"\""[..], false), (b"\"\\", true), (b"\"\\\"", true), (b"\"[[", false)] {
            assert_eq!(shape(unfinished), Shape { escapes, ..Shape::default() });
        }
    }

    #[test]
    fn white_space_between_tokens_goes_and_inside_strings_stays() {
        let minified = |text| minify(text, shape(str::as_bytes(text)));
        let text = " [ 1 ,\n\t\"a \\\" b\\\\\" , { \"k\\n\" : null } ]\r\n";
        assert_eq!(minified(text).as_ref(), br#"[1,"a \" b\\",{"k\n":null}]"#);
        assert!(matches!(minified(r#"["a b"]"#), Cow::Borrowed(_)));
    }

    #[test]
    fn escapes_that_need_not_be_there_go_and_all_others_stay() {
        for (text, shortest) in [
            (r#""\u4e2d\u6587""#, "\"中文\""),
            (r#""a\/b \u0041\u007f\u2028""#, "\"a/b A\u{7f}\u{2028}\""),
            (r#""\ud83d\ude00\uD83D\uDE00""#, "\"😀😀\""),
            (r#""\u0022\u005C\u000a\u000D\u0009\u0008\u000c\u0000\u001F""#, r#""\"\\\n\r\t\b\f\u0000\u001f""#),
            (r#""\"\\\b\f\n\r\t""#, r#""\"\\\b\f\n\r\t""#),
            // What looks like an escape behind a backslash is none.
            (r#""\\u0041\\\u0041""#, r#""\\u0041\\A""#),
            // Halves of pairs, and what a caller of this may not hand in.
            (r#""\ud83d""#, r#""\ud83d""#),
            (r#""\ude00\ud83d\u0041""#, r#""\ude00\ud83dA""#),
            (r#""\ud83d\ud83d\ude00""#, "\"\\ud83d😀\""),
            (r#""\u12""#, r#""\u12""#),
            (r#""\u+123\uä""#, r#""\u+123\uä""#),
            (r#""\"#, r#""\"#),
        ] {
            let minified = minify(text, shape(text.as_bytes()));
            assert_eq!(std::str::from_utf8(&minified), Ok(shortest), "{text}");
        }
    }

    /// Some spelling of a text as a string literal.
    fn spelled() -> impl Strategy<Value = (String, String)> {
        let hex = |unit: u16, big: bool| if big { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
        let spell = move |said: char, how: u8| match (said, how) {
            ('/', 1) => "\\/".to_owned(),
            (_, 2 | 3) => said.encode_utf16(&mut [0; 2]).iter().map(|unit| hex(*unit, how == 3)).collect(),
            _ => {
                let mut out = Vec::new();
                push_char(&mut out, said);
                String::from_utf8(out).unwrap()
            }
        };
        let said = prop_oneof![any::<char>(), prop::sample::select(vec!['/', '"', '\\', '\n', '\0', 'a', '中', '😀'])];
        prop::collection::vec((said, 0..4_u8), 0..20).prop_map(move |said| {
            let literal: String = said.iter().map(|(said, how)| spell(*said, *how)).collect();
            (said.iter().map(|(said, _)| *said).collect(), format!("\"{literal}\""))
        })
    }

    proptest! {
        #[test]
        fn a_string_literal_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn however_a_text_is_spelled_its_shortest_spelling_is_the_same(strings in prop::collection::vec(spelled(), 0..6)) {
            let literals: Vec<&str> = strings.iter().map(|(_, literal)| literal.as_str()).collect();
            let text = format!("[ {} ]", literals.join(" ,\n"));
            let minified = minify(&text, shape(text.as_bytes()));
            let said: Vec<&str> = strings.iter().map(|(said, _)| said.as_str()).collect();
            // serde_json writes the same escapes as we do, and no others.
            prop_assert_eq!(std::str::from_utf8(&minified).unwrap(), serde_json::to_string(&said).unwrap());
            let shortest = std::str::from_utf8(&minified).unwrap();
            prop_assert_eq!(minify(shortest, shape(&minified)), minified.as_ref());
        }

        #[test]
        fn a_text_that_is_no_json_is_no_reason_to_panic_and_gets_no_longer(text in r#"(\\|u|d8|de|[0-9a-f/"\[ ä]){0,40}"#) {
            prop_assert!(minify(&text, shape(text.as_bytes())).len() <= text.len());
        }

        #[test]
        fn a_number_reads_back(number in any::<u64>()) {
            let mut out = Vec::new();
            push_u64(&mut out, number);
            prop_assert_eq!(plain_decimal(std::str::from_utf8(&out).unwrap()), Some(number));
        }
    }
}
