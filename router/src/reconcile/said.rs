//! What somebody outside says of backends, for a while: it counts in the place of what their health
//! checks say. In memory alone: who says it has to say it again anyway.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tidegate_bgp::time::Timestamp;
use tracing::{info, warn};

use super::Reconciler;
use super::memory::BackendKey;
use crate::change::{Refused, Saying};
use crate::view::API_VERSION;
use crate::view::said;

/// What counts, and how long it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Word {
    saying: Saying,
    who: String,
    until: Timestamp,
}

/// What is said of all backends: one word for each that is configured, at most.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Words(BTreeMap<BackendKey, Word>);

impl Words {
    /// One of them.
    #[cfg(test)]
    pub(super) fn sample(key: BackendKey) -> Self {
        let ttl = std::time::Duration::from_mins(1);
        let saying = Saying { up: false, ttl, reason: Some("disk full".into()) };
        Self(BTreeMap::from([(
            key,
            Word { saying, who: "root".into(), until: Timestamp::default() },
        )]))
    }

    /// Forgets what is over, and backends that are gone. When the next one is over.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        is_checked: impl Fn(&BackendKey) -> bool,
    ) -> Option<Timestamp> {
        self.0.retain(|key, word| {
            let is_over = word.until <= now;
            if is_over {
                let (vip, backend) = (key.0.vip(), key.1);
                info!(%vip, %backend, "what was said of it is over: its health check counts again");
            }
            !is_over && is_checked(key)
        });
        self.0.values().map(|word| word.until).min()
    }

    /// Whether a backend is said to be up.
    pub(super) fn of(&self, key: &BackendKey) -> Option<bool> {
        self.0.get(key).map(|word| word.saying.up)
    }

    /// The same for people.
    pub(super) fn text(&self, key: &BackendKey) -> Option<String> {
        let Word { saying, who, .. } = self.0.get(key)?;
        let state = if saying.up { "up" } else { "down" };
        Some(match &saying.reason {
            Some(reason) => format!("said to be {state} by {who}: {reason}"),
            None => format!("said to be {state} by {who}"),
        })
    }
}

impl Reconciler {
    /// Takes a word in, or back. The next look counts it.
    pub(super) fn say(
        &mut self,
        service: String,
        backend: IpAddr,
        saying: Option<Saying>,
        who: &str,
    ) -> Result<said::Said, Refused> {
        let Some(spec) = self.config.desired.services.get(&service) else {
            return Err(Refused::NoSuchTarget(format!("no service {service:?}")));
        };
        if !spec.backends.contains_key(&backend) {
            return Err(Refused::NoSuchTarget(format!("no backend {backend} of {service}")));
        }
        if spec.health.is_none() {
            return Err(Refused::NotChecked(service));
        }
        let key = (spec.vip, backend);
        let now = self.clock.now();
        let state = saying
            .as_ref()
            .map(|saying| if saying.up { said::State::Up } else { said::State::Down });
        let left_secs = saying.as_ref().map(|saying| saying.ttl.as_secs());
        match saying {
            Some(saying) => {
                let ttl = humantime::format_duration(saying.ttl);
                let reason = saying.reason.as_deref().unwrap_or("without a reason");
                let is = state.map_or("", said::State::name);
                warn!(service, %backend, who, "said to be {is} for {ttl}: {reason}");
                let until = now + saying.ttl;
                self.words.0.insert(key, Word { saying, who: who.to_owned(), until });
            }
            None if self.words.0.remove(&key).is_some() => {
                info!(service, %backend, who, "its health check counts again");
            }
            None => {}
        }
        Ok(said::Said { api_version: API_VERSION.into(), service, backend, state, left_secs })
    }
}
