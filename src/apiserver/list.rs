//! Answers parsed as they arrive. Of a list only one object is in memory, however many fat ones there are.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::{Client, Error, Resource};
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::received::Received;

/// Size of the buffer between the connection and the parser, in bytes.
const BUFFER: usize = 64 << 10;

/// `metadata` of a list.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// Version of the whole list.
    #[serde(rename = "resourceVersion")]
    pub resource_version: Option<String>,
    /// Asks for the next page; empty or absent on the last one.
    #[serde(rename = "continue")]
    pub continue_token: Option<String>,
}

impl Page {
    /// Parses a list of which no object is wanted.
    pub fn parse(reader: Reader) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct List {
            metadata: Page,
        }
        Ok(serde_json::from_reader::<_, List>(reader)?.metadata)
    }
}

/// Reader of an answer's body.
pub type Reader = BufReader<Box<dyn Read + Send>>;

/// Sends a request and parses the body of its answer. `serde_json` pulls, so that takes a thread that may block.
pub async fn stream<T: Send + 'static>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    parse: impl FnOnce(Reader) -> Result<T, serde_json::Error> + Send + 'static,
) -> Result<T, Error> {
    let answer = client.request_stream(request).await?;
    // Dropping this future ends the body, and with it the thread.
    let (_alive, abandoned) = oneshot::channel::<()>();
    let body = ReaderStream::with_capacity(answer.compat(), BUFFER).take_until(abandoned);
    let reader: Box<dyn Read + Send> = Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(body))));
    let parsed = spawn_blocking(move || parse(BufReader::with_capacity(BUFFER, reader))).await;
    parsed.map_err(|panic| Error::ReadEvents(io::Error::other(panic)))?.map_err(Error::SerdeError)
}

/// Requests a page and passes each object on. `patience` bounds the wait for the answer and for each object.
pub async fn stream_page<K: Resource + DeserializeOwned + Send + 'static>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    patience: Duration,
    each: &mut impl FnMut(Received<K>),
) -> Result<Page, Error> {
    let (objects, mut arriving) = mpsc::channel(1);
    let parsing = stream(client, request, |reader| {
        parse(reader, move |object: Received<K>| objects.blocking_send(object).is_ok())
    });
    let mut parsing = pin!(parsing);
    loop {
        let arrived = timeout(patience, async {
            tokio::select! {
                biased;
                Some(object) = arriving.recv() => ControlFlow::Continue(object),
                page = &mut parsing => ControlFlow::Break(page),
            }
        });
        match arrived.await {
            Ok(ControlFlow::Continue(object)) => each(object),
            Ok(ControlFlow::Break(page)) => {
                // The last object may have arrived together with the end.
                while let Ok(object) = arriving.try_recv() {
                    each(object);
                }
                return page;
            }
            Err(_) => {
                let why = format!("no data for {patience:?}");
                return Err(Error::ReadEvents(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
        }
    }
}

/// Parses a list, passing each object on until `each` returns false.
fn parse<K: Resource + DeserializeOwned>(
    reader: impl Read,
    each: impl FnMut(Received<K>) -> bool,
) -> Result<Page, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_reader(reader);
    let page = parser.deserialize_map(List { each, objects: PhantomData })?;
    parser.end()?;
    Ok(page)
}

/// Visitor of a list.
struct List<K, F> {
    each: F,
    objects: PhantomData<K>,
}

impl<'de, K: Resource + DeserializeOwned, F: FnMut(Received<K>) -> bool> Visitor<'de> for List<K, F> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "metadata" => page = map.next_value()?,
                "items" => map.next_value_seed(Items(&mut self))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(page)
    }
}

/// `items` of a list, which may be null.
struct Items<'l, K, F>(&'l mut List<K, F>);

impl<'de, K: Resource + DeserializeOwned, F: FnMut(Received<K>) -> bool> DeserializeSeed<'de> for Items<'_, K, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, K: Resource + DeserializeOwned, F: FnMut(Received<K>) -> bool> Visitor<'de> for Items<'_, K, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(object) = items.next_element::<Received<K>>()? {
            if !(self.0.each)(object) {
                return Err(serde::de::Error::custom("nobody reads the list any more"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::ApiKey;

    fn parsed(text: &str, most: usize) -> (Result<Page, serde_json::Error>, Vec<String>) {
        let mut names = Vec::new();
        let page = parse(text.as_bytes(), |object: Received<ApiKey>| {
            names.push(object.meta().name.clone().unwrap());
            names.len() < most
        });
        (page, names)
    }

    #[test]
    fn a_page_is_parsed_object_by_object() {
        let fat = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = format!(
            r#"{{"kind":"ApiKeyList","metadata":{{"resourceVersion":"9","continue":"t"}},"items":[
            {{"metadata":{{"name":"a","managedFields":{fat}}},"spec":{{}}}},{{"metadata":{{"name":"b"}}}}]}}"#
        );
        let (page, names) = parsed(&text, usize::MAX);
        let expected = Page { resource_version: Some("9".to_owned()), continue_token: Some("t".to_owned()) };
        assert_eq!(page.unwrap(), expected);
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_page_with_bytes_that_are_no_utf_8_is_parsed() {
        let text = br#"{"items":[{"metadata":{"name":"a","managedFields":[{"f:XX":{}}]}},{"metadata":{"name":"b"}}]}"#;
        let odd: Vec<u8> = text.iter().map(|&byte| if byte == b'X' { 0xff } else { byte }).collect();
        let mut names = Vec::new();
        let page = parse(odd.as_slice(), |object: Received<ApiKey>| {
            names.push(object.meta().name.clone().unwrap());
            true
        });
        assert!(page.is_ok());
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn an_incomplete_page_is_an_error() {
        let whole = r#"{"metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"}}]}"#;
        assert!(parsed(whole, usize::MAX).0.is_ok());
        for end in 1..whole.len() {
            assert!(parsed(&whole[..end], usize::MAX).0.is_err(), "{}", &whole[..end]);
        }
    }

    #[test]
    fn an_empty_page_has_null_or_no_items() {
        for items in ["null", "[]"] {
            let text = format!(r#"{{"items":{items},"metadata":{{"resourceVersion":"9"}}}}"#);
            assert_eq!(parsed(&text, 9).0.unwrap().resource_version.as_deref(), Some("9"));
        }
    }

    #[test]
    fn parsing_stops_when_the_receiver_is_gone() {
        let (page, names) = parsed(r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#, 1);
        assert!(page.is_err());
        assert_eq!(names, ["a"]);
    }
}
