//! Where the servers listen, and what a person should be told about it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::Reserved;
use crate::{Error, Ports, Service, Services};

/// Waiting for less than this is not worth a word.
const WORTH_SAYING: Duration = Duration::from_millis(500);

/// Where the servers listen; everything is on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// `nats://127.0.0.1:4222`; of several nodes all, separated by commas.
    pub nats: String,
    /// `http://127.0.0.1:8222`, of the first node.
    pub nats_monitor: String,
    /// Postgres.
    pub postgres: SocketAddr,
    /// The mail sink's SMTP side.
    pub smtp: SocketAddr,
    /// The mail sink's HTTP side, `http://127.0.0.1:8025`.
    pub mail: String,
    /// The payment simulator, `http://127.0.0.1:8090`.
    pub payments: String,
}

/// Ports that are ours until the servers take them over.
pub(crate) struct Chosen {
    /// Of each node.
    pub(crate) nats: Vec<NatsPorts>,
    pub(crate) postgres: Reserved,
    pub(crate) smtp: Reserved,
    pub(crate) mail: Reserved,
    pub(crate) payments: Reserved,
}

/// The ports of one NATS node.
pub(crate) struct NatsPorts {
    pub(crate) client: Reserved,
    pub(crate) monitor: Reserved,
    /// For the other nodes.
    pub(crate) route: Reserved,
}

impl Chosen {
    /// Takes the preferred ports where they are free. A server that was not asked for gets a
    /// free port, so that it does not stand in the way of another stack; so does every NATS node but the first.
    pub(crate) fn choose(
        ports: Ports,
        services: &Services,
        nats_nodes: usize,
    ) -> Result<Self, Error> {
        let choose = |service, preferred| {
            let preferred = if services.contains(service) {
                preferred
            } else {
                0
            };
            Reserved::choose(preferred).map_err(|source| Error::Port { service, source })
        };
        let node = |n| {
            let of_first = |port| if n == 0 { port } else { 0 };
            Ok(NatsPorts {
                client: choose(Service::Nats, of_first(ports.nats))?,
                monitor: choose(Service::Nats, of_first(ports.nats_monitor))?,
                route: choose(Service::Nats, 0)?,
            })
        };
        Ok(Self {
            nats: (0..nats_nodes.max(1))
                .map(node)
                .collect::<Result<_, Error>>()?,
            postgres: choose(Service::Postgres, ports.postgres)?,
            smtp: choose(Service::Mail, ports.smtp)?,
            mail: choose(Service::Mail, ports.mail)?,
            payments: choose(Service::Payments, ports.payments)?,
        })
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        let http = |port: &Reserved| format!("http://{}", port.address());
        Endpoints {
            nats: self
                .nats
                .iter()
                .map(|node| format!("nats://{}", node.client.address()))
                .collect::<Vec<_>>()
                .join(","),
            nats_monitor: self
                .nats
                .first()
                .map_or_else(String::new, |node| http(&node.monitor)),
            postgres: self.postgres.address(),
            smtp: self.smtp.address(),
            mail: http(&self.mail),
            payments: http(&self.payments),
        }
    }

    /// The preferred ports that were taken.
    pub(crate) fn moved(&self) -> Vec<Notice> {
        let nats = self.nats.iter();
        let nats =
            nats.flat_map(|node| [("NATS", &node.client), ("NATS monitoring", &node.monitor)]);
        nats.chain([
            ("Postgres", &self.postgres),
            ("SMTP", &self.smtp),
            ("mail", &self.mail),
            ("payments", &self.payments),
        ])
        .filter_map(|(name, port)| {
            Some(Notice::PortTaken {
                name,
                preferred: port.instead_of()?,
                chosen: port.address().port(),
            })
        })
        .collect()
    }
}

/// Something that went otherwise than usual. `up` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A usual port is taken by somebody else.
    PortTaken {
        /// What listens.
        name: &'static str,
        /// The usual port.
        preferred: u16,
        /// The port that it has instead.
        chosen: u16,
    },
    /// Postgres's files are outside the data folder.
    PostgresElsewhere {
        /// Where they are.
        folder: PathBuf,
        /// Where they would be.
        instead_of: PathBuf,
        /// The user who cannot reach that.
        uid: u32,
    },
    /// The servers of an earlier run had to end first.
    Waited {
        /// How long, in milliseconds.
        waited_ms: u128,
    },
}

impl Notice {
    pub(crate) fn waited(waited: Duration) -> Option<Self> {
        (waited > WORTH_SAYING).then_some(Self::Waited {
            waited_ms: waited.as_millis(),
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken {
                name,
                preferred,
                chosen,
            } => write!(
                f,
                "{name} is on port {chosen}, because {preferred} is taken"
            ),
            Self::PostgresElsewhere {
                folder,
                instead_of,
                uid,
            } => write!(
                f,
                "Postgres keeps its files in {}, because user {uid}, as which it runs, cannot reach {}",
                folder.display(),
                instead_of.display()
            ),
            Self::Waited { waited_ms } => write!(
                f,
                "waited {waited_ms} ms for the servers of an earlier run to end"
            ),
        }
    }
}

#[cfg(test)]
impl Endpoints {
    pub(crate) fn example() -> Self {
        let any = Ports::free();
        let chosen = Chosen::choose(any, &Services::all(), 1);
        chosen.map(|chosen| chosen.endpoints()).unwrap()
    }
}
