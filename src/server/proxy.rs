//! Finds the proxy on the way to the API server as kubectl does: `proxy-url` of the kubeconfig's cluster, or else the
//! environment's. kube itself compares `NO_PROXY` with the host of the proxy, and leaves the environment out in a pod.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// Returns the `proxy-url` of the current context's cluster.
pub fn declared(kubeconfig: &Kubeconfig) -> Option<&str> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.as_deref().filter(|url| !url.is_empty())
}

/// Proxy settings of the environment: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case.
pub struct Environment {
    http: String,
    https: String,
    no: String,
}

impl Environment {
    /// Reads the settings of this process.
    pub fn read() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let found = variable(name).filter(|value| !value.is_empty());
            found.or_else(|| variable(&name.to_ascii_lowercase())).unwrap_or_default()
        };
        Self { http: either("HTTP_PROXY"), https: either("HTTPS_PROXY"), no: either("NO_PROXY") }
    }

    /// Returns the URL of the proxy for requests to `server`, which may contain a password. `None` for direct requests, as those
    /// to this machine always are.
    pub fn proxy_for(&self, server: &Uri) -> Option<String> {
        if server.host().is_none_or(is_loopback) {
            return None;
        }
        let url = if server.scheme_str() == Some("https") { &self.https } else { &self.http };
        // Only `NO_PROXY` is asked: of a proxy that it cannot use, the matcher says nothing.
        let is_excepted = Matcher::builder().all("http://any").no(self.no.as_str()).build().intercept(server).is_none();
        if url.is_empty() || is_excepted {
            return None;
        }
        Some(if url.contains("://") { url.clone() } else { format!("http://{url}") })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(variables: &[(&str, &str)], server: &str) -> Option<String> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Environment::of(value).proxy_for(&server.parse().unwrap())
    }

    #[test]
    fn the_environment_is_read_as_kubectl_reads_it() {
        let proxy = ("HTTPS_PROXY", "http://proxy.example.com:3128");
        let with = |no: &str, server: &str| found(&[proxy, ("NO_PROXY", no)], server).is_some();
        assert_eq!(found(&[proxy], "https://10.96.0.1"), Some(proxy.1.to_owned()));
        assert_eq!(found(&[("https_proxy", "proxy:3128")], "https://10.96.0.1"), Some("http://proxy:3128".to_owned()));
        assert_eq!(
            found(&[("HTTPS_PROXY", ""), ("https_proxy", "http://b")], "https://a"),
            Some("http://b".to_owned())
        );
        assert_eq!(found(&[proxy], "http://10.96.0.1"), None, "it is for https");
        assert_eq!(found(&[], "https://10.96.0.1"), None);
        assert_eq!(
            found(&[("HTTPS_PROXY", "ftp://a")], "https://b").as_deref(),
            Some("ftp://a"),
            "it is refused later"
        );
        assert!(!with("10.0.0.0/8", "https://10.96.0.1:443") && with("10.97.0.0/16", "https://10.96.0.1"));
        assert!(!with("localhost, 10.96.0.1", "https://10.96.0.1") && !with("*", "https://api.example.com"));
        assert!(
            !with(".example.com", "https://api.example.com:6443") && with(".example.com", "https://api.example.net")
        );
        assert!(with("proxy.example.com", "https://10.96.0.1"), "the host of the proxy is no matter");
        for here in ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:6443"] {
            assert_eq!(found(&[proxy], here), None, "{here}");
        }
    }

    #[test]
    fn a_kubeconfig_declares_a_proxy_for_a_cluster() {
        let of = |current: &str| {
            let kubeconfig = json!({
                "current-context": current,
                "contexts": [{"name": "a", "context": {"cluster": "near"}}, {"name": "b", "context": {"cluster": "far"}}],
                "clusters": [
                    {"name": "near", "cluster": {"server": "https://near"}},
                    {"name": "far", "cluster": {"server": "https://far", "proxy-url": "socks5://bastion:1080"}},
                ],
            });
            declared(&serde_json::from_value(kubeconfig).unwrap()).map(str::to_owned)
        };
        assert_eq!((of("a"), of("b").as_deref(), of("c")), (None, Some("socks5://bastion:1080"), None));
    }
}
