//! Feeds the index from the API server, with four watches: ApiKeys, Accounts, Suspensions, and the records of our own.
//!
//! The verifier waits for nobody: it watches everything itself. It is ready when every list is complete, each a
//! consistent read, and it knows how old what it knows is, because for each watch it proves that again and again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{ApiResource, DeserializeGuard};
use kube::{Api, Client};

use super::freshness::Progress;
use super::service::Service;
use crate::api::{Account, ApiKey, Suspension, names};

mod reflect;
mod sinks;

use reflect::{Sink, prove, reflect};
use sinks::{Accounts, Keys, Records, Suspends, Suspensions};

/// Follows everything, for ever, from when the Lease is there; says to the service when every list is complete, and as of when
/// all of it is fresh.
pub async fn follow(client: Client, service: Arc<Service>) {
    let keys = Api::<DeserializeGuard<ApiKey>>::all(client.clone());
    let accounts = Api::<DeserializeGuard<Account>>::all(client.clone());
    let suspensions =
        Api::<DeserializeGuard<Suspends>>::all_with(client.clone(), &ApiResource::erase::<Suspension>(&()));
    let records = Api::<Secret>::namespaced(client, names::ENTRIES_NAMESPACE);
    let [of_keys, of_accounts, of_suspensions, of_records] =
        ["apikeys", "accounts", "suspensions", "records"].map(|name| Progress::new(name, &service.freshness));
    tokio::join!(
        reflect(&keys, Keys(&service), &of_keys, &service.metrics),
        prove(&keys, &of_keys),
        reflect(&accounts, Accounts(&service), &of_accounts, &service.metrics),
        prove(&accounts, &of_accounts),
        reflect(&suspensions, Suspensions(&service), &of_suspensions, &service.metrics),
        prove(&suspensions, &of_suspensions),
        async {
            let sink = Records::new(&service);
            of_records.may_list().await;
            pepper_first(&records, &sink).await;
            reflect(&records, sink, &of_records, &service.metrics).await;
        },
        prove(&records, &of_records),
    );
}

/// With it the list that follows need not keep the argon2id records, which only a lost pepper asks for. Should this fail,
/// they are kept until the next list.
async fn pepper_first(records: &Api<Secret>, sink: &Records<'_>) {
    let params = ListParams::default().fields(&format!("type={}", names::PEPPER_SECRET_TYPE));
    for secret in records.list(&params).await.into_iter().flatten() {
        sink.apply(secret);
    }
}
