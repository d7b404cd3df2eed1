//! Which ports the servers listen on: the usual ones, or free ones when those are taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng;

/// Where free ports are looked for. It lies outside the range from which systems take the ports
/// of outgoing connections: a server's port must not be taken by a client while it restarts.
const FREE_RANGE: std::ops::Range<u16> = 20_000..32_000;
/// How many random ports of that range are tried.
const TRIES: usize = 500;

/// The preferred port of each server; 0 means any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// NATS's client port.
    pub nats: u16,
    /// NATS's monitoring port (HTTP).
    pub nats_monitor: u16,
    /// Postgres.
    pub postgres: u16,
    /// The mail sink's SMTP port.
    pub smtp: u16,
    /// The mail sink's HTTP port.
    pub mail: u16,
    /// The payment simulator's HTTP port.
    pub payments: u16,
}

impl Ports {
    /// The usual ports, which people expect.
    pub const fn usual() -> Self {
        Self {
            nats: 4222,
            nats_monitor: 8222,
            postgres: 5432,
            smtp: 1025,
            mail: 8025,
            payments: 8090,
        }
    }

    /// Any free ports, as tests want them.
    pub const fn free() -> Self {
        Self {
            nats: 0,
            nats_monitor: 0,
            postgres: 0,
            smtp: 0,
            mail: 0,
            payments: 0,
        }
    }
}

/// A port that nobody else can take until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    listener: TcpListener,
    address: SocketAddr,
    preferred: u16,
}

impl Reserved {
    /// Takes `preferred` on 127.0.0.1 if it is free, else a free port.
    ///
    /// # Errors
    /// When the system has no free port, or refuses `preferred` for another reason than that it
    /// is taken or reserved for root.
    pub fn choose(preferred: u16) -> io::Result<Self> {
        if preferred == 0 {
            return Self::any(preferred);
        }
        match bind(preferred) {
            Ok(listener) => Self::of(listener, preferred),
            Err(error) if taken(&error) => Self::any(preferred),
            Err(error) => Err(error),
        }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The preferred port, if it was not to be had.
    pub fn instead_of(&self) -> Option<u16> {
        (self.preferred != 0 && self.preferred != self.address.port()).then_some(self.preferred)
    }

    /// The bound socket, for a server that runs in this process.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }

    fn any(preferred: u16) -> io::Result<Self> {
        let mut random = rand::rng();
        (0..TRIES)
            .find_map(|_| bind(random.random_range(FREE_RANGE)).ok())
            .map_or_else(|| bind(0), Ok)
            .and_then(|listener| Self::of(listener, preferred))
    }

    fn of(listener: TcpListener, preferred: u16) -> io::Result<Self> {
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            preferred,
        })
    }
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_preferred_port_is_taken() {
        let port = Reserved::choose(0).unwrap().address().port();
        let reserved = Reserved::choose(port).unwrap();
        assert_eq!(reserved.address().port(), port);
        assert_eq!(reserved.instead_of(), None);
    }

    #[test]
    fn a_taken_port_gives_way_to_a_free_one_and_says_so() {
        let holder = Reserved::choose(0).unwrap();
        let port = holder.address().port();
        let reserved = Reserved::choose(port).unwrap();
        assert_ne!(reserved.address().port(), port);
        assert_eq!(reserved.instead_of(), Some(port));
    }

    #[test]
    fn free_ports_stay_clear_of_outgoing_connections() {
        let reserved = Reserved::choose(0).unwrap();
        assert!(FREE_RANGE.contains(&reserved.address().port()));
    }
}
