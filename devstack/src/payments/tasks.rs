//! The tasks that outlive the request that began them, and end with the server.

use std::future::Future;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks that are stopped together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    running: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Begins a task; its handle gives `None` when it was stopped before its end.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.running.spawn(stopping.run_until_cancelled_owned(task))
    }

    /// Stops every task at its next pause, and answers when all have let go of what they held.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.running.close();
        self.running.wait().await;
    }
}
