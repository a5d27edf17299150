//! What is tried with suspensions, by field and by role.

use keywright::api::Suspension;
use serde_json::{Value, json};

use super::attempt::Answer::{May, Rbac, Told};
use super::attempt::{Answer, Attempt, Person, attempt, one};

const READERS: [Answer; 5] = [May, May, May, May, Rbac];
/// What the policy reports to those who lack `govern` on suspensions.
const OF_THE_PLATFORM: Answer = Told(
    "denied request: this Suspension is the platform's, and to create, change or lift it takes the verb govern on \
     suspensions: ask the platform team. To suspend on the owner's behalf set spec.by to Owner",
);
/// What the policy reports to those who lack `suspend` on accounts.
const OF_AN_ACCOUNT: Answer = Told(
    "denied request: this suspends an Account or lifts that, which takes the verb suspend on accounts: ask for the \
     ClusterRole keywright-owner in this namespace, or suspend single keys",
);
const PLATFORM: [Answer; 5] = [OF_THE_PLATFORM, OF_THE_PLATFORM, OF_THE_PLATFORM, May, Rbac];
/// Roles that suspend keys on their own behalf.
const HOLDERS: [Answer; 5] = [May, May, May, May, Rbac];
/// Roles that suspend an account on their own behalf.
const OWNERS: [Answer; 5] = [May, OF_AN_ACCOUNT, OF_AN_ACCOUNT, May, Rbac];
/// Even the platform lifts one after the other, and so by name.
const NOBODY: [Answer; 5] = [Rbac; 5];

/// Of the key that there is.
pub fn spec() -> Value {
    json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse", "message": "Call us."})
}

/// The same on the owner's behalf.
pub fn hold() -> Value {
    json!({"target": {"kind": "ApiKey", "name": "storefront"}, "by": "Owner", "reason": "Leak"})
}

/// The same of the account.
pub fn account_hold() -> Value {
    json!({"target": {"kind": "Account", "name": "acme"}, "by": "Owner", "reason": "Leak"})
}

pub fn attempts() -> Vec<Attempt> {
    let mut all = by_platform();
    all.extend(by_owner());
    all
}

fn by_platform() -> Vec<Attempt> {
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
        attempt("aim a suspension elsewhere", [told, told, told, told, Rbac], move |who| {
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

fn by_owner() -> Vec<Attempt> {
    let stays = Told("by cannot be changed: create another Suspension");
    vec![
        attempt("hold a key", HOLDERS, async |who| who.create(&one::<Suspension>("new", &hold())).await),
        attempt("hold a key by server-side apply", HOLDERS, async |who| {
            who.apply(&one::<Suspension>("new", &hold())).await
        }),
        attempt("reword the hold of a key", HOLDERS, async |who| {
            who.merge("suspensions", "hold", &json!({"spec": {"message": "It was posted."}})).await
        }),
        attempt("lift the hold of a key", HOLDERS, async |who| who.delete("suspensions", "hold").await),
        attempt("hold an account", OWNERS, async |who| who.create(&one::<Suspension>("new", &account_hold())).await),
        attempt("reword the hold of an account", OWNERS, async |who| {
            who.merge("suspensions", "account-hold", &json!({"spec": {"message": "It was posted."}})).await
        }),
        attempt("lift the hold of an account", OWNERS, async |who| who.delete("suspensions", "account-hold").await),
        attempt("make a hold of the platform's suspension", [stays, stays, stays, stays, Rbac], async |who| {
            who.merge("suspensions", "abuse", &json!({"spec": {"by": "Owner"}})).await
        }),
        attempt("make a suspension of the platform's of a hold", [stays, stays, stays, stays, Rbac], async |who| {
            who.merge("suspensions", "hold", &json!({"spec": {"by": "Platform"}})).await
        }),
    ]
}

/// With the name alone, so that whoever may not read is stopped by the verb itself.
async fn replaced(who: Person) -> Result<Value, String> {
    let version = who.get("suspensions", "abuse").await.map(|read| read["metadata"]["resourceVersion"].clone());
    let mut object = one::<Suspension>("abuse", &spec());
    object["metadata"]["resourceVersion"] = version.unwrap_or("1".into());
    who.replace(&object).await
}
