//! Commands and questions between contexts.
