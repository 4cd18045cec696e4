//! EDGE: work that takes long, while other tasks go on. What the work is is the caller's business.
//!
//! One thread takes all events in and passes them on to the first Envoys, and each beside it serves
//! many: what would hold them up for seconds, such as to compile all of a very large cluster, is
//! done here. What is shorter is not: each thread that takes over has a heap of its own, which
//! keeps what its largest moment needed.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

/// What is made of more objects than these takes more than some tenths of a second.
pub(crate) const MANY: usize = 5_000;

/// Does the work in the place of the task that calls it, which goes on when it is done. Meanwhile,
/// if the work is `long`, another thread runs all other tasks where the runtime has one thread and
/// can have more; of two that it has, the other does so by itself.
pub(crate) fn aside_if<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let is_alone = |handle: Handle| {
        handle.runtime_flavor() == RuntimeFlavor::MultiThread && handle.metrics().num_workers() == 1
    };
    match long && Handle::try_current().is_ok_and(is_alone) {
        true => block_in_place(work),
        false => work(),
    }
}

/// Does work that owns what it needs on a thread for such work. If it panics, so does who waits.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work)
        .await
        .map_err(|lost| lost.try_into_panic())
    {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and who waits with it.
        Err(Err(_)) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_while_one_works_aside() {
        let (done, other) = sync_channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            aside_if(true, || other.recv_timeout(Duration::from_secs(60)).is_ok())
        });
        tasks.spawn(async move { done.send(()).is_ok() });
        assert_eq!(tasks.join_all().await, [true, true]);
    }

    #[tokio::test]
    async fn a_runtime_that_can_have_no_other_thread_does_it_itself() {
        assert_eq!(aside_if(true, || 1) + aside_if(false, || 2), 3);
        assert_eq!(apart(|| 4).await, 4);
    }
}
