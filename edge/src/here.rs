//! Which host is this machine.

use std::net::IpAddr;

/// Does `host` name this machine alone: `localhost`, or a loopback address, in brackets or not?
pub fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_here() {
        for here in ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"] {
            assert!(is_here(here), "{here}");
        }
        for there in [
            "",
            "relay.example",
            "10.0.0.25",
            "0.0.0.0",
            "[::]",
            "localhost.example",
        ] {
            assert!(!is_here(there), "{there}");
        }
    }
}
