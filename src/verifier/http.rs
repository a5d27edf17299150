//! `ANY /auth` for gateways and `POST /v1/verify` for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{any, post};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::code::Code;
use super::credential::{MAX_CREDENTIAL_LEN, Places};
use super::decide::{Holder, Verdict};
use super::metrics::Transport;
use super::question::{Need, Question};
use super::service::Service;
use crate::access::{AccessLevel, Grant};
use crate::key::{Parsed, parse};

/// What the HTTP handlers share.
pub struct Http {
    /// Decides.
    pub service: Arc<Service>,
    /// Where keys are looked for.
    pub places: Places,
    /// The header in which the gateway tells the original request's method; `None` makes `resource=` a bad route.
    pub method_header: Option<HeaderName>,
}

/// The public routes.
pub fn router(http: Http) -> Router {
    Router::new()
        .route("/auth", any(auth))
        .route("/v1/verify", post(verify).layer(DefaultBodyLimit::max(MAX_CREDENTIAL_LEN)))
        .fallback(async || problem(404, "about:blank", "Not found", "Ask /auth or /v1/verify.", None))
        .with_state(Arc::new(http))
}

async fn auth(State(http): State<Arc<Http>>, request: Request) -> Response {
    let headers = request.headers();
    let method = http.method_header.as_ref().and_then(|name| only_value(headers, name));
    let question = match Question::from_query(request.uri().query().unwrap_or_default(), method) {
        Ok(question) => question,
        Err(error) => {
            let render = |verdict: &Verdict<'_>| deny(verdict.code, None, Some(&error.to_string()));
            return http.service.refuse(Code::BadRoute, Transport::auth, render);
        }
    };
    match http.places.find(headers) {
        Ok(presented) => {
            http.service.check(presented, &question, Transport::auth, |verdict| answer(verdict, &question)).await
        }
        Err(code) => http.service.refuse(code, Transport::auth, |verdict| answer(verdict, &question)),
    }
}

/// A header that two parties could both have set says nothing.
fn only_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

fn answer(verdict: &Verdict<'_>, question: &Question) -> Response {
    match (verdict.code, &verdict.holder) {
        (Code::Ok, Some(holder)) => allow(holder),
        // An `ok` that nobody holds cannot be; if it were, it would be a doubt.
        (Code::Ok, None) => deny(Code::NotReady, None, None),
        (code, _) => deny(code, Some(question), None),
    }
}

fn allow(holder: &Holder<'_>) -> Response {
    let key = &holder.live.key;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let identity = [
        ("x-keywright-code", Code::Ok.as_str().to_owned()),
        ("x-keywright-account", format!("{}/{}", key.namespace, key.account)),
        ("x-keywright-key", format!("{}/{}", key.namespace, key.name)),
        ("x-keywright-key-id", holder.live.id.to_string()),
        ("x-keywright-scopes", scopes(holder).join(" ")),
    ];
    for (name, value) in identity {
        match HeaderValue::try_from(value) {
            Ok(value) => headers.insert(HeaderName::from_static(name), value),
            // An identity that cannot be told is a doubt.
            Err(_) => return deny(Code::NotReady, None, None),
        };
    }
    response
}

/// What the key may do under the ceiling, in force.
fn scopes(holder: &Holder<'_>) -> Vec<String> {
    holder.grant().iter().flat_map(Grant::scopes).map(ToString::to_string).collect()
}

fn deny(code: Code, question: Option<&Question>, detail: Option<&str>) -> Response {
    let type_ = format!("https://keywright.dev/problems/{code}");
    // While not ready, "not ready" is the whole truth, whatever else was wrong.
    let detail = detail.filter(|_| code != Code::NotReady).unwrap_or(code.detail());
    let mut response = problem(code.status(), &type_, code.title(), detail, Some(code));
    let challenge = match code {
        Code::Missing => Some("Bearer realm=\"keywright\"".to_owned()),
        Code::InsufficientScope => {
            let scope = match question.map(|q| &q.need) {
                Some(Need::Scope(scope)) => format!(", scope=\"{scope}\""),
                _ => String::new(),
            };
            Some(format!("Bearer realm=\"keywright\", error=\"insufficient_scope\"{scope}"))
        }
        code if code.status() == 401 => Some("Bearer realm=\"keywright\", error=\"invalid_token\"".to_owned()),
        _ => None,
    };
    if let Some(value) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    type_: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

fn problem(status: u16, type_: &str, title: &str, detail: &str, code: Option<Code>) -> Response {
    let body = Problem { type_, title, status, detail, code: code.map(Code::as_str) };
    let mut response = json(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), &body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(code) = code {
        // nginx drops bodies.
        headers.insert("x-keywright-code", HeaderValue::from_static(code.as_str()));
    }
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(serde_json::to_vec(body).map_or_else(|_| Body::empty(), Body::from));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
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

async fn verify(
    State(http): State<Arc<Http>>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        let detail = format!("The body must be at most {MAX_CREDENTIAL_LEN} bytes.");
        return problem(413, "about:blank", "Body too large", &detail, None);
    };
    // What serde says of a bad body may quote it, and it may hold a key.
    let Ok(request) = serde_json::from_slice::<VerifyRequest>(&body) else {
        let detail = r#"Send JSON: {"key": "<key>"}, optionally with "scope": "<resource>:<read|write>" and "account": "<namespace>/<name>"."#;
        return problem(400, "about:blank", "Bad request", detail, None);
    };
    let question = match Question::from_parts(request.scope.as_deref(), request.account.as_deref()) {
        Ok(question) => question,
        Err(error) => return problem(400, "about:blank", "Bad request", &error.to_string(), None),
    };
    let refuse = |code| http.service.refuse(code, Transport::verify, verify_answer);
    match parse(request.key.as_bytes()) {
        Parsed::Native(presented) => http.service.check(presented, &question, Transport::verify, verify_answer).await,
        Parsed::Malformed | Parsed::Foreign if request.key.is_empty() => refuse(Code::Missing),
        Parsed::Malformed | Parsed::Foreign => refuse(Code::Malformed),
    }
}

fn verify_answer(verdict: &Verdict<'_>) -> Response {
    if verdict.code == Code::NotReady {
        return deny(Code::NotReady, None, None);
    }
    let mut answer = VerifyAnswer {
        valid: verdict.code == Code::Ok && verdict.holder.is_some(),
        code: verdict.code.as_str(),
        ..VerifyAnswer::default()
    };
    if let Some(holder) = &verdict.holder {
        let key = &holder.live.key;
        answer.key_id = Some(holder.live.id.to_string());
        answer.account = Some(format!("{}/{}", key.namespace, key.account));
        answer.name = Some(key.name.to_string());
        answer.display_name = holder.live.display_name().map(str::to_owned);
        answer.access_level = holder.grant().map(|grant| grant.level());
        answer.scopes = Some(scopes(holder));
        answer.expires_at = holder.ends_at().map(|at| at.to_string());
        // The key's own win over its account's.
        let of_account = holder.account.ceiling.iter().flat_map(|ceiling| &ceiling.metadata);
        answer.metadata = of_account.chain(&key.metadata).map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    json(StatusCode::OK, &answer)
}
