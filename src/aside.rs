//! EDGE: work that takes long, while other tasks go on. What the work is is the caller's business.
//!
//! Events are taken in and passed on by few threads (`--worker-threads`), or by one where that is
//! asked for: an event that wakes no other thread costs less. What would hold such a thread up,
//! such as to compile all of a large cluster or to write a long page, is done here.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Does the work in the place of the task that calls it, which goes on when it is done; meanwhile
/// another thread runs all other tasks, where the runtime can have one. To hand them over takes
/// some microseconds: that is for work of milliseconds.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

/// Does the work so if it is `long`, and at once if it is not.
pub(crate) fn aside_if<T>(long: bool, work: impl FnOnce() -> T) -> T {
    match long {
        true => aside(work),
        false => work(),
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
        tasks.spawn(async move { aside(|| other.recv_timeout(Duration::from_secs(60)).is_ok()) });
        tasks.spawn(async move { done.send(()).is_ok() });
        assert_eq!(tasks.join_all().await, [true, true]);
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(aside(|| 1) + aside_if(false, || 2), 3);
    }
}
