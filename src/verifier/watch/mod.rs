//! Feeds the index from the API server: watches of ApiKeys, Accounts and Suspensions, in all namespaces at once or in each
//! that is named, and one of the records of our own.
//!
//! The verifier waits for nobody: it watches everything itself. It is ready when every list is complete, each a
//! consistent read, and it knows how old what it knows is, because for each watch it proves that again and again.

use std::sync::Arc;

use futures::future::{join_all, join3, join4};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{ApiResource, DeserializeGuard};
use kube::{Api, Client};

use super::freshness::Progress;
use super::service::Service;
use crate::api::{Account, ApiKey, Namespaces, Suspension, names};
use crate::server;

mod reflect;
mod sinks;

use reflect::{Sink, prove, reflect};
use sinks::{Accounts, Keys, Records, Suspends, Suspensions};

/// What is watched in one namespace, or in all of them at once, and how far each watch has come.
struct Place<'s> {
    keys: (Api<DeserializeGuard<ApiKey>>, Progress<'s>),
    accounts: (Api<DeserializeGuard<Account>>, Progress<'s>),
    suspensions: (Api<DeserializeGuard<Suspends>>, Progress<'s>),
    is_one: bool,
}

impl<'s> Place<'s> {
    fn new(client: &Client, namespace: Option<&str>, service: &'s Service) -> Self {
        let place = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
        let progress = |name: &str| Progress::new(format!("{name}{place}"), &service.freshness);
        let suspension = ApiResource::erase::<Suspension>(&());
        let suspensions = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &suspension),
            None => Api::all_with(client.clone(), &suspension),
        };
        Self {
            keys: (server::api(client, namespace), progress("apikeys")),
            accounts: (server::api(client, namespace), progress("accounts")),
            suspensions: (suspensions, progress("suspensions")),
            is_one: namespace.is_some(),
        }
    }

    async fn follow(&self, service: &Service) {
        let Self { keys, accounts, suspensions, is_one } = self;
        tokio::join!(
            reflect(&keys.0, Keys::new(service, *is_one), &keys.1, &service.metrics),
            reflect(&accounts.0, Accounts::new(service, *is_one), &accounts.1, &service.metrics),
            reflect(&suspensions.0, Suspensions::new(service, *is_one), &suspensions.1, &service.metrics),
        );
    }
}

/// Follows everything, for ever, from when the Lease is there; says to the service when every list is complete, and as of when
/// all of it is fresh.
pub async fn follow(client: Client, service: Arc<Service>, namespaces: &Namespaces) {
    let places: Vec<Place> =
        namespaces.each().iter().map(|namespace| Place::new(&client, namespace.as_deref(), &service)).collect();
    let Some(first) = places.first() else { return };
    let of_keys: Vec<_> = places.iter().map(|place| &place.keys.1).collect();
    let of_accounts: Vec<_> = places.iter().map(|place| &place.accounts.1).collect();
    let of_suspensions: Vec<_> = places.iter().map(|place| &place.suspensions.1).collect();
    let everywhere = join_all(places.iter().map(|place| place.follow(&service)));
    let records = Api::<Secret>::namespaced(client, names::ENTRIES_NAMESPACE);
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
        reflect(&records, sink, &of_records, &service.metrics).await;
    };
    join3(everywhere, our_own, proofs).await;
}

/// With it the list that follows need not keep the argon2id records, which only a lost pepper asks for. Should this fail,
/// they are kept until the next list.
async fn pepper_first(records: &Api<Secret>, sink: &Records<'_>) {
    let params = ListParams::default().fields(&format!("type={}", names::PEPPER_SECRET_TYPE));
    for secret in records.list(&params).await.into_iter().flatten() {
        sink.apply(secret);
    }
}
