//! A deadline that moves with every request, without a timer for each.
//!
//! Requests end long before their deadline, and a timer that is set and taken back costs more than the engine's whole
//! decision: the runtime keeps all timers behind one lock. An alarm leaves the timer of an earlier deadline where it is.
//! When it rings too early, which is once per timeout at most, it is set again.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for one deadline after the other.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// What comes of `work`, or `None` when it is not done by `due`. Cancel safe if `work` is.
    pub(crate) async fn bound<F: Future>(&mut self, due: Instant, mut work: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(due, cx).map(|()| None),
        })
        .await
    }

    /// Ends when `due` has come. Cancel safe.
    pub(crate) async fn until(&mut self, due: Instant) {
        poll_fn(|cx| self.poll(due, cx)).await;
    }

    fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due || Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("set", &self.timer.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn deadlines_that_move_on_are_kept_each() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        for _ in 0..5 {
            let due = Instant::now() + 100 * MS;
            assert_eq!(alarm.bound(due, pin!(tokio::time::sleep(60 * MS))).await, Some(()), "done in time");
        }
        assert_eq!(began.elapsed(), 300 * MS);
        let due = Instant::now() + 100 * MS;
        assert_eq!(alarm.bound(due, pin!(std::future::pending::<()>())).await, None, "never done");
        assert_eq!(began.elapsed(), 400 * MS, "neither by an older deadline nor later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_before_the_last_one_is_kept_too() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        assert_eq!(alarm.bound(began + 10_000 * MS, pin!(tokio::time::sleep(MS))).await, Some(()));
        alarm.until(began + 50 * MS).await;
        assert_eq!(began.elapsed(), 50 * MS);
        alarm.until(began + 20 * MS).await;
        assert_eq!(began.elapsed(), 50 * MS, "what is past is past");
        alarm.until(began + 70 * MS).await;
        assert_eq!(began.elapsed(), 70 * MS);
    }
}
