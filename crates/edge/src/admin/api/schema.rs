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
    u64 => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
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

/// Says more of a schema: the members of `rule` are added to it, or to what it is when it is not null.
pub(super) fn narrow(mut schema: Value, rule: Value) -> Value {
    let is_optional = schema.pointer("/anyOf/0").is_some();
    let narrowed = if is_optional { schema.pointer_mut("/anyOf/0") } else { Some(&mut schema) };
    if let (Some(Value::Object(members)), Value::Object(rule)) = (narrowed, rule) {
        members.extend(rule);
    }
    schema
}

/// For an object that says one of several things: exactly one of these members is there, and as its schema says.
pub(super) fn one_of(choices: &[(&str, Value)]) -> Value {
    let choice = |(name, schema): &(&str, Value)| json!({"required": [name], "properties": {*name: schema}});
    json!({"oneOf": choices.iter().map(choice).collect::<Vec<_>>()})
}

/// Declares an object: `answer` for what is sent (every member is there, some null), `request` for what is read (members of an
/// `Option` may be left out or null, unknown ones are refused), `both` for what is read and sent back. `where` says more of what a
/// member, or the whole, may be than its type does; code checks the same.
macro_rules! object {
    (answer $(#[doc = $doc:literal])* $vis:vis struct $name:ident $(where $whole:expr,)? { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty $(where $rule:expr)?,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! { $name [$($doc)*] [$($whole)?] $(($field $type [$($about)*] true => [$($rule)?]))* }
    };
    (both $(#[doc = $doc:literal])* $vis:vis struct $name:ident $(where $whole:expr,)? { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty $(where $rule:expr)?,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! {
            $name [$($doc)*] [$($whole)?]
            $(($field $type [$($about)*] !<$type as $crate::admin::api::schema::Schema>::OPTIONAL => [$($rule)?]))*
        }
    };
    (request $(#[doc = $doc:literal])* $vis:vis struct $name:ident $(where $whole:expr,)? { $($(#[doc = $about:literal])* $own:vis $field:ident: $type:ty $(where $rule:expr)?,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $about])* $own $field: $type,)* }

        $crate::admin::api::schema::describe! {
            $name [$($doc)*] [$($whole)?]
            $(($field $type [$($about)*] !<$type as $crate::admin::api::schema::Schema>::OPTIONAL => [$($rule)?]))*
        }
    };
}

macro_rules! describe {
    ($name:ident [$($doc:literal)*] [$($whole:expr)?] $(($field:ident $type:ty [$($about:literal)*] $required:expr => [$($rule:expr)?]))*) => {
        impl $crate::admin::api::schema::Schema for $name {
            fn schema(definitions: &mut $crate::admin::api::schema::Definitions) -> serde_json::Value {
                if !definitions.contains_key(stringify!($name)) {
                    // Holds the place, should a type contain itself.
                    definitions.insert(stringify!($name), serde_json::Value::Null);
                    let mut members = serde_json::Map::new();
                    let mut required: Vec<&str> = Vec::new();
                    $(
                        let member = <$type as $crate::admin::api::schema::Schema>::schema(definitions);
                        $(let member = $crate::admin::api::schema::narrow(member, $rule);)?
                        let mut member = member;
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
                    $(let schema = $crate::admin::api::schema::narrow(schema, $whole);)?
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

/// Text of a pattern that has to match the whole of it.
pub(super) fn matches(pattern: &str) -> Value {
    json!({"pattern": format!("^(?:{pattern})$")})
}

/// A range of whole numbers, both ends included.
pub(super) fn range(min: u64, max: u64) -> Value {
    json!({"minimum": min, "maximum": max})
}
