//! The pepper and the sealing key: made once, on the first start, and read ever after.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::ObjectMeta;
use thiserror::Error;

use super::guard::GuardError;
use super::write::{self, wipe};
use crate::api::{OwnNamespaces, names};
use crate::apiserver::{Collection, Received};
use crate::key::{Pepper, PepperError, SealError, SealingKey};

const SEALING_KEY_DATA_KEY: &str = "key";

/// Why the operator cannot begin.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The policies do not hold it back.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The pepper cannot be used.
    #[error("the pepper, Secret {name} in the namespace of entries: {0}", name = names::PEPPER_NAME)]
    Pepper(#[from] PepperError),
    /// The sealing key cannot be used.
    #[error("the sealing key, Secret {name} in the operator's namespace: {0}", name = names::SEALING_KEY_NAME)]
    SealingKey(#[from] SealError),
    /// A Secret cannot be parsed.
    #[error("a Secret with key material cannot be parsed: {0}")]
    Unreadable(String),
    /// The API server refused.
    #[error("key material: {0}; is the chart installed, and does the operator run as its ServiceAccount?")]
    Api(#[source] Box<kube::Error>),
}

/// Reads the key material, or makes it. Two operators that start at once agree: the second create is refused, and
/// the loser reads what the winner made.
pub async fn load(client: &Client, own: &OwnNamespaces) -> Result<(Pepper, SealingKey), PrepareError> {
    let mut pepper = read_or_create(client, &own.entries, names::PEPPER_NAME, names::PEPPER_SECRET_TYPE, || {
        let pepper = Pepper::generate(Timestamp::now())?;
        Ok(pepper.data().map(|(version, bytes)| (version, ByteString(bytes.to_vec()))).collect())
    })
    .await?;
    let read_pepper = Pepper::from_data(pepper.iter().map(|(name, bytes)| (name.as_str(), &bytes.0[..])));
    wipe(&mut pepper);

    let mut sealing =
        read_or_create(client, &own.system, names::SEALING_KEY_NAME, names::SEALING_KEY_SECRET_TYPE, || {
            let key = SealingKey::generate()?;
            Ok(BTreeMap::from([(SEALING_KEY_DATA_KEY.to_owned(), ByteString(key.expose().to_vec()))]))
        })
        .await?;
    let read_sealing = SealingKey::from_bytes(sealing.get(SEALING_KEY_DATA_KEY).map_or(&[], |bytes| &bytes.0));
    wipe(&mut sealing);
    Ok((read_pepper?, read_sealing?))
}

type Data = BTreeMap<String, ByteString>;

fn data(secret: Received<Secret>) -> Result<Data, PrepareError> {
    Ok(secret.0.map_err(|unreadable| PrepareError::Unreadable(unreadable.error))?.data.unwrap_or_default())
}

async fn read_or_create(
    client: &Client,
    namespace: &str,
    name: &str,
    type_: &str,
    make: impl Fn() -> Result<Data, PrepareError>,
) -> Result<Data, PrepareError> {
    let secrets = Collection::<Secret>::new(client, Some(namespace));
    let failed = |error| PrepareError::Api(Box::new(error));
    if let Some(secret) = secrets.get_opt(name).await.map_err(failed)? {
        return data(secret);
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(write::labels()),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        data: Some(make()?),
        ..Secret::default()
    };
    match secrets.create(&write::by_us(), &secret).await {
        Ok(created) => {
            tracing::info!(namespace, name, "made");
            data(created)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => data(secrets.get(name).await.map_err(failed)?),
        Err(error) => Err(failed(error)),
    }
}
