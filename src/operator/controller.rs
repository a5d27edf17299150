//! Reconciles the names of a [`Queue`], several at once.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::Instrument;

use super::queue::{Queue, Requeue};
use super::router::{FullName, Woken};

/// Time after which a reconciliation counts as slow: many times what it takes on an API server that is not overloaded.
const SLOW: Duration = Duration::from_secs(2);

/// Reconciles every name that is woken until `stop`, and finishes what is under way then. At most `concurrency` names are
/// reconciled at once, and one more of high priority.
pub async fn run<F: Future<Output = Requeue>>(
    mut woken: mpsc::UnboundedReceiver<Woken>,
    concurrency: u16,
    stop: impl Future<Output = ()>,
    reconcile: impl Fn(FullName) -> F,
) {
    let mut stop = pin!(stop);
    let mut queue = Queue::new(concurrency);
    let mut under_way = FuturesUnordered::new();
    loop {
        // The queue decides on turns, so no wake-up waits in the channel while a turn is given.
        while let Ok((name, priority)) = woken.try_recv() {
            queue.wake(name, priority);
        }
        while let Some(name) = queue.take(now()) {
            let span = tracing::info_span!("reconciling", namespace = name.0, name = name.1);
            let reconciled = reconcile(name.clone()).instrument(span);
            under_way.push(Either::Left(start(name, Box::pin(reconciled))));
        }
        tokio::select! {
            // A stop first: nothing new begins after it. The others cannot starve, for each round drains the channel and
            // takes what is due.
            biased;
            () = &mut stop => break,
            Some(event) = under_way.next() => match event {
                Event::Done(name, requeue) => queue.done(name, requeue, now()),
                Event::Slow(name, rest) => {
                    queue.slow(&name);
                    under_way.push(Either::Right(finish(name, rest)));
                }
            },
            Some((name, priority)) = woken.recv() => queue.wake(name, priority),
            () = until(queue.next_at()) => {}
        }
    }
    while let Some(event) = under_way.next().await {
        if let Event::Slow(name, rest) = event {
            under_way.push(Either::Right(finish(name, rest)));
        }
    }
}

/// News of a reconciliation under way.
enum Event<F> {
    Done(FullName, Requeue),
    /// It has not ended within [`SLOW`].
    Slow(FullName, Pin<Box<F>>),
}

async fn start<F: Future<Output = Requeue>>(name: FullName, mut reconciled: Pin<Box<F>>) -> Event<F> {
    match timeout(SLOW, &mut reconciled).await {
        Ok(requeue) => Event::Done(name, requeue),
        Err(_) => Event::Slow(name, reconciled),
    }
}

async fn finish<F: Future<Output = Requeue>>(name: FullName, reconciled: Pin<Box<F>>) -> Event<F> {
    let requeue = reconciled.await;
    Event::Done(name, requeue)
}

/// Returns the time of the clock that timers use.
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

    use tokio::sync::{Notify, oneshot};
    use tokio::task::yield_now;

    use super::super::router::Priority;
    use super::*;

    const SLOTS: u16 = 4;
    /// Names that one tenant has woken.
    const LOUD: usize = 10_000;

    fn name(number: usize) -> FullName {
        ("shop".to_owned(), number.to_string())
    }

    fn quiet() -> FullName {
        ("quiet".to_owned(), "storefront".to_owned())
    }

    /// Runs while another tenant's names fill the line, wakes a quiet tenant's name after so many reconciliations, and returns
    /// how many more began before that one did.
    async fn begun_before(priority: Priority, after: usize) -> usize {
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, begun, before) = (Cell::new(Some(stop)), Cell::new(0), Cell::new(None));
        (0..LOUD).for_each(|number| wake.send((name(number), Priority::Normal)).unwrap());
        let reconcile = async |served: FullName| {
            begun.set(begun.get() + 1);
            if served == quiet() {
                // More may begin before the controller sees that it is to stop.
                before.set(Some(begun.get() - after - 1));
                stop.take().unwrap().send(()).unwrap();
            } else if begun.get() == after {
                wake.send((quiet(), priority)).unwrap();
            }
            yield_now().await;
            Requeue::Never
        };
        let until_served = async { drop(stopped.await) };
        run(woken, SLOTS, until_served, &reconcile).await;
        before.get().unwrap()
    }

    #[tokio::test]
    async fn new_name_waits_for_one_of_a_tenant_with_ten_thousand() {
        let others = begun_before(Priority::Normal, 100).await;
        // The slots that are free when it is woken are filled at once, in the same round.
        assert!(others <= usize::from(SLOTS), "{others} reconciliations of the other tenant came before");
    }

    #[tokio::test]
    async fn report_comes_before_all_names_of_normal_priority() {
        let others = begun_before(Priority::High, 100).await;
        assert!(others <= usize::from(SLOTS), "{others} reconciliations of the other tenant came before");
    }

    #[tokio::test]
    async fn report_begins_while_slow_reconciliations_fill_all_slots() {
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, reported) = (Cell::new(Some(stop)), Notify::new());
        (0..LOUD).for_each(|number| wake.send((name(number), Priority::Normal)).unwrap());
        let (begun, finished, before_report) = (Cell::new(0), Cell::new(0), Cell::new(None));
        let reconcile = async |served: FullName| {
            if served == quiet() {
                before_report.set(Some((begun.get(), finished.get())));
                reported.notify_waiters();
                stop.take().unwrap().send(()).unwrap();
                return Requeue::Never;
            }
            begun.set(begun.get() + 1);
            if begun.get() == usize::from(SLOTS) {
                wake.send((quiet(), Priority::High)).unwrap();
            }
            // Until the report; a name that begins after it has nothing to wait for.
            if before_report.get().is_none() {
                reported.notified().await;
            }
            finished.set(finished.get() + 1);
            Requeue::Never
        };
        let ended = run(woken, SLOTS, async { drop(stopped.await) }, &reconcile);
        timeout(Duration::from_secs(20), ended).await.expect("the report waits for none of them");
        assert_eq!(before_report.get(), Some((usize::from(SLOTS), 0)));
        assert_eq!(finished.get(), begun.get(), "what is under way at the end is finished");
    }

    #[tokio::test]
    async fn slow_reconciliations_of_a_tenant_delay_no_other() {
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, served, begun) = (Cell::new(Some(stop)), Notify::new(), Cell::new(0));
        let is_served = Cell::new(false);
        (0..LOUD).for_each(|number| wake.send((name(number), Priority::High)).unwrap());
        wake.send((quiet(), Priority::Normal)).unwrap();
        let reconcile = async |taken: FullName| {
            if taken == quiet() {
                is_served.set(true);
                served.notify_waiters();
                stop.take().unwrap().send(()).unwrap();
            } else {
                begun.set(begun.get() + 1);
                // The API server answers none of them before the other tenant is served.
                if !is_served.get() {
                    served.notified().await;
                }
            }
            Requeue::Never
        };
        let ended = run(woken, SLOTS, async { drop(stopped.await) }, &reconcile);
        timeout(Duration::from_secs(20), ended).await.expect("the other tenant is served");
        assert!(begun.get() <= 2 * usize::from(SLOTS) + 2, "{} began", begun.get());
    }

    #[tokio::test]
    async fn names_of_one_namespace_are_first_come_first_served() {
        const ALL: usize = 2_000;
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, came, served) = (Cell::new(Some(stop)), Cell::new(0), RefCell::new(Vec::new()));
        let (at_once, most) = (Cell::new(0), Cell::new(0));
        let comes = || {
            came.set(came.get() + 1);
            wake.send((name(came.get() - 1), Priority::Normal)).unwrap();
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
            Requeue::Never
        };
        run(woken, SLOTS, async { drop(stopped.await) }, &reconcile).await;
        assert_eq!(*served.borrow(), (0..ALL).map(name).collect::<Vec<_>>());
        assert_eq!(most.get(), usize::from(SLOTS), "so many were under way at once");
    }

    #[tokio::test]
    async fn requeued_name_is_reconciled_again_and_finished_at_the_end() {
        let (wake, woken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (stop, looks, finished) = (Cell::new(Some(stop)), Cell::new(0), Cell::new(false));
        wake.send((name(1), Priority::Normal)).unwrap();
        let reconcile = async |_| {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                stop.take().unwrap().send(()).unwrap();
                for _ in 0..100 {
                    yield_now().await;
                }
                finished.set(true);
            }
            Requeue::After(Duration::from_millis(1))
        };
        run(woken, 1, async { drop(stopped.await) }, &reconcile).await;
        assert_eq!((looks.get(), finished.get()), (3, true));
    }
}
