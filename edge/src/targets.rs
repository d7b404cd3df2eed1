//! Where this system may send something that somebody else has named: public addresses, and nothing
//! inside.
//!
//! A URL is checked as it is written, and every address that its name resolves to is checked again
//! by whoever connects ([`Targets::may_reach`]), so a name that points inside later gets nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{ArgAction, Args};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;
use url::{Host, Url};

use crate::Network;

/// Where HTTPS servers listen.
const PORTS: [u16; 2] = [443, 8443];

/// Stands for every port.
const ANY_PORT: u16 = 0;

/// What is no public IPv4 address, and what it is (IANA's registry of special-purpose addresses).
const SPECIAL_IPV4: [([u8; 4], u8, &str); 15] = [
    ([0, 0, 0, 0], 8, "this host"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a carrier's own address"),
    ([127, 0, 0, 0], 8, "loopback"),
    // Where clouds answer about the machine itself (169.254.169.254).
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a protocol's own address"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "a relay's address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// The only IPv6 addresses that are public: `2000::/3`.
const PUBLIC_IPV6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What of that is not, and what it is. `2002::/16` and `2001::/32` (Teredo) wrap an IPv4 address.
const SPECIAL_IPV6: [([u16; 2], u8, &str); 4] = [
    ([0x2001, 0], 23, "a protocol's own address"),
    ([0x2001, 0xdb8], 32, "for documentation"),
    ([0x2002, 0], 16, "a relay's address"),
    ([0x3fff, 0], 20, "for documentation"),
];

/// Which targets there may be.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Targets {
    /// Let webhooks go to `http:` URLs as well, where anybody on the way can read them.
    #[arg(long, env = "MILLRACE_WEBHOOK_HTTP", action = ArgAction::Set, default_value_t = false)]
    pub webhook_http: bool,
    /// The ports that webhooks may go to, separated by commas; 0 = every port.
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_PORTS",
        value_delimiter = ',',
        default_values_t = PORTS
    )]
    pub webhook_ports: Vec<u16>,
    /// Networks that webhooks may go to although they are not public (`10.1.0.0/16`), separated by
    /// commas.
    #[arg(long, env = "MILLRACE_WEBHOOK_NETWORKS", value_delimiter = ',')]
    pub webhook_networks: Vec<Network>,
}

impl Default for Targets {
    /// As without any setting: `https:`, the two usual ports, public addresses.
    fn default() -> Self {
        Self {
            webhook_http: false,
            webhook_ports: PORTS.to_vec(),
            webhook_networks: Vec::new(),
        }
    }
}

/// Why nothing is sent there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("it is no URL")]
    Malformed,
    /// Not `https:`, nor what may be used besides.
    #[error("only {taken} URLs are taken")]
    Scheme {
        /// What is.
        taken: &'static str,
    },
    /// A name or password stands in it.
    #[error("a user name or password can't stand in the URL")]
    Credentials,
    /// Another port.
    #[error("port {port} is not among those that may be used")]
    Port {
        /// Which.
        port: u16,
    },
    /// An address that is not public.
    #[error("{address} is not public: {what}")]
    Inside {
        /// Which.
        address: IpAddr,
        /// What it is.
        what: &'static str,
    },
}

impl Targets {
    /// Reads a URL that something may be sent to, as far as it can be told without a look at DNS.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, text: &str) -> Result<Url, TargetError> {
        let url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        match (url.scheme(), self.webhook_http) {
            ("https", _) | ("http", true) => {}
            (_, false) => return Err(TargetError::Scheme { taken: "https:" }),
            (_, true) => {
                let taken = "https: and http:";
                return Err(TargetError::Scheme { taken });
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        let port = url.port_or_known_default().ok_or(TargetError::Malformed)?;
        if !self.webhook_ports.contains(&port) && !self.webhook_ports.contains(&ANY_PORT) {
            return Err(TargetError::Port { port });
        }
        match url.host().ok_or(TargetError::Malformed)? {
            Host::Domain(_) => {}
            Host::Ipv4(address) => self.may_reach(address.into())?,
            Host::Ipv6(address) => self.may_reach(address.into())?,
        }
        Ok(url)
    }

    /// May this address be connected to?
    ///
    /// # Errors
    /// It is not public, and in none of the networks that are allowed in spite of that.
    pub fn may_reach(&self, address: IpAddr) -> Result<(), TargetError> {
        // An IPv4 address stays one however it is written.
        let address = address.to_canonical();
        if self
            .webhook_networks
            .iter()
            .any(|known| known.contains(&address))
        {
            return Ok(());
        }
        let what = match address {
            IpAddr::V4(address) => special_ipv4(address),
            IpAddr::V6(address) => special_ipv6(address),
        };
        what.map_or(Ok(()), |what| Err(TargetError::Inside { address, what }))
    }
}

fn special_ipv4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_IPV4.iter().find_map(|(network, length, what)| {
        let network = Ipv4Net::new(Ipv4Addr::from(*network), *length).ok()?;
        network.contains(&address).then_some(*what)
    })
}

fn special_ipv6(address: Ipv6Addr) -> Option<&'static str> {
    let (public, length) = PUBLIC_IPV6;
    let public = IpNet::new(public.into(), length).is_ok_and(|n| n.contains(&IpAddr::V6(address)));
    if !public {
        return Some("an address of its own network, or of none");
    }
    SPECIAL_IPV6
        .iter()
        .find_map(|([first, second], length, what)| {
            let network = Ipv6Addr::new(*first, *second, 0, 0, 0, 0, 0, 0);
            let network = Ipv6Net::new(network, *length).ok()?;
            network.contains(&address).then_some(*what)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(address: &str) -> Result<(), TargetError> {
        Targets::default().may_reach(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_can_be_reached() {
        for public in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.255.255",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(reach(public), Ok(()), "{public}");
        }
    }

    #[test]
    fn nothing_inside_can() {
        for (class, inside) in [
            ("loopback", vec!["127.0.0.1", "127.255.0.9", "::1"]),
            ("unspecified", vec!["0.0.0.0", "0.1.2.3", "::"]),
            (
                "private",
                vec!["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
            ),
            ("carrier", vec!["100.64.0.1", "100.127.255.255"]),
            ("link-local", vec!["169.254.0.1", "fe80::1", "febf::1"]),
            (
                "metadata",
                vec!["169.254.169.254", "fd00:ec2::254", "192.0.0.192"],
            ),
            ("unique local", vec!["fc00::1", "fdff::1"]),
            ("site-local", vec!["fec0::1"]),
            ("multicast", vec!["224.0.0.1", "239.255.255.255", "ff02::1"]),
            ("broadcast", vec!["255.255.255.255", "240.0.0.1"]),
            (
                "documentation",
                vec!["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"],
            ),
            ("benchmarks", vec!["198.18.0.1", "198.19.255.255"]),
            (
                "mapped",
                vec!["::ffff:127.0.0.1", "::ffff:a00:1", "::ffff:169.254.169.254"],
            ),
            ("compatible", vec!["::127.0.0.1"]),
            ("translated", vec!["64:ff9b::7f00:1", "64:ff9b:1::1"]),
            ("tunnelled", vec!["2002:7f00:1::", "2001::1", "192.88.99.1"]),
        ] {
            for address in inside {
                assert!(
                    matches!(reach(address), Err(TargetError::Inside { .. })),
                    "{class}: {address}"
                );
            }
        }
    }

    #[test]
    fn a_network_that_is_allowed_can_be_reached_and_no_other() {
        let targets = Targets {
            webhook_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..Targets::default()
        };
        let reach = |address: &str| targets.may_reach(address.parse().unwrap());
        assert_eq!(reach("127.0.0.1"), Ok(()));
        assert_eq!(reach("::ffff:127.0.0.1"), Ok(()));
        assert!(reach("10.0.0.1").is_err());
    }

    #[test]
    fn a_url_is_https_without_credentials_on_a_usual_port() {
        let check = |url: &str| Targets::default().check(url).map(String::from);
        let taken = "https://hooks.example.com/a?b=c";
        assert_eq!(check(taken).as_deref(), Ok(taken));
        assert!(check("https://hooks.example.com:8443/").is_ok());
        assert_eq!(check("hooks.example.com"), Err(TargetError::Malformed));
        for scheme in [
            "http://a.example/",
            "ftp://a.example/",
            "file:///etc/passwd",
        ] {
            let refused = TargetError::Scheme { taken: "https:" };
            assert_eq!(check(scheme), Err(refused), "{scheme}");
        }
        let both = Targets {
            webhook_http: true,
            webhook_ports: vec![ANY_PORT],
            ..Targets::default()
        };
        assert!(both.check("http://a.example/").is_ok());
        let refused = both.check("ftp://a.example/").unwrap_err();
        let said = "only https: and http: URLs are taken";
        assert_eq!(refused.to_string(), said);
        for named in [
            "https://ann@a.example/",
            "https://ann:pw@a.example/",
            "https://:pw@a.example/",
        ] {
            assert_eq!(check(named), Err(TargetError::Credentials), "{named}");
        }
        let port = TargetError::Port { port: 6379 };
        assert_eq!(check("https://a.example:6379/"), Err(port));
    }

    #[test]
    fn an_address_in_a_url_is_seen_however_it_is_written() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            let refused = Targets::default().check(url);
            assert!(
                matches!(refused, Err(TargetError::Inside { .. })),
                "{url}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_a_laptop_needs_can_be_allowed() {
        let open = Targets {
            webhook_http: true,
            webhook_ports: vec![ANY_PORT],
            webhook_networks: vec!["127.0.0.1".parse().unwrap()],
        };
        assert!(open.check("http://127.0.0.1:4711/hook").is_ok());
        assert!(open.check("http://10.0.0.1:4711/hook").is_err());
    }
}
