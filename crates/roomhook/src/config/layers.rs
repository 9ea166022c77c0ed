//! Defaults, then the file, then the environment.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{
    Config, DEFAULTS, check,
    problem::{Problem, Problems, from_figment},
};

const PREFIX: &str = "ROOMHOOK__";

/// Reads, types and checks the configuration. `vars` is the environment: an argument, so that tests can tell stories.
///
/// # Errors
/// Everything found wrong, each with its key and what to write instead.
pub(crate) fn load(file: Option<&Path>, vars: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let mut layers = Figment::from(Toml::string(DEFAULTS));
    if let Some(path) = file {
        layers = layers.merge(Toml::string(&read(path)?));
    }
    let vars: BTreeMap<String, String> = vars.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let environment = Environment::over(&layers, &vars)?;
    let config: Config = layers.merge(environment).extract().map_err(|errors| {
        Problems(errors.into_iter().map(|error| placed(from_figment(&error), file, &vars)).collect())
    })?;
    let problems: Vec<_> = check::problems(&config).into_iter().map(|problem| placed(problem, file, &vars)).collect();
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

fn read(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path)
        .map_err(|error| Problems(vec![Problem::new("--config", format!("cannot read {}: {error}", path.display()))]))
}

/// Says where the value of a key came from.
fn placed(mut problem: Problem, file: Option<&Path>, vars: &BTreeMap<String, String>) -> Problem {
    let variable = variable_of(&problem.key);
    problem.place = match file {
        _ if vars.contains_key(&variable) => variable,
        Some(path) => path.display().to_string(),
        None => String::new(),
    };
    problem
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The environment as a layer. Unlike figment's own it can reach into lists (`ROOMHOOK__APP__0__KEY`), and it leaves
/// text as it is: a key `0012` must not become the number 12.
struct Environment(Dict);

impl Environment {
    fn over(below: &Figment, vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut root = Dict::new();
        for (name, text) in vars {
            let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
            let value = value(text).map_err(|advice| Problems(vec![Problem::new(name.clone(), advice)]))?;
            put(&mut root, &path, value);
        }
        for (key, value) in &mut root {
            if let (Value::Dict(_, patches), Ok(Value::Array(tag, items))) = (&*value, below.find_value(key)) {
                let patched =
                    patch(items, patches).map_err(|advice| Problems(vec![Problem::new(key.clone(), advice)]))?;
                *value = Value::Array(tag, patched);
            } else if let (Value::Dict(_, patches), "app") = (&*value, key.as_str()) {
                *value =
                    Value::from(patch(Vec::new(), patches).map_err(|a| Problems(vec![Problem::new(key.clone(), a)]))?);
            }
        }
        Ok(Self(root))
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn put(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let entry = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            if !matches!(entry, Value::Dict(..)) {
                *entry = Value::from(Dict::new());
            }
            if let Value::Dict(_, inner) = entry {
                put(inner, rest, value);
            }
        }
    }
}

/// Puts `{"0": {…}}` over the items of a list; the index after the last one adds an item.
fn patch(mut items: Vec<Value>, patches: &Dict) -> Result<Vec<Value>, String> {
    let mut numbered = Vec::new();
    for (index, value) in patches {
        let index: usize = index.parse().map_err(|_| format!("\"{index}\" is no index; write ROOMHOOK__APP__0__…"))?;
        numbered.push((index, value));
    }
    numbered.sort_by_key(|(index, _)| *index);
    for (index, value) in numbered {
        let len = items.len();
        match items.get_mut(index) {
            Some(item) => lay_over(item, value),
            None if index == len => items.push(value.clone()),
            None => return Err(format!("there are {len} blocks, so the next index is {len}, not {index}")),
        }
    }
    Ok(items)
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Dict(_, below), Value::Dict(_, above)) => {
            for (key, value) in above {
                match below.get_mut(key) {
                    Some(inner) => lay_over(inner, value),
                    None => drop(below.insert(key.clone(), value.clone())),
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// A variable's text as a value: lists and tables as TOML writes them, whole numbers, true and false; all else is text.
fn value(text: &str) -> Result<Value, String> {
    if text.starts_with(['[', '{']) {
        let line = format!("value = {text}");
        let table: Dict = toml::from_str(&line).map_err(|_| "is no list or table as TOML writes it".to_owned())?;
        return table.into_iter().next().map(|(_, value)| value).ok_or_else(|| "is empty".to_owned());
    }
    let number: Option<i64> = text.parse().ok().filter(|number: &i64| number.to_string() == text);
    Ok(match (text, number) {
        ("true", _) => Value::from(true),
        ("false", _) => Value::from(false),
        (_, Some(number)) => Value::from(number),
        _ => Value::from(text),
    })
}
