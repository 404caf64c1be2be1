//! The one clock of the daemon: the pure crates know time only as what this module hands them.

use std::time::{Duration, Instant};

use tidegate_bgp::time::Timestamp;

/// A monotonic clock that starts at zero when it is made. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    /// A clock that reads zero now. The daemon makes one and copies it, so that every
    /// [`Timestamp`] it holds can be compared with every other.
    pub fn start() -> Self {
        Self { base: Instant::now() }
    }

    /// The clock of another process, which read `at` when the kernel's monotonic clock read `then`
    /// nanoseconds; `None`: that cannot be.
    pub(crate) fn resumed(at: Timestamp, then: u64) -> Option<Self> {
        let since = crate::bpf_io::sys::monotonic_ns().checked_sub(then)?;
        let read = Duration::from_nanos(at.as_nanos().checked_add(since)?);
        Some(Self { base: Instant::now().checked_sub(read)? })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        Timestamp::default() + self.base.elapsed()
    }

    /// Waits until `deadline`; for ever if there is none.
    pub async fn sleep_until(&self, deadline: Option<Timestamp>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline - self.now()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_in_another_process() {
        let clock = Clock { base: Instant::now().checked_sub(Duration::from_secs(1)).unwrap() };
        let (at, then) = (clock.now(), crate::bpf_io::sys::monotonic_ns());
        let other = Clock::resumed(at, then).unwrap();
        let apart = other.base.max(clock.base) - other.base.min(clock.base);
        assert!(apart < Duration::from_secs(1), "{apart:?}");
        assert!(Clock::resumed(at, u64::MAX).is_none());
    }

    #[tokio::test]
    async fn a_sleep_ends_at_its_deadline_or_never() {
        let clock = Clock::start();
        let deadline = clock.now() + Duration::from_millis(20);
        clock.sleep_until(Some(deadline)).await;
        assert!(clock.now() >= deadline);
        let endless = tokio::time::timeout(Duration::from_millis(1), clock.sleep_until(None));
        assert!(endless.await.is_err());
    }
}
