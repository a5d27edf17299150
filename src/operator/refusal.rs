//! Refusals of the API server: those that show what stands under the name of a Secret that the operator cannot read, and those
//! that a person has to be told of. Pure.

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use kube::core::Status;

use crate::api::names;

/// Longest part of the API server's words that is repeated in a status or an Event, in bytes.
const LONGEST_WORDS: usize = 512;

/// Refusal of a full write of a delivered Secret, where it shows what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Exists,
    NotThere,
    NotOurs,
    /// The policy's: its annotation claims a higher serial than the value that was to be written.
    Newer,
    Immutable,
    NotAllowed,
}

/// What the policy says of a serial that is lower than the one that is there.
const NEWER: &str = "this Secret holds a newer value already";

/// Parses a refusal by the messages of the API server and of the chart's policy.
pub fn refusal(error: &kube::Error) -> Option<Refusal> {
    let kube::Error::Api(status) = error else { return None };
    let Status { code, message, .. } = &**status;
    match code {
        404 => (kind_in_storage(status)? == "secrets").then_some(Refusal::NotThere),
        409 => (kind_in_storage(status)? == "secrets").then_some(Refusal::Exists),
        _ if message.contains(names::OPERATOR_SECRETS_POLICY) && message.contains(NEWER) => Some(Refusal::Newer),
        _ if message.contains(names::OPERATOR_SECRETS_POLICY) => {
            let is_limit = message.contains(names::DELIVERED_SECRETS_VALUE);
            Some(if is_limit { Refusal::NotAllowed } else { Refusal::NotOurs })
        }
        // The type cannot change, so a Secret of another type answers this; whether it is immutable too is of no matter.
        422 if message.contains("type: Invalid value") => Some(Refusal::NotOurs),
        422 if message.contains("when `immutable` is set") => Some(Refusal::Immutable),
        _ => None,
    }
}

/// The message of a policy in a refusal.
pub fn words(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return String::new() };
    bounded(status.message.rsplit_once("denied request: ").map_or("", |(_, words)| words))
}

/// Returns the API server's words, if it refuses an object for a reason that only a person can remove: a quota, a policy or a
/// webhook of the cluster, a missing right, or validation. Not for a namespace that is being deleted.
pub fn refused(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else { return None };
    let passes_by_itself = matches!(status.code, 401 | 408 | 410 | 429) || kind_in_storage(status).is_some();
    let is_refused = (400..500).contains(&status.code) && !passes_by_itself;
    let is_webhook_broken = status.code == 500 && status.message.contains("failed calling webhook");
    ((is_refused || is_webhook_broken) && !is_ending(error)).then(|| bounded(&status.message))
}

/// Returns true if the namespace of the object is being deleted, so that nothing more is created in it.
pub fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    status.code == 403 && causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Returns the words in one line of bounded length.
fn bounded(words: &str) -> String {
    let end = words.floor_char_boundary(LONGEST_WORDS);
    let ellipsis = if end < words.len() { "…" } else { "" };
    format!("{}{ellipsis}", words[..end].replace(char::is_control, " "))
}

/// Returns the resource of which the API server's storage answers that an object is not there, exists or has changed. A webhook may
/// choose the same codes.
fn kind_in_storage(status: &Status) -> Option<&str> {
    let is_storages =
        matches!(status.code, 404 | 409) && matches!(status.reason.as_str(), "NotFound" | "AlreadyExists" | "Conflict");
    let details = status.details.as_ref().filter(|details| is_storages && !details.kind.is_empty())?;
    Some(&details.kind)
}

/// Bytes in a row by which a text quotes a value.
const QUOTED: usize = 12;

/// Returns the error, without its words if they quote one of these values: as it is, in base64 or in hexadecimal digits. A policy
/// or a webhook of the cluster may quote what it refuses.
pub fn screened<'v>(error: kube::Error, values: impl IntoIterator<Item = &'v [u8]>) -> kube::Error {
    let text = format!("{error} {error:?}");
    if !values.into_iter().any(|value| quotes(&text, value)) {
        return error;
    }
    let hidden = "its words quote the value and are not repeated";
    let (code, reason) = match &error {
        kube::Error::Api(status) => (status.code, status.reason.as_str()),
        _ => (500, "InternalError"),
    };
    kube::Error::Api(Status::failure(hidden, reason).with_code(code).boxed())
}

fn quotes(text: &str, value: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_in = |text: &str, spelled: &[u8], length: usize| {
        spelled.windows(length).any(|part| std::str::from_utf8(part).is_ok_and(|part| text.contains(part)))
    };
    // In base64 three bytes are four characters, so a value has three spellings by where it begins.
    let encoded = |skip: usize| BASE64_NOPAD.encode(value.get(skip..).unwrap_or_default());
    is_in(text, value, QUOTED)
        || is_in(&lower, HEXLOWER.encode(value).as_bytes(), 2 * QUOTED)
        || (0..3).any(|skip| is_in(text, encoded(skip).as_bytes(), QUOTED * 4 / 3))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answered(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    /// As the API server's storage answers.
    fn stored(code: u16, reason: &str, message: &str) -> kube::Error {
        stored_of("secrets", code, reason, message)
    }

    fn stored_of(kind: &str, code: u16, reason: &str, message: &str) -> kube::Error {
        let status = serde_json::json!({"status": "Failure", "code": code, "message": message, "reason": reason,
            "details": {"kind": kind, "name": "a"}});
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn an_answer_of_storage_about_another_resource_is_neither_a_refusal_nor_about_a_secret() {
        for error in [
            stored_of("rolebindings", 409, "Conflict", "the object has been modified"),
            stored_of("rolebindings", 404, "NotFound", "rolebindings \"a\" not found"),
            stored_of("namespaces", 404, "NotFound", "namespaces \"a\" not found"),
        ] {
            assert_eq!((refusal(&error), refused(&error)), (None, None), "{error}");
        }
    }

    #[test]
    fn an_error_that_quotes_a_value_loses_its_words() {
        let secret = b"1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy";
        let value = [b"kw_7hx3k9m2pq4d_", &secret[..]].concat();
        let base64 = data_encoding::BASE64.encode(&value);
        let within = data_encoding::BASE64.encode(&[b"{\"api-key\":\"", &value[..]].concat());
        for quoting in [
            String::from_utf8(value.clone()).unwrap(),
            "…Zz4HpdQ5c5b9cPF…".to_owned(),
            base64.trim_end_matches('=').to_owned(),
            base64[20..44].to_owned(),
            within,
            HEXLOWER.encode(secret),
            data_encoding::HEXUPPER.encode(secret),
        ] {
            for code in [401, 403, 408, 500] {
                let error = screened(answered(code, &format!("denied: {quoting} is a token")), [&secret[..]]);
                assert!(!format!("{error:?}").contains(&quoting), "{quoting}");
                assert!(error.to_string().contains("not repeated"), "{error}");
            }
        }
        let harmless = screened(answered(403, "exceeded quota: kw_7hx3k9m2pq4d_"), [&secret[..]]);
        assert_eq!(refused(&harmless).as_deref(), Some("exceeded quota: kw_7hx3k9m2pq4d_"), "the public part");
    }

    #[test]
    fn a_webhook_that_chooses_the_codes_of_storage_is_not_believed() {
        for code in [404, 409] {
            let error = answered(code, "admission webhook \"a.example.com\" denied the request");
            assert_eq!(refusal(&error), None);
            assert!(refused(&error).is_some());
        }
        assert_eq!(refused(&stored(404, "NotFound", "secrets \"a\" not found")), None);
    }

    #[test]
    fn only_what_a_person_has_to_change_is_told() {
        let told = |code, message: &str| refused(&answered(code, message));
        assert_eq!(told(403, "exceeded quota: q"), Some("exceeded quota: q".to_owned()));
        assert_eq!(told(422, "metadata.labels: Invalid value"), Some("metadata.labels: Invalid value".to_owned()));
        assert!(told(500, "Internal error occurred: failed calling webhook \"a.example.com\"").is_some());
        for (code, message) in [(401, "unauthorized"), (429, "too many requests"), (500, "etcd is slow")] {
            assert_eq!(told(code, message), None, "{message}");
        }
        assert_eq!(told(403, "two\nlines").as_deref(), Some("two lines"));
        let long = told(403, &"é".repeat(1000)).unwrap();
        assert!(long.ends_with("é…") && long.len() <= LONGEST_WORDS + '…'.len_utf8(), "{}", long.len());
    }

    #[test]
    fn the_end_of_a_namespace_is_no_refusal() {
        let status = serde_json::json!({"status": "Failure", "code": 403, "message": "it is being terminated", "reason": "Forbidden",
            "details": {"causes": [{"reason": "NamespaceTerminating", "message": "shop is being terminated", "field": "metadata.namespace"}]}});
        let error = kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()));
        assert!(is_ending(&error) && refused(&error).is_none());
        assert!(!is_ending(&answered(403, "exceeded quota")));
    }

    #[test]
    fn refusals_tell_what_is_there() {
        for (code, message, expected) in [
            (422, "Secret \"a\" is invalid: type: Invalid value: \"x\": field is immutable", Some(Refusal::NotOurs)),
            (
                422,
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'keywright-operator-secrets' with binding …",
                Some(Refusal::NotOurs),
            ),
            (
                422,
                "… ValidatingAdmissionPolicy 'keywright-operator-secrets' with binding … denied request: deliveredSecrets.labels of …",
                Some(Refusal::NotAllowed),
            ),
            (
                403,
                "ValidatingAdmissionPolicy 'keywright-operator-secrets' … denied request: this Secret holds a newer value already",
                Some(Refusal::Newer),
            ),
            (422, "data: Forbidden: field is immutable when `immutable` is set", Some(Refusal::Immutable)),
            (403, "secrets is forbidden: exceeded quota", None),
            (500, "etcd is slow", None),
        ] {
            assert_eq!(refusal(&answered(code, message)), expected, "{message}");
        }
        assert_eq!(refusal(&stored(404, "NotFound", "secrets \"a\" not found")), Some(Refusal::NotThere));
        assert_eq!(refusal(&stored(409, "AlreadyExists", "secrets \"a\" already exists")), Some(Refusal::Exists));
        assert_eq!(refusal(&stored(409, "Conflict", "the object has been modified")), Some(Refusal::Exists));
    }
}
