//! The server's time needs no stream.

use crate::clock;
use crate::connection::Connection;

/// The server tells this connection's user what time it is.
pub async fn it_is_told(connection: &Connection) {
    clock::ask(connection.client()).await.unwrap();
}
