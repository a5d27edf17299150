//! What tests of a verifier's own share, which is started after it.

use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::keywright::Running;
use super::space::Space;

/// An operator, and one key that it minted.
pub struct Stage {
    pub cluster: &'static Cluster,
    /// Held so that it goes on.
    operator: Running,
    /// Passes every route.
    pub key: String,
}

pub async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    STAGE
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let key = Space::new(cluster).await.ready_key("storefront").await;
            Stage { cluster, operator, key }
        })
        .await
}
