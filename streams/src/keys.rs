//! A key for each person, in a stream that may delete.
