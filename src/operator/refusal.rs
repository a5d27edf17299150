//! Refusals of the API server, which show what stands under the name of a Secret that the operator cannot read. Pure.

use kube::core::Status;

use crate::api::names;

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
        404 if is_namespace(status) => None,
        404 => Some(Refusal::NotThere),
        409 => Some(Refusal::Exists),
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
    status.message.rsplit_once("denied request: ").map_or("", |(_, words)| words).to_owned()
}

/// The namespace itself is gone.
fn is_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answered(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn refusals_tell_what_is_there() {
        for (code, message, expected) in [
            (404, "secrets \"a\" not found", Some(Refusal::NotThere)),
            (409, "secrets \"a\" already exists", Some(Refusal::Exists)),
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
    }
}
