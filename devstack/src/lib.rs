//! Finds or fetches, starts and stops the servers that Millrace needs.
