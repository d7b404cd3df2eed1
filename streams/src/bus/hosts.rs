//! The hosts of one process: for others over the network, for itself without.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::host::Host;
use super::serve::Serving;
use crate::connection::Connection;

/// A service could not be started.
#[derive(Debug, Error)]
#[error("service {service} could not be started")]
pub struct HostError {
    /// `millrace-<context>`.
    pub service: String,
    /// What the client says.
    #[source]
    pub(super) source: async_nats::Error,
}

/// The hosts of this process, one a context. Cheap to clone.
///
/// [`Hosts::serve`] answers for them on the network; a [`super::Bus`] of the same process asks
/// them directly ([`Connection::beside`]).
#[derive(Clone, Default)]
pub struct Hosts {
    desks: Arc<HashMap<String, Arc<Desk>>>,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.desks.keys()).finish()
    }
}

impl FromIterator<Host> for Hosts {
    fn from_iter<I: IntoIterator<Item = Host>>(hosts: I) -> Self {
        let desks = hosts.into_iter().map(Desk::new);
        let by_context = desks.map(|desk| (desk.context.clone(), Arc::new(desk)));
        Self {
            desks: Arc::new(by_context.collect()),
        }
    }
}

impl Hosts {
    /// Starts one service a context: from here on they are discovered, requests find them, and
    /// wait for [`Serving::run`].
    ///
    /// # Errors
    /// The connection is closed, or the server doesn't answer.
    pub fn start<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> BoxFuture<'a, Result<Serving, HostError>> {
        Box::pin(
            async move { Serving::start(self.desks.values().map(Arc::clone), connection).await },
        )
    }

    /// Starts and runs until `shutdown`; what was accepted then is answered, for at most 10 s.
    ///
    /// # Errors
    /// As [`Hosts::start`].
    pub fn serve<'a>(
        &'a self,
        connection: &'a Connection,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            self.start(connection).await?.run(shutdown).await;
            Ok(())
        })
    }

    pub(super) fn of(&self, context: &str) -> Option<Arc<Desk>> {
        self.desks.get(context).map(Arc::clone)
    }
}
