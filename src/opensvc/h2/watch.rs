//! EDGE: the daemon's status as events, over one event stream after the other. A new stream is
//! opened beside the old one and takes over with its full status, so that nothing is missing
//! between the two.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, pending};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Sleep, sleep};
use tracing::warn;

use super::H2;
use super::subscription::Subscription;
use crate::aside::{MANY, aside_if};
use crate::inventory::Event;
use crate::opensvc::Error;
use crate::opensvc::mirror::{Message, Mirror, Status};

type Opening = BoxFuture<'static, Result<(Box<Subscription>, Status), Error>>;

/// What keeps the events coming: one state, no tasks.
struct Watch {
    h2: H2,
    mirror: Mirror,
    ready: VecDeque<Event>,
    /// The stream that is followed; `None` while there is none that can be trusted.
    current: Option<Box<Subscription>>,
    /// The stream that takes over when its status has come.
    opening: Option<Opening>,
    renew: Pin<Box<Sleep>>,
}

/// What a [`Watch`] woke up for.
enum Wake {
    Message(Result<Message, Error>),
    Opened(Result<(Box<Subscription>, Status), Error>),
    Renew,
}

/// Follows the daemon until there is nothing to follow.
pub(super) fn watch(h2: H2) -> BoxStream<'static, Result<Event, Error>> {
    let watch = Watch {
        mirror: Mirror::default(),
        ready: VecDeque::new(),
        current: None,
        opening: Some(Subscription::open(h2.clone()).boxed()),
        renew: Box::pin(sleep(spread(h2.limits.refresh))),
        h2,
    };
    stream::unfold(Some(Box::new(watch)), |watch| async {
        let mut watch = watch?;
        Some(match watch.next().await {
            Ok(event) => (Ok(event), Some(watch)),
            Err(error) => (Err(error), None),
        })
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.wake().await {
                Wake::Message(Ok(message)) => self.take(message),
                Wake::Message(Err(error)) => self.lose(error)?,
                Wake::Opened(opened) => self.take_over(opened)?,
                Wake::Renew => self.open(),
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let renew_due = self.opening.is_none();
        tokio::select! {
            biased;
            opened = opened(&mut self.opening) => Wake::Opened(opened),
            message = message(&mut self.current) => Wake::Message(message),
            () = &mut self.renew, if renew_due => Wake::Renew,
        }
    }

    fn take(&mut self, message: Message) {
        match self.mirror.apply(message) {
            Ok(events) => self.ready.extend(events),
            Err(reason) => {
                warn!(%reason, "the mirror of the daemon's status is out of step");
                self.current = None;
                self.open();
            }
        }
    }

    /// The stream ended. Another one that is on its way may save it.
    fn lose(&mut self, error: Error) -> Result<(), Error> {
        if let Some(lost) = self.current.take() {
            lost.give_up();
        }
        match self.opening {
            Some(_) => Ok(()),
            None => Err(error),
        }
    }

    fn take_over(
        &mut self,
        opened: Result<(Box<Subscription>, Status), Error>,
    ) -> Result<(), Error> {
        self.opening = None;
        self.renew = Box::pin(sleep(spread(self.h2.limits.refresh)));
        match opened {
            Ok((mut subscription, status)) => {
                let is_long = status.is_of_more_than(MANY);
                let events = aside_if(is_long, || self.mirror.reset(status));
                self.ready.extend(events);
                let account = subscription.take_account();
                self.ready.extend(account.map(Event::Account));
                self.current = Some(subscription);
                Ok(())
            }
            Err(error) if self.current.is_some() => {
                warn!(%error, "cannot renew the event stream; following the old one");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn open(&mut self) {
        if self.opening.is_none() {
            self.opening = Some(Subscription::open(self.h2.clone()).boxed());
        }
    }
}

/// A part of a time, from a half to the whole: where two clients leave within one second, the
/// daemon forgets a third, so clients that began together must not go on together.
fn spread(longest: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 512;
    let part = 512 + u32::try_from(chance).unwrap_or_default();
    longest / 1_024 * part
}

async fn opened(opening: &mut Option<Opening>) -> Result<(Box<Subscription>, Status), Error> {
    match opening {
        Some(opening) => opening.await,
        None => pending().await,
    }
}

async fn message(current: &mut Option<Box<Subscription>>) -> Result<Message, Error> {
    match current {
        Some(subscription) => subscription.next().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_spread_over_its_second_half() {
        let minute = Duration::from_secs(60);
        let times: Vec<Duration> = (0..1_000).map(|_| spread(minute)).collect();
        assert!(
            times
                .iter()
                .all(|time| (minute / 2..=minute).contains(time))
        );
        assert!(times.iter().any(|time| *time > minute * 9 / 10));
        assert!(times.iter().any(|time| *time < minute * 6 / 10));
    }
}
