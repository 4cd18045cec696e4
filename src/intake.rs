//! EDGE: events are taken in by a task of their own, ahead of whoever follows them. A daemon drops
//! a subscriber that lets some hundred kilobytes lie, and to compile all of a large cluster takes
//! seconds.

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The same stream, taken in from now on, also while nobody asks for more of it. It ends when it
/// is dropped.
pub(crate) fn ahead<T: Send + 'static>(mut events: BoxStream<'static, T>) -> BoxStream<'static, T> {
    let (taken, receiver) = mpsc::channel(AHEAD_MAX);
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Some(event) = events.next().await {
            if taken.send(event).await.is_err() {
                return;
            }
        }
    });
    let taken = stream::unfold((receiver, task), |(mut receiver, task)| async move {
        let event = receiver.recv().await?;
        Some((event, (receiver, task)))
    });
    taken.boxed()
}

/// So many events may wait; then those behind them wait at the daemon.
const AHEAD_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn events_are_taken_in_before_they_are_asked_for_but_not_without_end() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let events = stream::iter(0..2 * AHEAD_MAX).inspect(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let mut events = ahead(events.boxed());
        while count.load(Ordering::Relaxed) <= AHEAD_MAX {
            yield_now().await;
        }
        // The one that finds no place waits with it.
        assert_eq!(count.load(Ordering::Relaxed), AHEAD_MAX + 1);
        assert_eq!(events.next().await, Some(0));
        assert_eq!(events.count().await, 2 * AHEAD_MAX - 1);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[tokio::test]
    async fn nothing_is_taken_in_for_who_has_gone() {
        let count = Arc::new(());
        let held = Arc::clone(&count);
        let events = stream::pending::<()>().inspect(move |()| drop(Arc::clone(&held)));
        let mut events = ahead(events.boxed());
        assert!(futures::poll!(events.next()).is_pending());
        drop(events);
        while Arc::strong_count(&count) > 1 {
            yield_now().await;
        }
    }
}
