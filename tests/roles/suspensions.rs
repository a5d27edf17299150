//! What is tried with suspensions. Plain RBAC decides; there is no policy for them.

use keywright::api::Suspension;
use serde_json::{Value, json};

use super::attempt::Answer::{May, Rbac, Told};
use super::attempt::{Answer, Attempt, Person, attempt, one};

const READERS: [Answer; 5] = [May, May, Rbac, May, Rbac];
const PLATFORM: [Answer; 5] = [Rbac, Rbac, Rbac, May, Rbac];
/// Even the platform lifts one after the other, and so by name.
const NOBODY: [Answer; 5] = [Rbac; 5];

/// Of the key that there is.
pub fn spec() -> Value {
    json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse", "message": "Call us."})
}

pub fn attempts() -> Vec<Attempt> {
    let moved = json!({"spec": {"target": {"name": "another"}}});
    let told = Told("target cannot be changed: create another Suspension");
    vec![
        attempt("list suspensions", READERS, async |who| who.list("suspensions").await),
        attempt("look at a suspension", READERS, async |who| who.get("suspensions", "abuse").await),
        attempt("suspend a key", PLATFORM, async |who| who.create(&one::<Suspension>("new", &spec())).await),
        attempt("suspend an account", PLATFORM, async |who| {
            let spec = json!({"target": {"kind": "Account", "name": "acme"}, "reason": "PaymentOverdue"});
            who.create(&one::<Suspension>("new", &spec)).await
        }),
        attempt("suspend a key by server-side apply", PLATFORM, async |who| {
            who.apply(&one::<Suspension>("new", &spec())).await
        }),
        attempt("reword a suspension", PLATFORM, async |who| {
            who.merge("suspensions", "abuse", &json!({"spec": {"message": "All is well."}})).await
        }),
        attempt("reword a suspension by JSON patch", PLATFORM, async |who| {
            who.json_patch("suspensions", "abuse", &json!([{"op": "remove", "path": "/spec/message"}])).await
        }),
        attempt("replace a suspension", PLATFORM, replaced),
        attempt("aim a suspension elsewhere", [Rbac, Rbac, Rbac, told, Rbac], move |who| {
            let moved = moved.clone();
            async move { who.merge("suspensions", "abuse", &moved).await }
        }),
        attempt("let a suspension be collected", PLATFORM, async |who| {
            let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "somewhere", "uid": "gone"});
            who.merge("suspensions", "abuse", &json!({"metadata": {"ownerReferences": [owner]}})).await
        }),
        attempt("lift a suspension", PLATFORM, async |who| who.delete("suspensions", "abuse").await),
        attempt("lift all suspensions at once", NOBODY, async |who| who.delete_all("suspensions").await),
    ]
}

/// With the name alone, so that whoever may not read is stopped by the verb itself.
async fn replaced(who: Person) -> Result<Value, String> {
    let version = who.get("suspensions", "abuse").await.map(|read| read["metadata"]["resourceVersion"].clone());
    let mut object = one::<Suspension>("abuse", &spec());
    object["metadata"]["resourceVersion"] = version.unwrap_or("1".into());
    who.replace(&object).await
}
