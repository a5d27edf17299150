//! Takes whoever is next in line and looks at them, some at once.

use std::future::Future;
use std::pin::pin;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::queue::{Again, Queue};
use super::router::FullName;

/// Reconciles every name that is woken, at most so many at once, until `stop`; what is under way then is finished.
pub async fn run<F: Future<Output = Again>>(
    mut woken: mpsc::UnboundedReceiver<FullName>,
    concurrency: u16,
    stop: impl Future<Output = ()>,
    reconcile: impl Fn(FullName) -> F,
) {
    let mut stop = pin!(stop);
    let mut queue = Queue::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        let has_room = loop {
            if under_way.len() >= usize::from(concurrency) {
                break false;
            }
            let Some(name) = queue.take(now()) else { break true };
            let span = tracing::info_span!("reconciling", namespace = name.0, name = name.1);
            let reconciled = reconcile(name.clone()).instrument(span);
            under_way.push(async move { (name, reconciled.await) });
        };
        let next_at = queue.next_at().filter(|_| has_room);
        tokio::select! {
            () = &mut stop => break,
            Some((name, again)) = under_way.next() => queue.done(name, again, now()),
            Some(name) = woken.recv() => queue.wake(name),
            () = until(next_at) => {}
        }
    }
    under_way.for_each(|_| std::future::ready(())).await;
}

/// By the clock that sleeping goes by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    fn name(number: usize) -> FullName {
        ("shop".to_owned(), number.to_string())
    }

    #[tokio::test]
    async fn however_many_more_come_they_are_served_in_the_order_in_which_they_came() {
        const ALL: usize = 2_000;
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, came, served) = (Cell::new(Some(stop)), Cell::new(0), RefCell::new(Vec::new()));
        let (at_once, most) = (Cell::new(0), Cell::new(0));
        let comes = || {
            came.set(came.get() + 1);
            wake.send(name(came.get() - 1)).unwrap();
        };
        (0..64).for_each(|_| comes());
        let reconcile = async |served_name: FullName| {
            served.borrow_mut().push(served_name);
            if served.borrow().len() == ALL {
                stop.take().unwrap().send(()).unwrap();
            }
            at_once.set(at_once.get() + 1);
            most.set(most.get().max(at_once.get()));
            // Two come for each that goes.
            (0..2).filter(|_| came.get() < ALL).for_each(|_| comes());
            yield_now().await;
            at_once.set(at_once.get() - 1);
            None
        };
        run(woken, 4, async { drop(stopped.await) }, &reconcile).await;
        assert_eq!(*served.borrow(), (0..ALL).map(name).collect::<Vec<_>>());
        assert_eq!(most.get(), 4, "so many were under way at once");
    }

    #[tokio::test]
    async fn what_asks_for_another_look_gets_it_and_what_is_under_way_at_the_end_is_finished() {
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, looks, finished) = (Cell::new(Some(stop)), Cell::new(0), Cell::new(false));
        wake.send(name(1)).unwrap();
        let reconcile = async |_| {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                stop.take().unwrap().send(()).unwrap();
                for _ in 0..100 {
                    yield_now().await;
                }
                finished.set(true);
            }
            Some(Duration::from_millis(1))
        };
        run(woken, 1, async { drop(stopped.await) }, &reconcile).await;
        assert_eq!((looks.get(), finished.get()), (3, true));
    }
}
