//! An answer and the reads that it waits for, in one task: a read begins only when all that can ask
//! for rows at the same time has asked. So how many statements a question takes follows from the
//! question alone, and who hangs up ends its reads.

use std::future::Future;
use std::pin::pin;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A read that loaders have begun. At most one for each field of the question.
pub(super) type Read = BoxFuture<'static, ()>;

/// Where loaders put their reads, and where they are taken from.
pub(super) fn reads() -> (UnboundedSender<Read>, UnboundedReceiver<Read>) {
    unbounded_channel()
}

/// Works on `answer` as far as it comes without rows, then on the reads that it waits for, in turns.
pub(super) async fn take<T>(
    answer: impl Future<Output = T>,
    mut new: UnboundedReceiver<Read>,
) -> T {
    let mut answer = pin!(answer);
    let mut reads = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            Some(read) = new.recv() => {
                reads.push(read);
                while let Ok(read) = new.try_recv() {
                    reads.push(read);
                }
            }
            Some(()) = reads.next(), if !reads.is_empty() => {}
        }
    }
}
