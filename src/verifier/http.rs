//! `ANY /auth` for gateways and `POST /v1/verify` for programs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{BoxError, Router, extract};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::answer::{Answer, Problem};
use super::call::Call;
use super::code::Code;
use super::credential::{Credential, MAX_CREDENTIAL_LEN, Places};
use super::decide::Verdict;
use super::headers::NO_STORE;
use super::identity::metadata;
use super::metrics::Transport;
use super::question::{Question, QuestionError};
use super::service::{self, Proof, Unproven};
use crate::access::AccessLevel;
use crate::key::{Parsed, parse};
use crate::server::body::{self, BodyError};
use crate::server::budget::Reservation;

/// What the HTTP handlers share.
pub struct Http {
    /// Decides.
    pub service: Arc<service::Service>,
    /// Where keys are looked for.
    pub places: Places,
    /// The header in which the gateway tells the original request's method; `None` makes `resource=` a bad route.
    pub method_header: Option<HeaderName>,
    /// The header in which the gateway tells the client's address; `None` says nothing of it.
    pub client_header: Option<HeaderName>,
}

/// The public routes. `/readyz` is for gateways that look which of several verifiers to ask, as gRPC's health service is: the
/// admin port is none of their business.
pub fn routes(http: Http, is_ready: impl Fn() -> bool + Clone + Send + Sync + 'static) -> Routes {
    let http = Arc::new(http);
    let others = Router::new()
        .route("/readyz", get(async move || if is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/v1/verify", post(verify))
        .fallback(async || problem(404, "Not found", "Ask /auth or /v1/verify."))
        .with_state(http.clone());
    Routes { http, others: TowerToHyperService::new(others) }
}

/// A panic of ours is a doubt like any other; without this it would only end the connection.
async fn survived(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| doubt())
}

fn doubt() -> Response {
    respond(Answer::refuse(Code::NotReady))
}

/// Where the question stands.
#[derive(Clone, Copy)]
enum Form {
    /// The query is the gateway's.
    Query,
    /// Envoy's HTTP `ext_authz` sends its prefix and then the client's path and query: the question ends at `/-/`, and the
    /// query counts for nothing.
    Path,
}

impl Form {
    /// Of a path; `None` is that of another route.
    fn of(path: &str) -> Option<Self> {
        match path.strip_prefix("/auth")? {
            "" => Some(Self::Query),
            rest if rest.len() > 1 && rest.starts_with('/') => Some(Self::Path),
            _ => None,
        }
    }

    fn question<'m>(self, uri: &Uri, method: impl Fn() -> Option<&'m [u8]>) -> Result<Question, QuestionError> {
        match self {
            Self::Query => Question::from_query(uri.query().unwrap_or_default(), method),
            Self::Path => Question::from_path(uri.path().strip_prefix("/auth/").unwrap_or_default(), method),
        }
    }
}

/// All routes. `/auth` is answered before axum looks for one: it would put the request's body into a box, copy the request
/// from future to future and box those, which together takes almost half as long as the verdict.
pub struct Routes {
    http: Arc<Http>,
    others: TowerToHyperService<Router>,
}

impl<B> Service<Request<B>> for Routes
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let Some(form) = Form::of(request.uri().path()) else {
            return Either::Right(self.others.call(request).boxed());
        };
        match catch_unwind(AssertUnwindSafe(|| self.http.answer(request.uri(), request.headers(), form, None))) {
            Ok(Ok(response)) => Either::Left(ready(Ok(response))),
            Ok(Err(unproven)) => {
                let Ok(memory) = body::hold(&request) else { return Either::Left(ready(Ok(doubt()))) };
                let later = answer_later(self.http.clone(), request.into_parts().0, form, unproven, memory);
                Either::Right(later.map(Ok).boxed())
            }
            Err(_) => Either::Left(ready(Ok(doubt()))),
        }
    }
}

/// Answers when there is a proof. Until then the head and its memory are kept.
async fn answer_later(
    http: Arc<Http>,
    Parts { uri, headers, .. }: Parts,
    form: Form,
    unproven: Unproven,
    _memory: Option<Reservation>,
) -> Response {
    let ask = |proof: Option<&Proof>| http.answer(&uri, &headers, form, proof);
    let answer = http.service.ask_again(unproven, ask);
    survived(answer.map(|answer| answer.unwrap_or_else(doubt))).await
}

impl Http {
    /// The original request's method. A header that two parties could both have set says nothing.
    fn method<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        let mut values = headers.get_all(self.method_header.as_ref()?).iter();
        let first = values.next()?;
        values.next().is_none().then(|| first.as_bytes())
    }

    fn answer(&self, uri: &Uri, headers: &HeaderMap, form: Form, proof: Option<&Proof>) -> Result<Response, Unproven> {
        let credential = self.places.find(headers);
        self.service.bring(&credential);
        let question = match form.question(uri, || self.method(headers)) {
            Ok(question) => question,
            Err(error) => {
                let render = |verdict: &Verdict<'_>| Answer::bad_route(verdict.code, &error.to_string());
                return Ok(respond(self.service.refuse(Code::BadRoute, Transport::auth, render)));
            }
        };
        let header = |name: &HeaderName| Some(headers.get(name)?.as_bytes());
        let client =
            || std::str::from_utf8(headers.get(self.client_header.as_ref()?)?.as_bytes()).ok()?.trim().parse().ok();
        let call = Call { transport: Transport::auth, header: &header, client: &client };
        let render = |verdict: &Verdict<'_>| respond(Answer::to(verdict, &question));
        self.service.check(&call, &credential, &question, proof, render)
    }
}

fn respond(answer: Answer) -> Response {
    let body = if answer.body.is_empty() { Body::empty() } else { Body::from(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = status(answer.code.status());
    *response.headers_mut() = answer.headers;
    response
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// What is wrong with a question to `/v1/verify` itself, or with the path.
fn problem(code: u16, title: &str, detail: &str) -> Response {
    let problem = Problem { type_: "about:blank", title, status: code, detail, code: None, scope: None };
    let mut response = Response::new(Body::from(problem.to_body()));
    *response.status_mut() = status(code);
    response.headers_mut().extend([(CONTENT_TYPE, Problem::MEDIA_TYPE), (CACHE_CONTROL, NO_STORE)]);
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(serde_json::to_vec(body).map_or_else(|_| Body::empty(), Body::from));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// The body of `/v1/verify`. No `Debug`: it holds a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    key: Zeroizing<String>,
    scope: Option<String>,
    account: Option<String>,
}

impl VerifyRequest {
    /// Parses an object. serde would take an array of the same values too.
    fn parse(body: &[u8]) -> Option<Self> {
        // serde's error may quote the body, and with it a key.
        body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok())?
    }
}

/// The answer of `/v1/verify`; who it is stands there only for the holder of the right secret.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifyAnswer {
    valid: bool,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_level: Option<AccessLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

async fn verify(State(http): State<Arc<Http>>, request: extract::Request) -> Response {
    survived(verified(&http, request)).await
}

async fn verified(http: &Http, request: extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match body::read(&parts, body, MAX_CREDENTIAL_LEN).await {
        Ok(body) => body,
        Err(BodyError::TooLarge | BodyError::Broken) => {
            let detail = format!("The body must be whole, and at most {MAX_CREDENTIAL_LEN} bytes.");
            return problem(413, "Body too large", &detail);
        }
        Err(BodyError::TooSlow) => return problem(408, "Request timeout", "The body did not come in time."),
        Err(BodyError::Busy) => return doubt(),
    };
    let Some(request) = VerifyRequest::parse(&body.bytes) else {
        let detail = r#"Send JSON: {"key": "<key>"}, optionally with "scope": "<resource>:<read|write>" and "account": "<namespace>/<name>"."#;
        return problem(400, "Bad request", detail);
    };
    let question = match Question::from_parts(request.scope.as_deref(), request.account.as_deref()) {
        Ok(question) => question,
        Err(error) => return problem(400, "Bad request", &error.to_string()),
    };
    let refuse = |code| http.service.refuse(code, Transport::verify, verify_answer);
    // Blanks and a line break, as `cat` of a file brings them, are trimmed as they are in a header.
    let key = request.key.trim_ascii();
    match parse(key.as_bytes()) {
        Parsed::Native(presented) => {
            let (credential, call) = (Ok(Credential::Key(presented)), Call::bare(Transport::verify));
            let ask = |proof: Option<&Proof>| http.service.check(&call, &credential, &question, proof, verify_answer);
            http.service.settle(ask).await.unwrap_or_else(doubt)
        }
        Parsed::Malformed | Parsed::Foreign if key.is_empty() => refuse(Code::Missing),
        Parsed::Malformed | Parsed::Foreign => refuse(Code::Malformed),
    }
}

fn verify_answer(verdict: &Verdict<'_>) -> Response {
    if verdict.code == Code::NotReady {
        return respond(Answer::refuse(Code::NotReady));
    }
    let mut answer = VerifyAnswer {
        valid: verdict.code == Code::Ok && verdict.holder.is_some(),
        code: verdict.code.as_str(),
        ..VerifyAnswer::default()
    };
    if let Some(holder) = &verdict.holder {
        let subject = holder.live.subject();
        let full_name = |(namespace, name): (&str, &str)| format!("{namespace}/{name}");
        answer.key_id = Some(holder.id.to_string());
        answer.account = Some(full_name(subject.account_name()));
        answer.name = Some(subject.full_name().1.to_owned());
        answer.display_name = holder.live.display_name().map(str::to_owned);
        answer.access_level = holder.grant().map(|grant| grant.level());
        let scopes = holder.grant().map(|grant| grant.scopes().iter().map(ToString::to_string).collect());
        answer.scopes = Some(scopes.unwrap_or_default());
        answer.expires_at = holder.ends_at().map(|at| at.to_string());
        answer.metadata = metadata(holder);
    }
    json(StatusCode::OK, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_an_object_and_no_array() {
        let is_parsed = |body: &str| VerifyRequest::parse(body.as_bytes()).is_some();
        assert!(is_parsed(r#" {"key": "k"}"#) && is_parsed("\n{\"key\":\"k\",\"scope\":null}"));
        for body in
            [r#"["k", null, null]"#, r#" ["k"]"#, "\"k\"", "", "{}", r#"{"key":"k"}{"#, "\u{feff}{\"key\":\"k\"}"]
        {
            assert!(!is_parsed(body), "{body}");
        }
    }

    #[test]
    fn only_auth_and_what_is_below_it_is_a_question() {
        for path in ["/auth/", "/authority", "/auth.", "/AUTH", "//auth", "/", "/v1/auth", "/v1/verify"] {
            assert!(Form::of(path).is_none(), "{path}");
        }
        assert!(matches!(Form::of("/auth"), Some(Form::Query)));
        for path in ["/auth/-/", "/auth/scope=any/-/", "/auth//"] {
            assert!(matches!(Form::of(path), Some(Form::Path)), "{path}");
        }
    }
}
