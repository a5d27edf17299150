//! Objects as the API server sends them, parsed so that no field of one object affects another. Pure: no I/O.
//!
//! Whoever may write an object chooses most of its bytes. `managedFields`, for one, holds times that no library parses and
//! JSON of any depth. So an object is first cut into its top-level fields, which are not parsed. Of `metadata` only the fields
//! named in [`Metadata`] are read, each by itself. The rest is the body: where it cannot be parsed, only this object is refused.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or what is known of an object whose body cannot be parsed. It replaces `DeserializeGuard`, which parses all
/// of `ObjectMeta` and fails with it.
#[derive(Clone, Debug)]
pub struct Received<K>(pub Result<K, Unreadable>);

/// An object whose body cannot be parsed by this version.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Name, uid and versions, as for any other object.
    pub metadata: ObjectMeta,
    /// Parser's message, cut where it quotes much of the object.
    pub error: String,
    /// Text of the status, if there is one.
    pub status: Option<Box<RawValue>>,
}

/// Characters of a parser's message that are kept.
const MESSAGE: usize = 300;

impl<K: Resource> Received<K> {
    /// Metadata, which is there in either case.
    pub fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Received<K> {
    /// Fails only where the object cannot be attributed: the text is not a JSON object, or has no name. The API server
    /// validates these, so no client can store such an object.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, body) = deserializer.deserialize_map(Fields)?;
        Self::from_fields(metadata.read().map_err(D::Error::custom)?, body).map_err(D::Error::custom)
    }
}

impl<K: Resource + DeserializeOwned> Received<K> {
    fn from_fields(metadata: ObjectMeta, mut fields: Body) -> Result<Self, serde_json::Error> {
        // The type asks for metadata; an empty one is put in place of what was sent.
        fields.insert("metadata".to_owned(), RawValue::from_string("{}".to_owned())?);
        let mut object = parse::<K>(&fields);
        let status = if object.is_err() { fields.remove("status") } else { None };
        if status.is_some() {
            // A status is never decided on, so one that cannot be parsed counts as absent and is written again.
            object = parse(&fields);
        }
        Ok(Self(match object {
            Ok(mut object) => {
                *object.meta_mut() = metadata;
                Ok(object)
            }
            Err(error) => {
                let error = error.to_string().chars().take(MESSAGE).collect();
                Err(Unreadable { metadata, error, status })
            }
        }))
    }
}

fn parse<K: DeserializeOwned>(fields: &Body) -> Result<K, serde_json::Error> {
    K::deserialize(MapDeserializer::new(fields.iter().map(|(name, value)| (name.as_str(), &**value))))
}

/// Top-level fields by name, other than `metadata`.
type Body = BTreeMap<String, Box<RawValue>>;

/// Visitor that cuts an object into its top-level fields as it arrives, so that `managedFields` are never in memory.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = (Metadata, Body);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of the API server")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut body) = (None, Body::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == "metadata" {
                metadata = Some(map.next_value()?);
            } else {
                body.insert(name, map.next_value()?);
            }
        }
        Ok((metadata.ok_or_else(|| A::Error::missing_field("metadata"))?, body))
    }
}

/// Fields of `metadata` that are used. Others, `managedFields` among them, are skipped without being parsed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<Box<RawValue>>,
    namespace: Option<Box<RawValue>>,
    uid: Option<Box<RawValue>>,
    resource_version: Option<Box<RawValue>>,
    generation: Option<Box<RawValue>>,
    creation_timestamp: Option<Box<RawValue>>,
    deletion_timestamp: Option<Box<RawValue>>,
    labels: Option<Box<RawValue>>,
    annotations: Option<Box<RawValue>>,
    owner_references: Option<Box<RawValue>>,
}

impl Metadata {
    /// Reads each field by itself: one that cannot be parsed is absent. Only the name is required.
    fn read(self) -> Result<ObjectMeta, serde_json::Error> {
        let name: String = read(self.name).ok_or_else(|| serde_json::Error::missing_field("metadata.name"))?;
        Ok(ObjectMeta {
            name: Some(name),
            namespace: read(self.namespace),
            uid: read(self.uid),
            resource_version: read(self.resource_version),
            generation: read(self.generation),
            creation_timestamp: read(self.creation_timestamp).and_then(time),
            // Its presence is what counts: a time that cannot be parsed becomes the last one there is.
            deletion_timestamp: self
                .deletion_timestamp
                .filter(|at| at.get() != "null")
                .map(|at| read(Some(at)).and_then(time).unwrap_or(Time(Timestamp::MAX))),
            labels: read(self.labels),
            annotations: read(self.annotations),
            owner_references: read::<Vec<OwnerReference>>(self.owner_references),
            ..ObjectMeta::default()
        })
    }
}

fn read<T: DeserializeOwned>(field: Option<Box<RawValue>>) -> Option<T> {
    serde_json::from_str(field?.get()).ok()
}

fn time(text: String) -> Option<Time> {
    text.parse().ok().map(Time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::ApiKey;

    fn key(metadata: &str, spec: &str, status: &str) -> Received<ApiKey> {
        let metadata = format!(r#"{{"name":"a","namespace":"shop","uid":"u-1","resourceVersion":"7"{metadata}}}"#);
        let text = format!(
            r#"{{"apiVersion":"keywright.dev/v1alpha1","kind":"ApiKey","metadata":{metadata},"spec":{spec}{status}}}"#
        );
        // As in a list, from a reader.
        serde_json::from_reader(text.as_bytes()).unwrap()
    }

    const SPEC: &str = r#"{"account":"acme","accessLevel":"Full"}"#;

    fn nested(depth: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn managed_fields_of_any_shape_are_skipped() {
        for fields in [r#"[{"time":"9999-12-31T23:59:59Z"}]"#.to_owned(), nested(10_000), "7".to_owned()] {
            let read = key(&format!(r#","managedFields":{fields}"#), SPEC, "").0.unwrap();
            assert_eq!(read.metadata.uid.as_deref(), Some("u-1"));
            assert_eq!(read.metadata.managed_fields, None);
        }
    }

    #[test]
    fn metadata_fields_are_read_one_by_one() {
        let strange = r#","generation":"x","labels":{"a":1},"annotations":{"b":"c"},"creationTimestamp":"+10000-01-01T00:00:00Z","deletionTimestamp":"soon""#;
        let meta = key(strange, SPEC, "").meta().clone();
        assert_eq!(meta.generation, None);
        assert_eq!(meta.labels, None);
        assert_eq!(meta.annotations, Some(BTreeMap::from([("b".to_owned(), "c".to_owned())])));
        assert_eq!(meta.creation_timestamp, None);
        assert!(meta.deletion_timestamp.is_some(), "being deleted, whenever that was asked for");
        assert_eq!(key(r#","deletionTimestamp":null"#, SPEC, "").meta().deletion_timestamp, None);
    }

    #[test]
    fn an_unreadable_spec_refuses_that_object_only() {
        for spec in [nested(200), r#"{"account":"acme","later":1}"#.to_owned(), "[]".to_owned()] {
            let unreadable = key("", &spec, "").0.unwrap_err();
            assert_eq!(unreadable.metadata.name.as_deref(), Some("a"));
            assert!(!unreadable.error.is_empty());
        }
    }

    #[test]
    fn an_unreadable_status_counts_as_absent() {
        let read = key("", SPEC, r#","status":{"state":"Later"}"#).0.unwrap();
        assert_eq!(read.status, None);
        assert_eq!(read.spec.account, "acme");
    }

    #[test]
    fn an_object_without_a_name_is_an_error() {
        for text in ["[]", "{}", r#"{"metadata":{}}"#, r#"{"metadata":{"name":7},"spec":{}}"#] {
            assert!(serde_json::from_str::<Received<ApiKey>>(text).is_err(), "{text}");
        }
    }
}
