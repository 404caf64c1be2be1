//! The one clock of the daemon: the pure crates know time only as what this module hands them.

use std::time::Instant;

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
    use std::time::Duration;

    use super::*;

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
