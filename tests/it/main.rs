//! End-to-end tests on the real servers.
