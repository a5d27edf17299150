//! The messages of `envoy.service.auth.v3`, without what nobody here reads or writes: protobuf skips the fields that a
//! message does not name, and what is not taken in costs next to nothing.
//!
//! Text stands here as bytes. A header that is no UTF-8 is a header all the same, and refusing the message for it would be
//! an error of the transport. The numbers are those of Envoy's API; tests speak to this with the whole of it.

use bytes::Bytes;
use prost::Message;

/// A question about one request. No `Debug`, here and below: it holds a key.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CheckRequest {
    /// What Envoy knows of it.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Attributes {
    /// Who sent it.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The request itself.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// What the route says; a map, which protobuf writes as pairs.
    #[prost(message, repeated, tag = "10")]
    pub context_extensions: Vec<Pair>,
}

/// An entry of a map from texts to texts.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// What it stands for.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// One end of a connection.
#[derive(Clone, PartialEq, Message)]
pub struct Peer {
    /// Where it is.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// An address, of the one kind that is looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Address {
    /// Of a socket.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// An address of a socket, without its port.
#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    /// As text.
    #[prost(bytes = "bytes", tag = "2")]
    pub address: Bytes,
}

/// `AttributeContext.Request`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Request {
    /// There when it is an HTTP request.
    #[prost(message, optional, tag = "2")]
    pub http: Option<Http>,
}

/// `AttributeContext.HttpRequest`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Http {
    /// Of the client's request.
    #[prost(bytes = "bytes", tag = "2")]
    pub method: Bytes,
    /// A map, whose pairs are read as headers; lines of one name are joined.
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Header>,
    /// In its place, where Envoy is told to `encode_raw_headers`.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// Headers as they came.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMap {
    /// Each line.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
}

/// `HeaderValue`, and a pair of the map of headers.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Header {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its value as text.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Or as it came.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// The answer: one of the two responses.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CheckResponse {
    /// `OK` lets pass.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What the client is told.
    #[prost(message, optional, tag = "2")]
    pub denied_response: Option<Denied>,
    /// What the upstream is told.
    #[prost(message, optional, tag = "3")]
    pub ok_response: Option<Allowed>,
    /// What the gateway's other filters are told.
    #[prost(message, optional, tag = "4")]
    pub dynamic_metadata: Option<Struct>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Of gRPC; 0 is OK.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The code's word.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `DeniedHttpResponse`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Denied {
    /// Of the response.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<SetHeader>,
    /// Its body.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// `HttpStatus`
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    /// Such as 401.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `OkHttpResponse`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Allowed {
    /// Set in the request to the upstream.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<SetHeader>,
    /// Taken out of it.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub headers_to_remove: Vec<Bytes>,
}

/// `HeaderValueOption`
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct SetHeader {
    /// What is set.
    #[prost(message, required, tag = "1")]
    pub header: Header,
    /// And how: [`OVERWRITE`].
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `OVERWRITE_IF_EXISTS_OR_ADD`
const OVERWRITE: i32 = 2;

impl SetHeader {
    /// In the place of whatever stands there.
    pub fn of(key: Bytes, value: Bytes) -> Self {
        Self { header: Header { key, value, raw_value: Bytes::new() }, append_action: OVERWRITE }
    }
}

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    /// A map, which protobuf writes as pairs.
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

/// An entry of a [`Struct`].
#[derive(Clone, PartialEq, Message)]
pub struct Field {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// What it holds.
    #[prost(message, required, tag = "2")]
    pub value: Value,
}

impl Field {
    /// Of this name.
    pub fn of(key: Bytes, value: Value) -> Self {
        Self { key, value }
    }
}

/// `google.protobuf.Value`, of the kinds that are told: one of them.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// A text.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub string: Option<Bytes>,
    /// Further fields.
    #[prost(message, optional, tag = "5")]
    pub structure: Option<Struct>,
    /// Several.
    #[prost(message, optional, tag = "6")]
    pub list: Option<List>,
}

/// `google.protobuf.ListValue`
#[derive(Clone, PartialEq, Message)]
pub struct List {
    /// What it holds.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl Value {
    /// A text.
    pub fn text(text: Bytes) -> Self {
        Self { string: Some(text), ..Self::default() }
    }

    /// Further fields.
    pub fn structure(fields: Vec<Field>) -> Self {
        Self { structure: Some(Struct { fields }), ..Self::default() }
    }

    /// The words of a text, each for itself.
    pub fn words(text: &Bytes) -> Self {
        let values = text.split(|&byte| byte == b' ').map(|word| Self::text(text.slice_ref(word))).collect();
        Self { list: Some(List { values }), ..Self::default() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_texts_that_are_no_utf_8_can_be_read() {
        let text = || Bytes::from_static(b"\xff\xfe");
        let header = Header { key: text(), value: text(), ..Header::default() };
        let http = Http { method: text(), headers: vec![header], header_map: None };
        let attributes = Attributes {
            source: None,
            request: Some(Request { http: Some(http) }),
            context_extensions: vec![Pair { key: text(), value: text() }],
        };
        let question = CheckRequest { attributes: Some(attributes) };
        assert!(CheckRequest::decode(question.encode_to_vec().as_slice()).unwrap() == question);
    }
}
