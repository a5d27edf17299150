//! `metadata.managedFields` in a request: a writer of one field would own other fields, release them or date their entries.

use kube::Resource;
use serde_json::{Value, json};

use super::attempt::{Answer, Attempt, Person, attempt};

/// A change of the entries that are stored.
type Change = fn(&mut Vec<Value>);

fn entry(operation: &str, subresource: &str, fields: &Value) -> Value {
    let subresource = (!subresource.is_empty()).then_some(subresource);
    json!({
        "manager": "mallory", "operation": operation, "apiVersion": "keywright.dev/v1alpha1",
        "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": subresource,
    })
}

fn of_spec(field: &str) -> Value {
    json!({"f:spec": {field: {}}})
}

/// Lists for which the API server stores the entries that it has.
const HARMLESS: [(&str, Change); 3] = [
    ("sends the managedFields that it read", |_| {}),
    ("sends no entry", Vec::clear),
    ("sends one entry that cannot be decoded", |all| *all = vec![json!({"manager": "mallory"})]),
];

/// Lists that change which fields other managers own.
const CHANGES: [(&str, Change); 11] = [
    ("resets managedFields", |all| *all = vec![json!({})]),
    ("puts an entry in the place of all", |all| *all = vec![entry("Update", "", &of_spec("f:displayName"))]),
    ("adds an entry", |all| all.push(entry("Update", "", &of_spec("f:displayName")))),
    ("adds an entry of server-side apply", |all| all.push(entry("Apply", "", &of_spec("f:displayName")))),
    ("adds an entry of the status", |all| all.push(entry("Update", "status", &json!({"f:status": {"f:state": {}}})))),
    ("adds a field that there is not", |all| all.push(entry("Apply", "", &of_spec("f:nothing")))),
    ("adds fields below a field", |all| all.push(entry("Apply", "", &json!({"f:spec": {"f:disabled": {"f:x": {}}}})))),
    ("adds 100 levels of fields", |all| {
        let deep = (0..100).fold(json!({}), |below, _| json!({"f:x": below}));
        all.push(entry("Apply", "", &json!({"f:spec": deep})));
    }),
    ("drops the entry of an update", |all| all.retain(|one| one["operation"] != "Update")),
    ("drops the entry of server-side apply", |all| all.retain(|one| one["operation"] != "Apply")),
    ("renames a manager", |all| all[0]["manager"] = "mallory".into()),
];

/// Changes that the API server ignores in a write that changes nothing else.
const IN_A_WRITE: [(&str, Change); 2] = [
    ("dates an entry", |all| date(all, "9999-12-31T23:59:59Z".into())),
    ("takes an entry's date away", |all| date(all, Value::Null)),
];

fn date(all: &mut [Value], time: Value) {
    let creator = all.iter_mut().find(|one| one["manager"] == "creator").unwrap();
    creator["time"] = time;
}

/// An entry that claims no more than a field which the role may change.
const CLAIM: (&str, Change) =
    ("claims disabled without a change of it", |all| all.push(entry("Apply", "", &of_spec("f:disabled"))));

/// Each list by merge patch, JSON patch and replacement, alone and beside disabling the object.
pub fn attempts<K: Resource<DynamicType = ()> + 'static>(
    name: &'static str,
    switchers: [Answer; 5],
    claimants: [Answer; 5],
) -> Vec<Attempt> {
    let kind = K::plural(&()).into_owned();
    let mut all = Vec::new();
    let mut row =
        |(what, change): (&str, Change), disables: bool, answers: [Answer; 5], ways: &[(Way, &'static str)]| {
            for &(way, manager) in ways {
                let beside = if disables { " beside disabling it" } else { "" };
                let kind = kind.clone();
                all.push(attempt(format!("{what}{beside} by {way:?} as {manager} ({kind})"), answers, move |who| {
                    send(who.under(manager), kind.clone(), name, change, way, disables)
                }));
            }
        };
    for disables in [false, true] {
        for one in HARMLESS {
            row(one, disables, switchers, &WAYS);
        }
        for one in CHANGES {
            row(one, disables, claimants, &WAYS);
        }
        // The entry of the writer gets the API server's clock.
        let answers = if disables { claimants } else { switchers };
        for one in IN_A_WRITE {
            row(one, disables, answers, &WAYS[..3]);
        }
    }
    row(CLAIM, false, claimants, &WAYS);
    // The API server leaves a changed field to its writer alone: the entry of the request is gone.
    row(CLAIM, true, switchers, &WAYS);
    all
}

/// Ways of sending a list, under a manager of its own and under the one whose entry the list changes.
const WAYS: [(Way, &str); 4] =
    [(Way::Merge, "somebody"), (Way::Json, "somebody"), (Way::Replace, "somebody"), (Way::Merge, "creator")];

#[derive(Clone, Copy, Debug)]
enum Way {
    Merge,
    Json,
    Replace,
}

async fn send(
    who: Person,
    kind: String,
    name: &'static str,
    change: Change,
    way: Way,
    disables: bool,
) -> Result<Value, String> {
    let mut object = who.get(&kind, name).await?;
    let mut entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    change(&mut entries);
    let mut patch = json!([{"op": "add", "path": "/metadata/managedFields", "value": entries}]);
    let mut merge = json!({"metadata": {"managedFields": entries}});
    object["metadata"]["managedFields"] = entries.into();
    if disables {
        patch.as_array_mut().unwrap().push(json!({"op": "add", "path": "/spec/disabled", "value": true}));
        merge["spec"] = json!({"disabled": true});
        object["spec"]["disabled"] = true.into();
    }
    match way {
        Way::Merge => who.merge(&kind, name, &merge).await,
        Way::Json => who.json_patch(&kind, name, &patch).await,
        Way::Replace => who.replace(&object).await,
    }
}
