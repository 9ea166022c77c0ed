//! The document of the API, OpenAPI 3.1, made from the table of operations.

use axum::Json;
use serde_json::{Map, Value, json};

use super::{
    endpoints::ID,
    error::ErrorBody,
    routes::{Operation, table},
    schema::{Definitions, Schema, matches, narrow},
    settings::ROOM,
};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut definitions = Definitions::new();
    let mut paths = Map::new();
    let error = ErrorBody::schema(&mut definitions);
    for operation in table().operations {
        let described = describe(&operation, &error, &mut definitions);
        let path = paths.entry(format!("/admin/api{}", operation.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_owned(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "roomhook admin API",
            "version": "1",
            "description": "What operators ask and do, on the private listener (server.admin_listen).",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "admin.token of the configuration; when it is empty, only programs on the same machine may call",
                },
            },
            "schemas": definitions,
        },
    })
}

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

fn describe(operation: &Operation, error: &Value, definitions: &mut Definitions) -> Value {
    let json_of = |schema: Value| json!({"application/json": {"schema": schema}});
    let mut success = json!({"description": operation.summary});
    if let (Some(answer), Some(success)) = (operation.answer, success.as_object_mut()) {
        success.insert("content".to_owned(), json_of(answer(definitions)));
    }
    let mut parameters = in_path(operation.path);
    if let Some(query) = operation.query {
        parameters.extend(in_query(query));
    }
    let not_done = |why: &str| json!({"description": why, "content": json_of(error.clone())});
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            operation.status.as_str(): success,
            "401": not_done("The token is missing or wrong"),
            "403": not_done("No token is configured, and the caller is no program on this machine"),
            "default": not_done("Not done; error.code says why"),
        },
    });
    if let (Some(body), Some(described)) = (operation.body, described.as_object_mut()) {
        let body = json!({"required": true, "content": json_of(body(definitions))});
        described.insert("requestBody".to_owned(), body);
    }
    described
}

fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let mut none = Definitions::new();
        let schema = match name {
            "app" => u32::schema(&mut none),
            "msg_seq" | "replay" => u64::schema(&mut none),
            "endpoint" => narrow(String::schema(&mut none), matches(ID)),
            "room" => narrow(String::schema(&mut none), matches(ROOM)),
            _ => String::schema(&mut none),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    names.map(parameter).collect()
}

/// The members of an object as parameters. The object itself is no shape of the document.
fn in_query(query: fn(&mut Definitions) -> Value) -> Vec<Value> {
    let mut own = Definitions::new();
    query(&mut own);
    let mut parameters = Vec::new();
    for object in own.values_mut() {
        let Some(members) = object.get_mut("properties").and_then(Value::as_object_mut) else { continue };
        for (name, schema) in members {
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
            // A query has no null: what is optional is left out.
            let schema = schema.pointer("/anyOf/0").unwrap_or(schema);
            let mut parameter = json!({"name": name, "in": "query", "required": false, "schema": schema});
            if let Some(parameter) = parameter.as_object_mut().filter(|_| about.is_string()) {
                parameter.insert("description".to_owned(), about);
            }
            parameters.push(parameter);
        }
    }
    parameters
}
