//! The four servers, by name.

use std::collections::BTreeSet;

use strum::{Display, EnumIter, EnumString, IntoEnumIterator};

/// A server that the stack can bring up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Display, EnumIter, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Service {
    /// nats-server with JetStream.
    Nats,
    /// Postgres.
    Postgres,
    /// The mail sink.
    Mail,
    /// The payment simulator.
    Payments,
}

/// Which servers to bring up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services(BTreeSet<Service>);

impl Services {
    /// All of them.
    pub fn all() -> Self {
        Self(Service::iter().collect())
    }

    /// These only.
    pub fn only(services: impl IntoIterator<Item = Service>) -> Self {
        Self(services.into_iter().collect())
    }

    /// Whether `service` is among them.
    pub fn contains(&self, service: Service) -> bool {
        self.0.contains(&service)
    }
}
