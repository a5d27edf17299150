//! Finds the one key in a request's headers.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::code::Code;
use crate::key::{Parsed, Presented, SiteId, parse};

/// What a request shows.
#[derive(Clone, Copy)]
pub enum Credential<'h> {
    /// A key.
    Key(Presented<'h>),
    /// An account's public Site ID, which only the key's own header and scheme may hold.
    Site(SiteId),
}

/// The longest credential that is looked at, in bytes. A key has at most 79.
pub const MAX_CREDENTIAL_LEN: usize = 8192;

/// Where keys are looked for, besides `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct Places {
    /// A header that holds the bare key; by default `X-API-Key`.
    pub header: HeaderName,
    /// An `Authorization` scheme; by default `ApiKey`.
    pub scheme: String,
}

impl Default for Places {
    fn default() -> Self {
        Self { header: HeaderName::from_static("x-api-key"), scheme: "ApiKey".to_owned() }
    }
}

impl Places {
    /// The one credential of the request.
    ///
    /// A Bearer token that is not shaped like ours (a JWT, say) is not ours and is passed over; in the other places
    /// whatever stands there is meant for us. More than one credential of ours, even the same twice, is `malformed`:
    /// which of them counts must not depend on who reads the request.
    pub fn find<'h>(&self, headers: &'h HeaderMap) -> Result<Credential<'h>, Code> {
        let all = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        self.find_in(all(&header::AUTHORIZATION), all(&self.header))
    }

    /// The same, given all values of `Authorization` and of the key's own header.
    pub fn find_in<'h>(
        &self,
        authorization: impl Iterator<Item = &'h [u8]>,
        own: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Credential<'h>, Code> {
        let mut found = Err(Code::Missing);
        let mut take = |text: &'h [u8], may_be_foreign: bool| {
            let parsed = if text.len() > MAX_CREDENTIAL_LEN { Parsed::Foreign } else { parse(text) };
            let this = match (parsed, SiteId::parse(text)) {
                (Parsed::Native(presented), _) => Ok(Credential::Key(presented)),
                (Parsed::Foreign, _) if may_be_foreign => return,
                (Parsed::Foreign | Parsed::Malformed, Some(id)) => Ok(Credential::Site(id)),
                (Parsed::Foreign | Parsed::Malformed, None) => Err(Code::Malformed),
            };
            found = if matches!(found, Err(Code::Missing)) { this } else { Err(Code::Malformed) };
        };
        let is_bearer = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"bearer");
        let is_own = |scheme: &[u8]| scheme.eq_ignore_ascii_case(self.scheme.as_bytes());
        for bytes in authorization {
            let (scheme, token) = split_scheme(bytes);
            if is_bearer(scheme) {
                take(token, true);
            } else if is_own(scheme) {
                take(token, false);
            }
            // A gateway may have joined several lines to one; a key behind something foreign is a key all the same.
            for piece in behind_commas(bytes) {
                let (scheme, token) = split_scheme(piece.trim_ascii());
                let is_key = matches!(parse(token), Parsed::Native(_));
                if (is_bearer(scheme) || is_own(scheme)) && is_key {
                    take(b",", false);
                }
            }
        }
        // An empty header is what a client without a key sends, and counts as absent.
        for bytes in own.map(<[u8]>::trim_ascii).filter(|bytes| !bytes.is_empty()) {
            take(bytes, false);
        }
        found
    }
}

fn behind_commas(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Most lines have none, which is seen sooner of many bytes at once.
    let pieces = line.contains(&b',').then(|| line.split(|&byte| byte == b',').skip(1));
    pieces.into_iter().flatten()
}

fn split_scheme(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "kw_7hx3k9m2pq4d_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy";
    const JWT: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo";

    fn find(headers: &[(&'static str, &[u8])]) -> Result<String, Code> {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect();
        Places::default().find(&map).map(|credential| match credential {
            Credential::Key(presented) => presented.id().to_string(),
            Credential::Site(id) => id.to_string(),
        })
    }

    #[test]
    fn a_key_is_found_in_each_of_its_places() {
        let id = Ok("7hx3k9m2pq4d".to_owned());
        for (name, value) in [
            ("authorization", format!("Bearer {KEY}")),
            ("authorization", format!("bearer {KEY}")),
            ("authorization", format!("ApiKey {KEY}")),
            ("authorization", format!("APIKEY  {KEY} ")),
            ("x-api-key", KEY.to_owned()),
        ] {
            assert_eq!(find(&[(name, value.as_bytes())]), id, "{name}: {value}");
        }
    }

    #[test]
    fn a_jwt_beside_our_key_is_not_ours() {
        let headers: &[(&str, &[u8])] = &[("authorization", JWT.as_bytes()), ("x-api-key", KEY.as_bytes())];
        assert!(find(headers).is_ok());
        assert_eq!(find(&headers[..1]), Err(Code::Missing));
        assert_eq!(find(&[("authorization", b"Basic dXNlcjpwYXNz")]), Err(Code::Missing));
        assert_eq!(find(&[]), Err(Code::Missing));
    }

    #[test]
    fn more_than_one_credential_of_ours_is_refused_even_the_same_twice() {
        let bearer = format!("Bearer {KEY}");
        for headers in [
            [("x-api-key", KEY.as_bytes()), ("x-api-key", KEY.as_bytes())],
            [("authorization", bearer.as_bytes()), ("x-api-key", KEY.as_bytes())],
            [("authorization", bearer.as_bytes()), ("authorization", bearer.as_bytes())],
            [("x-api-key", b"nonsense"), ("x-api-key", KEY.as_bytes())],
            [("authorization", format!("Basic eDp5,{bearer}").as_bytes()), ("x-api-key", KEY.as_bytes())],
            [("authorization", format!("{JWT}, apikey {KEY}").as_bytes()), ("x-api-key", KEY.as_bytes())],
        ] {
            assert_eq!(find(&headers), Err(Code::Malformed));
        }
    }

    #[test]
    fn a_site_id_is_taken_where_a_bare_key_would_be_and_a_bearer_of_that_shape_is_not_ours() {
        let id = Ok("5H93YM".to_owned());
        assert_eq!(find(&[("x-api-key", b"5H93YM")]), id);
        assert_eq!(find(&[("authorization", b"ApiKey 5H93YM")]), id);
        assert_eq!(find(&[("authorization", b"Bearer 5H93YM")]), Err(Code::Missing));
        assert_eq!(find(&[("x-api-key", b"5H93YM"), ("authorization", b"ApiKey 5H93YM")]), Err(Code::Malformed));
    }

    #[test]
    fn an_empty_header_counts_as_absent() {
        let bearer = format!("Bearer {KEY}");
        let bearer = ("authorization", bearer.as_bytes());
        for empty in [&b""[..], b" ", b"\t "] {
            assert_eq!(find(&[("x-api-key", empty)]), Err(Code::Missing));
            assert_eq!(find(&[("x-api-key", empty), bearer]), Ok("7hx3k9m2pq4d".to_owned()));
            let twice = [("x-api-key", empty), ("x-api-key", KEY.as_bytes()), bearer];
            assert_eq!(find(&twice), Err(Code::Malformed), "of two keys it is still not said which counts");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_malformed() {
        let long = vec![b'a'; MAX_CREDENTIAL_LEN + 1];
        let cut = &KEY.as_bytes()[..40];
        for value in [&b"nonsense"[..], b"\xff\xfe", &long, cut] {
            assert_eq!(find(&[("x-api-key", value)]), Err(Code::Malformed), "{value:?}");
        }
        assert_eq!(find(&[("authorization", b"ApiKey")]), Err(Code::Malformed));
        assert_eq!(find(&[("authorization", &[b"Bearer ", cut].concat())]), Err(Code::Malformed));
        assert_eq!(find(&[("authorization", format!("Bearer {KEY}, Bearer {KEY}").as_bytes())]), Err(Code::Malformed));
    }
}
