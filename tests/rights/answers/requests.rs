//! Requests to the API server, in every form that it takes one.

use std::fmt::{self, Display};

use serde_json::{Value, json};

use super::super::owner;
use super::targets::{OWNER, Target};

/// Every form of an answer that the API server can give.
pub const ACCEPTS: [&str; 7] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/cbor",
];

/// One request.
#[derive(Clone)]
pub struct Shot {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Display for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} {}", self.method, self.path, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Shot {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn bytes(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("content-type", content_type)
    }

    pub fn json(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string().into_bytes())
    }

    /// Adds to the query.
    pub fn query(mut self, query: &str) -> Self {
        if !query.is_empty() {
            self.path = format!("{}{}{query}", self.path, if self.path.contains('?') { '&' } else { '?' });
        }
        self
    }

    /// The same with every form of the answer.
    fn in_every_form(&self) -> impl Iterator<Item = Self> {
        // `includeObject` counts for Tables only.
        ACCEPTS.map(|accept| self.clone().query("includeObject=Object").header("accept", accept)).into_iter()
    }
}

/// Every combination of the options that change what a deletion does.
fn delete_options() -> Vec<Value> {
    let dependents = [
        json!({}),
        json!({"propagationPolicy": "Foreground"}),
        json!({"propagationPolicy": "Background"}),
        json!({"propagationPolicy": "Orphan"}),
        json!({"orphanDependents": true}),
        json!({"orphanDependents": false}),
    ];
    let mut all = Vec::new();
    // Dry runs first, for the others would leave nothing if they were admitted.
    for dry_run in [json!({"dryRun": ["All"]}), json!({})] {
        for grace in [json!({}), json!({"gracePeriodSeconds": 0})] {
            for dependents in &dependents {
                let parts = [&dry_run, &grace, dependents].map(|part| part.as_object().unwrap().clone());
                all.push(Value::Object(parts.into_iter().flatten().collect()));
            }
        }
    }
    all
}

fn as_query(options: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = options.as_object().unwrap().iter().map(|(name, value)| match value.as_array() {
        Some(list) => format!("{name}={}", text(&list[0])),
        None => format!("{name}={}", text(value)),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Every form of a deletion of one object.
pub fn deletions(one: &str) -> Vec<Shot> {
    let mut all = Vec::new();
    for options in delete_options() {
        let in_body = Shot::new("DELETE", one).json(&options);
        all.extend(in_body.in_every_form());
        all.push(Shot::new("DELETE", one).query(&as_query(&options)));
        all.push(Shot::new("DELETE", one).bytes("application/yaml", options.to_string().into_bytes()));
        for (field, value) in [
            ("preconditions", json!({"uid": "00000000-0000-4000-8000-000000000000"})),
            ("preconditions", json!({"resourceVersion": "1"})),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", json!(true)),
        ] {
            let mut options = options.clone();
            options[field] = value;
            all.push(Shot::new("DELETE", one).json(&options));
        }
    }
    for (policy, dry_run) in [("Foreground", true), ("Orphan", true), ("Foreground", false), ("Orphan", false)] {
        let dry_run = if dry_run { field(5, b"All") } else { Vec::new() };
        let options = [field(4, policy.as_bytes()), dry_run].concat();
        all.push(Shot::new("DELETE", one).bytes(PROTOBUF, protobuf("DeleteOptions", &options)));
    }
    all
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A field of a protobuf message: bytes, a text or a message, of less than 16 KiB.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let [high, low] = [bytes.len() >> 7, bytes.len() & 0x7f].map(|part| u8::try_from(part).unwrap());
    [&[number << 3 | 2, low | 0x80, high], bytes].concat()
}

/// An object as the API server takes it in protobuf.
fn protobuf(kind: &str, message: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &field(1, &type_meta), &field(2, message)].concat()
}

/// Secrets to write under a name: what an honest operator sends, and what one would send who wants to be answered with more.
pub fn bodies(target: &Target) -> Vec<Value> {
    let meta = json!({"name": target.name, "ownerReferences": [owner(OWNER)],
        "annotations": {"keywright.dev/serial": "1"}});
    let blank = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "keywright.dev/api-key", "data": {"x": ""}});
    let with = |pointer: &str, field: &str, value: Value| {
        let mut body = blank.clone();
        body.pointer_mut(pointer).unwrap()[field] = value;
        body
    };
    let all = [
        blank.clone(),
        with("", "type", target.type_().into()),
        with("", "type", Value::Null),
        with("", "data", Value::Null),
        with("", "data", json!({})),
        with("", "data", json!({"x": "!!!"})),
        with("", "data", json!({"x": 5})),
        with("", "data", json!({"bad key!": "", "": ""})),
        with("", "stringData", json!({"x": "another"})),
        with("", "immutable", json!(true)),
        with("", "unheardOf", json!("x")),
        with("", "kind", json!("ConfigMap")),
        with("/metadata", "name", json!("another-name")),
        with("/metadata", "namespace", json!("another-namespace")),
        with("/metadata", "uid", json!("00000000-0000-4000-8000-000000000000")),
        with("/metadata", "resourceVersion", json!("1")),
        with("/metadata", "resourceVersion", json!("x")),
        with("/metadata", "managedFields", json!([{}])),
        with("/metadata", "finalizers", json!(["foregroundDeletion"])),
        with("/metadata", "finalizers", json!(["not a finalizer"])),
        with("/metadata", "deletionTimestamp", json!("2020-01-01T00:00:00Z")),
        with("/metadata", "creationTimestamp", json!("2020-01-01T00:00:00Z")),
        with("/metadata", "labels", json!({"bad label!": "bad value!"})),
        with("/metadata", "annotations", json!({"keywright.dev/serial": "0"})),
        with("/metadata", "annotations", json!({"keywright.dev/serial": "999999999999999999"})),
        with("/metadata", "ownerReferences", json!([])),
    ];
    all.into()
}

/// A blank delivered Secret in protobuf.
fn in_protobuf(name: &str) -> Vec<u8> {
    let by =
        [field(5, b"keywright.dev/v1alpha1"), field(1, b"ApiKey"), field(3, b"storefront"), field(4, OWNER.as_bytes())];
    let serial = [field(1, b"keywright.dev/serial"), field(2, b"1")].concat();
    let meta = [field(1, name.as_bytes()), field(12, &serial), field(13, &by.concat())].concat();
    protobuf("Secret", &[field(1, &meta), field(3, b"keywright.dev/api-key")].concat())
}

/// Every form of an update of one Secret, as a dry run.
pub fn updates(one: &str, target: &Target) -> Vec<Shot> {
    let put = || Shot::new("PUT", one).query("dryRun=All");
    let mut all = Vec::new();
    for body in bodies(target) {
        let plain = put().json(&body);
        all.extend(plain.in_every_form());
        all.extend(["Strict", "Ignore"].map(|how| plain.clone().query(&format!("fieldValidation={how}"))));
        all.push(put().bytes("application/yaml", body.to_string().into_bytes()));
    }
    all.push(put().bytes(PROTOBUF, in_protobuf(&target.name)));
    all
}

/// Every form of a creation under a name that is taken.
pub fn creations(collection: &str, target: &Target, query: &str) -> Vec<Shot> {
    let mut all = Vec::new();
    for body in bodies(target) {
        all.push(Shot::new("POST", collection).query(query).json(&body));
        all.push(Shot::new("POST", collection).query(query).query("fieldValidation=Strict").json(&body));
    }
    let mut generated = bodies(target).swap_remove(0);
    generated["metadata"]["generateName"] = target.name.clone().into();
    generated["metadata"].as_object_mut().unwrap().remove("name");
    all.push(Shot::new("POST", collection).query(query).json(&generated));
    all.push(Shot::new("POST", collection).query(query).bytes(PROTOBUF, in_protobuf(&target.name)));
    all
}

/// Requests of a verb, as dry runs where it writes. A verb that has none here must get some first.
pub fn of_verb(verb: &str, all: &str, one: &str) -> Vec<Shot> {
    let write = |method, path: &str| Shot::new(method, path).query("dryRun=All").json(&json!({}));
    let shots = match verb {
        "get" => vec![Shot::new("GET", one)],
        "list" => vec![Shot::new("GET", all), Shot::new("GET", all).query("resourceVersion=0&limit=1")],
        "watch" => vec![Shot::new("GET", all).query("watch=1&timeoutSeconds=1")],
        "create" => vec![write("POST", all), write("POST", one)],
        "update" => vec![write("PUT", one)],
        "delete" => return deletions(one),
        "patch" => patches(one),
        _ => panic!("no request of the verb {verb} is known here"),
    };
    shots.iter().flat_map(Shot::in_every_form).collect()
}

fn patches(one: &str) -> Vec<Shot> {
    let patch = |kind: &str, body: Value| {
        let content_type = format!("application/{kind}");
        Shot::new("PATCH", one).query("dryRun=All").bytes(&content_type, body.to_string().into_bytes())
    };
    vec![
        patch("json-patch+json", json!([{"op": "copy", "from": "/data/x", "path": "/metadata/name"}])),
        patch("merge-patch+json", json!({})),
        patch("strategic-merge-patch+json", json!({})),
        patch("apply-patch+yaml", json!({})).query("fieldManager=x&force=true"),
    ]
}

/// One request of each verb.
pub fn sweep(all: &str, one: &str) -> Vec<Shot> {
    let write = |method, path: &str| Shot::new(method, path).query("dryRun=All").json(&json!({}));
    let reads = [
        Shot::new("GET", one),
        Shot::new("GET", all),
        Shot::new("GET", all).query("watch=1&timeoutSeconds=1"),
        Shot::new("HEAD", one),
        Shot::new("OPTIONS", one),
    ];
    let writes =
        [write("POST", all), write("POST", one), write("PUT", one), write("DELETE", one), write("DELETE", all)];
    reads.into_iter().chain(writes).chain(patches(one)).collect()
}
