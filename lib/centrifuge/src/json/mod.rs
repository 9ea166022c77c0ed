//! Writing JSON: objects with the protocol's rules of omission.

/// An object under construction. Methods without `always_` leave a zero value out, as the protocol does.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// A message that knows how to write its fields.
pub(crate) trait WriteJson {
    fn write(&self, object: &mut Object<'_>);
}

/// Appends `{…}`.
pub(crate) fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fields(&mut Object { out, empty: true });
    out.push(b'}');
}

impl Object<'_> {
    /// Starts a field and returns where its value goes.
    pub(crate) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn str(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.always_str(name, value);
        }
    }

    pub(crate) fn always_str(&mut self, name: &str, value: &str) {
        string(self.field(name), value);
    }

    pub(crate) fn uint(&mut self, name: &str, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.always_uint(name, value);
        }
    }

    pub(crate) fn always_uint(&mut self, name: &str, value: u64) {
        unsigned(self.field(name), value);
    }

    pub(crate) fn int(&mut self, name: &str, value: impl Into<i64>) {
        let value = value.into();
        if value == 0 {
            return;
        }
        let out = self.field(name);
        if value < 0 {
            out.push(b'-');
        }
        unsigned(out, value.unsigned_abs());
    }

    pub(crate) fn bool(&mut self, name: &str, value: bool) {
        if value {
            self.field(name).extend_from_slice(b"true");
        }
    }

    /// A payload: JSON text embedded as it is.
    pub(crate) fn raw(&mut self, name: &str, json: &[u8]) {
        if !json.is_empty() {
            self.field(name).extend_from_slice(json);
        }
    }

    pub(crate) fn always_message(&mut self, name: &str, value: &impl WriteJson) {
        object(self.field(name), |fields| value.write(fields));
    }

    pub(crate) fn message(&mut self, name: &str, value: Option<&impl WriteJson>) {
        if let Some(value) = value {
            self.always_message(name, value);
        }
    }

    pub(crate) fn always_list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.field(name);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    pub(crate) fn messages(&mut self, name: &str, items: &[impl WriteJson]) {
        if !items.is_empty() {
            self.always_list(name, items, |out, item| object(out, |fields| item.write(fields)));
        }
    }

    pub(crate) fn always_map<'m, V: 'm>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (&'m String, &'m V)>,
        mut write: impl FnMut(&mut Vec<u8>, &V),
    ) {
        let out = self.field(name);
        out.push(b'{');
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(out, key);
            out.push(b':');
            write(out, value);
        }
        out.push(b'}');
    }
}

/// Appends a message as an object: for lists and maps.
pub(crate) fn message(out: &mut Vec<u8>, value: &impl WriteJson) {
    object(out, |fields| value.write(fields));
}

fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Appends a string literal.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back_whatever_they_hold() {
        let all: String = (0..0x3000_u32).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        string(&mut out, &all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }

    #[test]
    fn numbers_are_written_whole() {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.always_uint("zero", 0);
            o.uint("omitted", 0_u64);
            o.uint("max", u64::MAX);
            o.int("min", i64::MIN);
        });
        assert_eq!(out, br#"{"zero":0,"max":18446744073709551615,"min":-9223372036854775808}"#);
    }
}
