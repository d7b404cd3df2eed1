//! The one list of contexts that everything else is built from.
