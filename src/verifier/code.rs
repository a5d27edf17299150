//! The answers, as words that programs can rely on, and what each tells a person to do.

use std::fmt;

/// Why a request passes or does not. The words and their HTTP status do not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// It passes.
    Ok,
    /// No key of ours was presented.
    Missing,
    /// One was, but it cannot be a key: mistyped, cut off, too long, or more than one.
    Malformed,
    /// No such key, or a wrong secret.
    Unknown,
    /// The key is disabled.
    Disabled,
    /// The platform has suspended the key.
    Suspended,
    /// The key has expired.
    Expired,
    /// A newer value has taken the place of this one.
    Retired,
    /// The value was issued before the owner's `revokeBefore`.
    Revoked,
    /// The key's account is disabled.
    AccountDisabled,
    /// The platform has suspended the key's account.
    AccountSuspended,
    /// The key's account is gone.
    AccountNotFound,
    /// The key, under its account's ceiling, does not permit what the route asks for.
    InsufficientScope,
    /// The key belongs to an account that the route does not accept.
    WrongAccount,
    /// The route asks nothing, or nonsense.
    BadRoute,
    /// The gateway sent a question that is larger than the verifier reads.
    TooLarge,
    /// The verifier cannot tell. The default, for every doubt is a deny.
    #[default]
    NotReady,
}

impl Code {
    /// Every code, for metrics that begin at zero.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Missing,
        Code::Malformed,
        Code::Unknown,
        Code::Disabled,
        Code::Suspended,
        Code::Expired,
        Code::Retired,
        Code::Revoked,
        Code::AccountDisabled,
        Code::AccountSuspended,
        Code::AccountNotFound,
        Code::InsufficientScope,
        Code::WrongAccount,
        Code::BadRoute,
        Code::TooLarge,
        Code::NotReady,
    ];

    /// The word, as in `X-Keywright-Code` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Ok => "ok",
            Code::Missing => "missing",
            Code::Malformed => "malformed",
            Code::Unknown => "unknown",
            Code::Disabled => "disabled",
            Code::Suspended => "suspended",
            Code::Expired => "expired",
            Code::Retired => "retired",
            Code::Revoked => "revoked",
            Code::AccountDisabled => "account_disabled",
            Code::AccountSuspended => "account_suspended",
            Code::AccountNotFound => "account_not_found",
            Code::InsufficientScope => "insufficient_scope",
            Code::WrongAccount => "wrong_account",
            Code::BadRoute => "bad_route",
            Code::TooLarge => "too_large",
            Code::NotReady => "not_ready",
        }
    }

    /// The HTTP status: 401 "who are you?", 403 "not this", 413 "send less", 503 "ask again".
    pub fn status(self) -> u16 {
        match self {
            Code::Ok => 200,
            Code::InsufficientScope | Code::WrongAccount | Code::BadRoute => 403,
            Code::TooLarge => 413,
            Code::NotReady => 503,
            _ => 401,
        }
    }

    /// One line for people.
    pub fn title(self) -> &'static str {
        match self {
            Code::Ok => "The key is valid",
            Code::Missing => "No API key",
            Code::Malformed => "Not an API key",
            Code::Unknown => "Unknown API key",
            Code::Disabled => "The API key is disabled",
            Code::Suspended => "The API key is suspended",
            Code::Expired => "The API key has expired",
            Code::Retired => "The API key has been rotated",
            Code::Revoked => "The API key has been revoked",
            Code::AccountDisabled => "The account is disabled",
            Code::AccountSuspended => "The account is suspended",
            Code::AccountNotFound => "The account does not exist",
            Code::InsufficientScope => "The API key does not permit this",
            Code::WrongAccount => "The API key belongs to another account",
            Code::BadRoute => "The route asks no valid question",
            Code::TooLarge => "The request is too large to authorize",
            Code::NotReady => "Not ready",
        }
    }

    /// What to do about it.
    pub fn detail(self) -> &'static str {
        match self {
            Code::Ok => "Go on.",
            Code::Missing => {
                "Send the key as `Authorization: Bearer <key>` or `X-API-Key: <key>`; a Bearer token of another shape is not read as a key."
            }
            Code::Malformed => {
                "Send exactly one key, whole and unchanged; it looks like kw_<12 characters>_<49 characters>."
            }
            Code::Unknown => {
                "Check that the key is the one in the Secret now; a deleted or re-created key has another value."
            }
            Code::Disabled => "Ask an owner or admin of the account to set spec.disabled of the ApiKey to false.",
            Code::Suspended => {
                "The key is on hold; its owner reads who suspended it, and why, in the ApiKey's condition Suspended."
            }
            Code::Retired => "A newer value has taken the place of this one; read it from the Secret.",
            Code::Revoked => {
                "Every value issued before a certain time was revoked; read the newer one from the Secret."
            }
            Code::AccountSuspended => {
                "The account is on hold; its owner reads who suspended it, and why, in the Account's condition Suspended."
            }
            Code::Expired => {
                "Ask an owner or admin of the account to move spec.expiresAt of the ApiKey forward, or use a newer key."
            }
            Code::AccountDisabled => {
                "Ask the account's owner or the platform team to set spec.disabled of the Account to false."
            }
            Code::AccountNotFound => {
                "The Account that the ApiKey names is not there; apply it again and the key works again."
            }
            Code::InsufficientScope => {
                "Use a key with this scope, or ask for it to be added to the ApiKey and its Account."
            }
            Code::WrongAccount => "Use a key of an account that this route accepts.",
            Code::BadRoute => {
                "The gateway must ask scope=<resource>:<read|write>, resource=<name>, scope=any or scope=public, once."
            }
            Code::TooLarge => {
                "Send smaller headers, and remove with_request_body from the gateway's ext_authz filter, or raise the verifier's --max-message."
            }
            Code::NotReady => "The verifier is starting or has lost its view; try again.",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
