//! Threads that may wait, for one purpose each: a mount that hangs takes the threads of mounts, and image pulls and
//! packet rules go on.
//!
//! The threads are those of the async runtime, which is built with as many as all purposes together may take and some
//! for everything else; a purpose holds no more than its own.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The threads of one purpose; clones share them.
#[derive(Clone)]
pub struct Blocking(Arc<Semaphore>);

/// A thread that is kept free for one piece of work.
pub struct Place(OwnedSemaphorePermit);

/// The work did not come to its end: it panicked, or this process ends.
#[derive(Debug, thiserror::Error)]
#[error("the work was cut short: {0}")]
pub struct Cut(#[from] tokio::task::JoinError);

impl Blocking {
    /// At most so many at once; others wait in the order in which they came.
    pub fn new(most: usize) -> Blocking {
        Blocking(Arc::new(Semaphore::new(most)))
    }

    /// Waits for a thread: for work that holds something else while it waits, which it shall take only then.
    pub async fn place(&self) -> Place {
        let held = self.0.clone().acquire_owned().await;
        Place(held.expect("nobody closes this semaphore"))
    }

    /// Runs work on one of the threads. Who does not wait for the answer any more does not end the work: its thread is
    /// taken until it returns.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Cut> {
        self.place().await.run(work).await
    }
}

impl Place {
    /// Runs the work.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Cut> {
        let held = self.0;
        let work = move || {
            let done = work();
            drop(held);
            done
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    /// A thread waits until the other end goes.
    fn hang(until: Receiver<()>) {
        // The end of the channel is what is waited for.
        let _ = until.recv();
    }

    #[tokio::test]
    async fn who_hangs_takes_only_the_threads_of_its_purpose() {
        let (mounts, images) = (Blocking::new(1), Blocking::new(1));
        let (hold, held) = channel();
        // Nobody waits for it any more: its thread stays taken all the same.
        let hanging = tokio::spawn({
            let mounts = mounts.clone();
            async move { mounts.run(move || hang(held)).await }
        });
        while mounts.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        hanging.abort();
        let mut next = std::pin::pin!(mounts.run(|| "mounted"));
        tokio::select! {
            biased;
            _ = &mut next => panic!("the purpose has no second thread"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(images.run(|| "pulled").await.expect("done"), "pulled");
        drop(hold);
        assert_eq!(next.await.expect("done"), "mounted");
    }

    #[tokio::test]
    async fn a_panic_is_told_and_gives_its_thread_back() {
        let one = Blocking::new(1);
        let cut = one.run(|| panic!("on purpose")).await;
        assert!(cut.is_err_and(|cut| cut.to_string().starts_with("the work was cut short")));
        assert_eq!(one.run(|| 1).await.expect("done"), 1);
    }
}
