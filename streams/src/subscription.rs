//! Events out of a stream.
