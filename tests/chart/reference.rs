//! The chart's page of values, generated from the schema and the defaults.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::rights::{between, holds};
use super::schema::{schema, values};
use super::support::chart::chart;

/// A line for each value, and for each object of values one before them.
fn rows(path: &str, schema: &Value, defaults: &Value, text: &mut String) {
    for (name, field) in schema["properties"].as_object().unwrap() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let said = field["description"].as_str().unwrap().replace('|', "\\|");
        if field.get("properties").is_some() {
            writeln!(text, "| **`{path}`** | | {said} |").unwrap();
            rows(&path, field, &defaults[name], text);
        } else {
            let default = defaults.get(name).map_or("{}".to_owned(), Value::to_string);
            writeln!(text, "| `{path}` | `{default}` | {said}{} |", choices(field)).unwrap();
        }
    }
}

/// What else can be said of a value that is one of few.
fn choices(field: &Value) -> String {
    let Some(choices) = field["enum"].as_array() else { return String::new() };
    let choices: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.as_str().unwrap())).collect();
    format!(" One of {}.", choices.join(", "))
}

#[test]
fn the_page_of_values_is_generated_from_the_schema() {
    let path = chart().join("README.md");
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    rows("", &schema(), &values(), &mut table);
    holds(&path, &between(&fs::read_to_string(&path).unwrap(), "values", &table));
}
