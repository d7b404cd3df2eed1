//! An answer and the reads that it waits for, in one task: a read begins only when all that can ask
//! for rows at the same time has asked. So how many statements a question takes follows from the
//! question alone, and who hangs up ends its reads.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_graphql::dataloader::DataLoader;
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

/// A loader that puts its reads there.
pub(super) fn loader<L>(rows: L, reads: &UnboundedSender<Read>) -> DataLoader<L> {
    let reads = reads.clone();
    // Nobody takes it any more: nobody waits for it either.
    let begin = move |read| drop(reads.send(read));
    DataLoader::new(rows, begin).delay(Duration::ZERO)
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::thread::sleep;

    use async_graphql::dataloader::Loader;
    use futures::future::join_all;

    use super::*;

    /// Rows that are their keys, and how many were asked for at once.
    #[derive(Default)]
    struct Counted(Arc<Mutex<Vec<usize>>>);

    impl Loader<u32> for Counted {
        type Value = u32;
        type Error = Infallible;

        async fn load(&self, keys: &[u32]) -> Result<HashMap<u32, u32>, Infallible> {
            self.0.lock().unwrap().push(keys.len());
            Ok(keys.iter().map(|key| (*key, *key)).collect())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_slowly_they_ask_all_of_a_level_are_read_at_once() {
        let counted = Counted::default();
        let at_once = Arc::clone(&counted.0);
        let (begin, new) = reads();
        let loader = loader(counted, &begin);
        let asks = (0..8).map(|key| {
            let loader = &loader;
            async move {
                // As a busy machine would: another thread has time to begin a read.
                sleep(Duration::from_millis(5));
                let first = loader.load_one(key).await.unwrap().unwrap();
                loader.load_one(first + 100).await.unwrap()
            }
        });
        let rows = take(join_all(asks), new).await;
        assert_eq!(rows, (100..108).map(Some).collect::<Vec<_>>());
        assert_eq!(*at_once.lock().unwrap(), [8, 8]);
    }
}
