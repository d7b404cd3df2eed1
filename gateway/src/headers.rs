//! Which headers go on, in either direction, and which are ours.

use std::net::IpAddr;

use axum::http::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use edge::trace::TRACEPARENT;
use edge::{Network, Peer, Trace};

use crate::Config;

/// Which request an answer belongs to, as its client called it, or else its trace.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is meant for the next hop alone (RFC 9110 §7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a client could only pretend: who it is, and how it came here.
const PRETENDED: [HeaderName; 7] = [
    FORWARDED,
    FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// What a browser is told with every answer that doesn't say it itself.
const SECURITY: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
];

/// Where a request comes from: the other end, or what the proxies in front that are `trusted` say.
/// Each proxy adds the address that it saw at the end, so the last one that is no proxy counts, and
/// what a client wrote before it does not.
pub(crate) fn client(parts: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?.0.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|proxy| proxy.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let mut client = peer;
    let values = parts.headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.rsplit(','));
    for hop in hops {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    Some(client)
}

/// Makes the head of a request ready for a replica: nothing of this hop, nothing pretended, the trace
/// and the client's address as we know them.
pub(crate) fn inward(parts: &mut Parts, client: Option<IpAddr>, trace: &Trace) {
    remove_hops(&mut parts.headers);
    for name in PRETENDED.iter().chain([&HOST, &EXPECT]) {
        parts.headers.remove(name);
    }
    let mut put = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            parts.headers.insert(name, value);
        }
    };
    put(HeaderName::from_static(TRACEPARENT), trace.traceparent());
    if let Some(client) = client {
        put(FORWARDED_FOR, client.to_string());
    }
}

/// Makes the head of a replica's answer ready for the client.
pub(crate) fn outward(headers: &mut HeaderMap) {
    remove_hops(headers);
}

/// Adds what every answer has.
pub(crate) fn dress(headers: &mut HeaderMap, request_id: HeaderValue, hsts: Option<&HeaderValue>) {
    headers.insert(REQUEST_ID, request_id);
    if let Some(hsts) = hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    for (name, value) in SECURITY {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// That a browser is to come over TLS from now on (RFC 6797); `None` = this entry can't say so.
pub(crate) fn hsts(config: &Config) -> Option<HeaderValue> {
    let says = config.tls.tls_cert.is_some() && config.hsts_s > 0;
    let age = || HeaderValue::try_from(format!("max-age={}", config.hsts_s)).ok();
    says.then(age).flatten()
}

/// The request's id: the client's if it is one, else the trace's.
pub(crate) fn request_id(headers: &HeaderMap, trace: &Trace) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(plain)
    };
    let own = || HeaderValue::try_from(trace.id()).unwrap_or(HeaderValue::from_static("none"));
    headers
        .get(REQUEST_ID)
        .filter(fits)
        .cloned()
        .unwrap_or_else(own)
}

fn remove_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    #[test]
    fn only_an_entry_with_a_certificate_asks_for_tls() {
        #[derive(Debug, clap::Parser)]
        struct Role {
            #[command(flatten)]
            config: Config,
        }
        let says = |args: &[&str]| {
            let role = <Role as clap::Parser>::parse_from([&["gateway"], args].concat());
            hsts(&role.config).map(|value| value.to_str().unwrap().to_owned())
        };
        let shown = ["--tls-cert", "a", "--tls-key", "b"];
        assert_eq!(says(&[]), None);
        assert_eq!(says(&shown).as_deref(), Some("max-age=31536000"));
        let unsaid = [&shown[..], &["--hsts-s", "0"]].concat();
        assert_eq!(says(&unsaid), None);
    }

    fn parts(peer: &str, forwarded: &[&str]) -> Parts {
        let mut request = Request::get("/");
        for value in forwarded {
            request = request.header(FORWARDED_FOR, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let peer = peer.parse().unwrap();
        parts.extensions.insert(Peer(peer));
        parts
    }

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let trusted = [PROXY.parse().unwrap(), "10.0.0.2/31".parse().unwrap()];
        client(&parts(peer, forwarded), &trusted)
            .unwrap()
            .to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_say_who_comes() {
        assert_eq!(client_of("198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(client_of(PROXY, &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(
            client_of(PROXY, &["1.1.1.1, 203.0.113.9, 10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(client_of(PROXY, &["1.1.1.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(client_of(PROXY, &["nonsense"]), PROXY);
        assert_eq!(client_of(PROXY, &[]), PROXY);
        let mapped = client(&parts("::ffff:198.51.100.7", &[]), &[]);
        assert_eq!(mapped.unwrap().to_string(), "198.51.100.7");
    }

    #[test]
    fn what_is_of_this_hop_or_pretended_stays_here() {
        let mut parts = parts("198.51.100.7", &["1.1.1.1"]);
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-real-ip", "1.1.1.1"),
            ("host", "shop.example"),
            ("accept", "application/json"),
        ] {
            parts.headers.insert(name, value.parse().unwrap());
        }
        inward(
            &mut parts,
            Some("198.51.100.7".parse().unwrap()),
            &Trace::begin(),
        );
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "traceparent", "x-forwarded-for"]);
        assert_eq!(parts.headers[FORWARDED_FOR], "198.51.100.7");
    }

    #[test]
    fn a_request_id_is_taken_over_when_it_is_one() {
        let trace = Trace::begin();
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value.parse().unwrap());
            request_id(&headers, &trace).to_str().unwrap().to_owned()
        };
        assert_eq!(of("order-42.a_b"), "order-42.a_b");
        for bad in ["", "a b", "<script>", &"a".repeat(65)] {
            assert_eq!(of(bad), trace.id(), "{bad}");
        }
    }
}
