//! Feeds the index from the API server: watches of ApiKeys, Accounts and Suspensions, in all namespaces at once or in each
//! that is named, and one of the records of our own.
//!
//! The verifier waits for nobody: it watches everything itself. It is ready when every list is complete, each a
//! consistent read, and it knows how old what it knows is, because for each watch it proves that again and again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, join3, join4};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::ListParams;

use super::freshness::Progress;
use super::service::Service;
use crate::api::{Account, ApiKey, Namespaces, Suspension, names};
use crate::apiserver::{Collection, reflect};

mod progress;
mod sinks;

use progress::{PACE, Sink, Watched, prove};
use sinks::{AccountSpecs, Accounts, KeySpecs, Keys, Records, Suspends, Suspensions};

/// Bounds the wait for the next object of a list.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is watched in one namespace, or in all of them at once, and how far each watch has come.
struct Place<'s> {
    keys: (Collection<KeySpecs>, Progress<'s>),
    accounts: (Collection<AccountSpecs>, Progress<'s>),
    suspensions: (Collection<Suspends>, Progress<'s>),
    is_one: bool,
}

impl<'s> Place<'s> {
    fn new(client: &Client, namespace: Option<&str>, service: &'s Service) -> Self {
        let place = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
        let progress = |name: &str| Progress::new(format!("{name}{place}"), &service.freshness);
        Self {
            keys: (Collection::of::<ApiKey>(client, namespace), progress("apikeys")),
            accounts: (Collection::of::<Account>(client, namespace), progress("accounts")),
            suspensions: (Collection::of::<Suspension>(client, namespace), progress("suspensions")),
            is_one: namespace.is_some(),
        }
    }

    async fn follow(&self, service: &Service) {
        let Self { keys, accounts, suspensions, is_one } = self;
        let (metrics, health) = (&service.metrics, &service.watches);
        let key_sink = Watched::new(Keys::new(service, *is_one), &keys.1, metrics);
        let account_sink = Watched::new(Accounts::new(service, *is_one), &accounts.1, metrics);
        let suspension_sink = Watched::new(Suspensions::new(service, *is_one), &suspensions.1, metrics);
        tokio::join!(
            reflect(&keys.0, &key_sink, PACE, health),
            reflect(&accounts.0, &account_sink, PACE, health),
            reflect(&suspensions.0, &suspension_sink, PACE, health),
        );
    }
}

/// Watches all resources, as soon as the Lease exists, and does not return; `entries` is the namespace of the records. Reports to the
/// service when every list is complete, and as of when all of it is fresh.
pub async fn follow(client: Client, service: Arc<Service>, namespaces: &Namespaces, entries: &str) {
    let places: Vec<Place> =
        namespaces.each().iter().map(|namespace| Place::new(&client, namespace.as_deref(), &service)).collect();
    let Some(first) = places.first() else { return };
    let of_keys: Vec<_> = places.iter().map(|place| &place.keys.1).collect();
    let of_accounts: Vec<_> = places.iter().map(|place| &place.accounts.1).collect();
    let of_suspensions: Vec<_> = places.iter().map(|place| &place.suspensions.1).collect();
    let everywhere = join_all(places.iter().map(|place| place.follow(&service)));
    let records = Collection::<Secret>::new(&client, Some(entries));
    let of_records = Progress::new("records", &service.freshness);
    let of_our_own = &of_records;
    let proofs = join4(
        prove(&first.keys.0, &of_keys),
        prove(&first.accounts.0, &of_accounts),
        prove(&first.suspensions.0, &of_suspensions),
        prove(&records, std::slice::from_ref(&of_our_own)),
    );
    let our_own = async {
        let sink = Records::new(&service);
        of_records.may_list().await;
        pepper_first(&records, &sink).await;
        let sink = Watched::new(sink, &of_records, &service.metrics);
        reflect(&records, &sink, PACE, &service.watches).await;
    };
    join3(everywhere, our_own, proofs).await;
}

/// With it the list that follows need not keep the argon2id records, which only a lost pepper asks for. Should this fail,
/// they are kept until the next list.
async fn pepper_first(records: &Collection<Secret>, sink: &Records<'_>) {
    let params = ListParams::default().fields(&format!("type={}", names::PEPPER_SECRET_TYPE));
    let listed = records
        .list(&params, PATIENCE, |secret| {
            sink.apply(secret);
        })
        .await;
    if let Err(error) = listed {
        tracing::debug!(%error, "the pepper was not listed first");
    }
}
