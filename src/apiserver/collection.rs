//! Requests for the objects of one resource. Every answer is read as [`Received`].

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use futures::io::{copy, sink};
use futures::stream::try_unfold;
use futures::{AsyncBufRead, AsyncBufReadExt, Stream};
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::request;
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Error, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::list::{Page, stream, stream_page};
use super::received::Received;

/// Objects in one page of a list. A page is streamed, so this bounds the work of the API server, not our memory.
const PAGE: u32 = 500;

/// Objects of type `K`, in one namespace or in all of them.
#[derive(Clone)]
pub struct Collection<K> {
    client: Client,
    request: Request,
    objects: PhantomData<fn() -> K>,
}

impl<K: Resource + DeserializeOwned + Send + 'static> Collection<K> {
    /// Objects of `K`'s own resource; `None` is all namespaces.
    pub fn new(client: &Client, namespace: Option<&str>) -> Self
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Self::of::<K>(client, namespace)
    }

    /// Objects of the resource `R`, read as `K`, which may have fewer fields.
    pub fn of<R>(client: &Client, namespace: Option<&str>) -> Self
    where
        R: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Self { client: client.clone(), request: Request::new(R::url_path(&(), namespace)), objects: PhantomData }
    }

    /// Lists everything by a consistent read, page by page, and passes each object on as it arrives. Returns the
    /// resourceVersion of the list. `patience` bounds each wait for the next object.
    pub async fn list(
        &self,
        params: &ListParams,
        patience: Duration,
        mut each: impl FnMut(Received<K>),
    ) -> Result<String, Error> {
        let mut params = params.clone().limit(PAGE);
        loop {
            let request = self.request.list(&params).map_err(Error::BuildRequest)?;
            let page = stream_page(&self.client, request, patience, &mut each).await?;
            match page.continue_token {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(page.resource_version.unwrap_or_default()),
            }
        }
    }

    /// Watches from a resourceVersion on. [`Error::SerdeError`] is an event that cannot be attributed to an object.
    pub async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Received<K>>, Error>> + use<K>, Error> {
        let request = self.request.watch(params, version).map_err(Error::BuildRequest)?;
        Ok(events(self.client.request_stream(request).await?))
    }

    /// resourceVersion of a consistent read. No object is parsed.
    pub async fn version(&self) -> Result<String, Error> {
        let request = self.request.list_metadata(&ListParams::default().limit(1)).map_err(Error::BuildRequest)?;
        let page = stream(&self.client, request, Page::parse).await?;
        Ok(page.resource_version.unwrap_or_default())
    }

    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<Received<K>, Error> {
        self.send(self.request.get(name, &GetParams::default())).await
    }

    /// Reads one object; `None` if there is none of that name.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Received<K>>, Error> {
        match self.get(name).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Creates an object.
    pub async fn create(&self, params: &PostParams, object: &impl Serialize) -> Result<Received<K>, Error> {
        self.send(self.request.create(params, json(object)?)).await
    }

    /// Replaces an object. A resourceVersion in its metadata makes this a compare-and-swap.
    pub async fn replace(
        &self,
        name: &str,
        params: &PostParams,
        object: &impl Serialize,
    ) -> Result<Received<K>, Error> {
        self.send(self.request.replace(name, params, json(object)?)).await
    }

    /// Replaces the status of an object. A resourceVersion in its metadata makes this a compare-and-swap.
    pub async fn replace_status(&self, name: &str, params: &PostParams, object: &impl Serialize) -> Result<(), Error> {
        self.discard(self.request.replace_subresource("status", name, params, json(object)?)).await
    }

    /// Applies a patch to the status of an object.
    pub async fn patch_status<P: Serialize>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<(), Error> {
        self.discard(self.request.patch_subresource("status", name, params, patch)).await
    }

    /// Deletes an object. The answer is not parsed: it may be the object.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<(), Error> {
        self.discard(self.request.delete(name, params)).await
    }

    /// Sends a request and reads the object of its answer. Not by `Client::request`, which logs what it cannot parse.
    async fn send(&self, request: Result<http::Request<Vec<u8>>, request::Error>) -> Result<Received<K>, Error> {
        stream(&self.client, request.map_err(Error::BuildRequest)?, serde_json::from_reader).await
    }

    /// Sends a request and skips the body of its answer, so that the connection can be used again.
    async fn discard(&self, request: Result<http::Request<Vec<u8>>, request::Error>) -> Result<(), Error> {
        let body = self.client.request_stream(request.map_err(Error::BuildRequest)?).await?;
        copy(body, &mut sink()).await.map(drop).map_err(Error::ReadEvents)
    }
}

/// Parses one event a line. Not by `Client::request_events`, which decodes a line as UTF-8 before it is parsed: managedFields
/// may hold any bytes.
fn events<K: Resource + DeserializeOwned>(
    body: impl AsyncBufRead + Send + 'static,
) -> impl Stream<Item = Result<WatchEvent<Received<K>>, Error>> {
    try_unfold(Box::pin(body), |mut body| async move {
        let mut line = Vec::new();
        match body.read_until(b'\n', &mut line).await {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_slice(&line).map(|event| Some((event, body))).map_err(Error::SerdeError),
            // The API server ends a watch that has lasted long enough, or is itself stopped.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::ReadEvents(error)),
        }
    })
}

fn json(object: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(Error::SerdeError)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::{StreamExt, pin_mut};

    use super::*;
    use crate::api::ApiKey;

    #[tokio::test]
    async fn an_event_with_bytes_that_are_no_utf_8_disturbs_no_other() {
        let odd = b"{\"f:\xff\xfe\":{}}".to_vec();
        let event = |name: &str, fields: &[u8]| {
            let start = format!(
                r#"{{"type":"MODIFIED","object":{{"metadata":{{"name":"{name}","managedFields":[{{"fieldsV1":"#
            );
            [start.as_bytes(), fields, b"}]}}}\n"].concat()
        };
        let body =
            [event("odd", &odd), event("next", b"{}"), b"{\"type\":\"MODIFIED\",\"object\":[]}\n".to_vec()].concat();
        let events = events::<ApiKey>(futures::io::Cursor::new(body));
        pin_mut!(events);
        for name in ["odd", "next"] {
            let Some(Ok(WatchEvent::Modified(object))) = events.next().await else { panic!("no event of {name}") };
            assert_eq!(object.meta().name.as_deref(), Some(name));
        }
        assert!(matches!(events.next().await, Some(Err(Error::SerdeError(_)))), "an event without an object");
        assert!(events.next().await.is_none());
    }
}
