//! Why the streams are not as declared.

use std::fmt;

use thiserror::Error;

use crate::log::BoxError;

/// One field that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `stream ORDER` or `durable checkout-order`.
    pub of: String,
    /// The field, as JetStream calls it.
    pub field: &'static str,
    /// What is declared.
    pub declared: String,
    /// What the server has.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            field,
            declared,
            actual,
        } = self;
        write!(f, "{of}: {field} is {actual}, declared {declared}")
    }
}

/// The server's streams can't be used.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// A stream or durable isn't there.
    #[error("{what} is missing: `millrace provision` makes it (`streams::topology::provision`)")]
    Missing {
        /// `stream ORDER` or `durable checkout-order`.
        what: String,
    },
    /// A context's stream could not be named in a position.
    #[error("no context has stream {stream}: it is called with at most 32 of a-z and _")]
    Name {
        /// The stream.
        stream: String,
    },
    /// Fields that could lose, reorder or hold back events are not as declared.
    #[error("the server's configuration could lose events: {}", list(.0))]
    Different(Vec<Difference>),
    /// The server could not be asked, or refused.
    #[error("{what} can't be looked at or made")]
    Failed {
        /// `stream ORDER` or `durable checkout-order`.
        what: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

fn list(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    all.join("; ")
}
