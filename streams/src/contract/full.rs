//! A log that is full, on a real server: nothing is taken, and nothing is lost once there is room.

use async_nats::jetstream::stream::Config;

use super::account::{Account, AccountCommand};
use super::{CONTEXT, case, fresh_id, fresh_meta, run};
use crate::{Connection, ExecuteError, Outcome, Settings};

/// All of this page. Nobody else may write to stream `ACCOUNT` meanwhile.
pub async fn all(connection: &Connection) {
    case("a full log refuses, and takes the same commands once there is room");
    let streams = connection.streams(Settings::default());
    let id = fresh_id();
    let open = run(&streams, &id, AccountCommand::Open);
    open.await.unwrap();
    let jetstream = connection.jetstream();
    let name = crate::subject::stream_name(CONTEXT);
    let stream = jetstream.get_stream(name).await.unwrap();
    let info = stream.cached_info();
    let there = i64::try_from(info.state.messages).unwrap();
    let in_cluster = connection.client().server_info().cluster.is_some();
    let one = (AccountCommand::Deposit(vec![1]), fresh_meta());
    let two = (AccountCommand::Deposit(vec![1, 1]), fresh_meta());
    // Full, and with room for half of what belongs together.
    for (room, asked) in [(0, vec![&one, &two]), (1, vec![&two])] {
        let config = Config {
            max_messages: there + room,
            ..info.config.clone()
        };
        jetstream.update_stream(&config).await.unwrap();
        for (command, meta) in asked {
            let refused = streams.execute::<Account>(&id, command.clone(), meta).await;
            let refused = refused.unwrap_err();
            // Among replicas the same answer may come from a leader whose store alone has failed.
            let unknown = in_cluster && matches!(refused, ExecuteError::Unknown { .. });
            let expected = unknown || matches!(refused, ExecuteError::Unavailable { .. });
            assert!(expected, "{command:?} with room for {room}: {refused:?}");
        }
    }
    jetstream.update_stream(&info.config).await.unwrap();
    for (command, meta) in [one, two] {
        let taken = streams.execute::<Account>(&id, command, &meta).await;
        assert_eq!(taken.unwrap().outcome, Outcome::Appended);
    }
    let history = streams.history::<Account>(&id).await.unwrap();
    let versions: Vec<_> = history.iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}
