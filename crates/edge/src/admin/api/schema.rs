//! JSON shapes that describe themselves: a type of the API and its JSON Schema are one declaration, so the document
//! cannot say anything else than the code.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Named schemas of the document.
pub(super) type Definitions = BTreeMap<&'static str, Value>;

/// A type that can say how its JSON looks.
pub(super) trait Schema {
    /// Whether a member of this type may be left out of a request.
    const OPTIONAL: bool = false;

    /// The schema, with named types put into `definitions`.
    fn schema(definitions: &mut Definitions) -> Value;
}

macro_rules! plain {
    ($($type:ty => $schema:expr;)*) => {$(
        impl Schema for $type {
            fn schema(_: &mut Definitions) -> Value {
                $schema
            }
        }
    )*};
}

plain! {
    bool => json!({"type": "boolean"});
    String => json!({"type": "string"});
    u16 => json!({"type": "integer", "minimum": 0, "maximum": u16::MAX});
    u32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX});
    u64 => json!({"type": "integer", "minimum": 0});
    i32 => json!({"type": "integer"});
    f64 => json!({"type": "number"});
    Value => json!({});
}

impl<T: Schema> Schema for Option<T> {
    const OPTIONAL: bool = true;

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"anyOf": [T::schema(definitions), {"type": "null"}]})
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({"type": "array", "items": T::schema(definitions)})
    }
}

/// Declares an object: `answer` for what is sent (every member is there, some null), `request` for what is read (members of an
/// `Option` may be left out, unknown ones are refused), `both` for what is read and sent back.
macro_rules! object {
    (answer $(#[doc = $doc:literal])* $vis:vis struct $name:ident { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! { $name [$($doc)*] $(($field $type [$($about)*] true))* }
    };
    (both $(#[doc = $doc:literal])* $vis:vis struct $name:ident { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! {
            $name [$($doc)*] $(($field $type [$($about)*] !<$type as $crate::admin::api::schema::Schema>::OPTIONAL))*
        }
    };
    (request $(#[doc = $doc:literal])* $vis:vis struct $name:ident { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! {
            $name [$($doc)*] $(($field $type [$($about)*] !<$type as $crate::admin::api::schema::Schema>::OPTIONAL))*
        }
    };
}

macro_rules! describe {
    ($name:ident [$($doc:literal)*] $(($field:ident $type:ty [$($about:literal)*] $required:expr))*) => {
        impl $crate::admin::api::schema::Schema for $name {
            fn schema(definitions: &mut $crate::admin::api::schema::Definitions) -> serde_json::Value {
                if !definitions.contains_key(stringify!($name)) {
                    // Holds the place, should a type contain itself.
                    definitions.insert(stringify!($name), serde_json::Value::Null);
                    let mut members = serde_json::Map::new();
                    let mut required: Vec<&str> = Vec::new();
                    $(
                        let mut member = <$type as $crate::admin::api::schema::Schema>::schema(definitions);
                        let about = concat!($($about),*).trim();
                        if let Some(member) = member.as_object_mut().filter(|_| !about.is_empty()) {
                            member.insert("description".into(), about.into());
                        }
                        members.insert(stringify!($field).into(), member);
                        if $required {
                            required.push(stringify!($field));
                        }
                    )*
                    let schema = serde_json::json!({
                        "type": "object",
                        "description": concat!($($doc),*).trim(),
                        "properties": members,
                        "required": required,
                        "additionalProperties": false,
                    });
                    definitions.insert(stringify!($name), schema);
                }
                serde_json::json!({"$ref": concat!("#/components/schemas/", stringify!($name))})
            }
        }
    };
}

/// Declares an enum of words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $vis:vis enum $name:ident { $($(#[doc = $about:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[doc = $about])* #[serde(rename = $word)] $variant,)* }

        impl $crate::admin::api::schema::Schema for $name {
            fn schema(definitions: &mut $crate::admin::api::schema::Definitions) -> serde_json::Value {
                definitions.entry(stringify!($name)).or_insert_with(|| {
                    let about = [concat!($($doc),*).trim().to_owned()]
                        .into_iter()
                        $(.chain(Some(concat!("`", $word, "`:", $($about),*).to_owned()).filter(|text| !text.ends_with(':'))))*;
                    serde_json::json!({
                        "type": "string",
                        "enum": [$($word),*],
                        "description": about.collect::<Vec<_>>().join("\n"),
                    })
                });
                serde_json::json!({"$ref": concat!("#/components/schemas/", stringify!($name))})
            }
        }
    };
}

pub(super) use {describe, object, words};
