//! What is known of a call besides its key and its question.

use std::net::IpAddr;

use http::HeaderName;

use super::metrics::Transport;

/// By W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A call, as its transport brings it. Headers are looked at only where somebody wants them.
pub struct Call<'r> {
    /// How it came in.
    pub transport: Transport,
    /// The value of a header of the client's request.
    pub header: &'r (dyn Fn(&HeaderName) -> Option<&'r [u8]> + Sync),
    /// The address that the client's request came from, as the gateway says it.
    pub client: &'r (dyn Fn() -> Option<IpAddr> + Sync),
}

impl<'r> Call<'r> {
    /// A call whose headers say nothing of its client.
    pub fn bare(transport: Transport) -> Self {
        Self { transport, header: &|_| None, client: &|| None }
    }

    /// The trace that it belongs to, by W3C Trace Context: 32 hexadecimal digits, the second field of `traceparent`.
    pub fn trace_id(&self) -> Option<&'r str> {
        let text = std::str::from_utf8((self.header)(&TRACEPARENT)?).ok()?;
        let id = text.split('-').nth(1)?;
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_trace_id_is_taken_from_outside() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for (header, expected) in [
            (format!("00-{id}-b7ad6b7169203331-01"), Some(id)),
            (format!("00-{id}"), Some(id)),
            (format!("00-{}-b7ad6b7169203331-01", &id[1..]), None),
            (format!("00-{}\n-b7ad6b7169203331-01", &id[1..]), None),
            (String::new(), None),
        ] {
            let call = Call { transport: Transport::auth, header: &|_| Some(header.as_bytes()), client: &|| None };
            assert_eq!(call.trace_id(), expected, "{header}");
        }
    }
}
