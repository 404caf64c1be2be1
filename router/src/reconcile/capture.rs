//! Packets that somebody captures. The program that does it is in place for as long as somebody reads,
//! and no longer: then it is the one of the configuration again.

use std::convert::Infallible;
use std::time::Duration;

use tidegate_bgp::time::Timestamp;
use tidegate_plan::capture::Wanted;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;
use tracing::{error, info};

use crate::bpf_io::Datapath;
use crate::bpf_io::sys::monotonic_ns;
use crate::capture_io::Capture;
use crate::change::Refused;
use crate::clock::Clock;
use crate::view::capture::{Asked, vip_of};

use super::reload::load_capturing;
use super::{Reconciler, reload};

/// When the program could not be put back, it is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// A capture that runs, or has ended and left its program.
#[derive(Debug)]
pub(super) struct Capturing {
    who: String,
    /// `None`: nobody reads any more.
    reader: Option<oneshot::Receiver<Infallible>>,
    again_at: Timestamp,
}

impl Capturing {
    /// Whether somebody still reads.
    fn is_read(&mut self) -> bool {
        let reader = self.reader.as_mut().map(oneshot::Receiver::try_recv);
        let is_read = matches!(reader, Some(Err(TryRecvError::Empty)));
        if !is_read {
            self.reader = None; // It has said so, and says it no second time.
        }
        is_read
    }
}

/// Waits until a capture is over, or its end is to be tried again; without one for ever.
pub(super) async fn over(capturing: &mut Option<Capturing>, clock: Clock) {
    match capturing {
        None => std::future::pending().await,
        Some(Capturing { reader: Some(reader), .. }) => drop(reader.await),
        Some(Capturing { again_at, .. }) => clock.sleep_until(Some(*again_at)).await,
    }
}

impl Reconciler {
    /// Puts a program in place that captures.
    pub(super) async fn begin_capture(
        &mut self,
        asked: Asked,
        who: &str,
    ) -> Result<Capture, Refused> {
        if let Some(running) = &mut self.capturing
            && running.is_read()
        {
            return Err(Refused::Capturing(running.who.clone()));
        }
        let services = self.config.desired.services.iter();
        let vips = services.map(|(name, service)| (name.as_str(), service.vip.addrs));
        let vip = asked.vip.as_ref().map(|vip| vip_of(vip, vips)).transpose();
        let vip = vip.map_err(Refused::NoSuchVip)?.or(asked.wanted.vip);
        let (wanted, count) = (Wanted { vip, ..asked.wanted }, asked.count);
        let within_ns = u64::try_from(asked.within.as_nanos()).unwrap_or(u64::MAX);
        let until = Instant::now() + asked.within;
        let filter = wanted.filter(monotonic_ns().saturating_add(within_ns));
        let mut program = load_capturing(&self.config.desired, &filter)?;
        let captures = program.take_captures().ok_or(Refused::NoCapture)?;
        self.put_program(program).await?;
        let links = self.parts.datapath.links().iter();
        let interfaces = links.map(|link| (link.ifindex, link.interface.clone())).collect();
        let (reader, gone) = oneshot::channel();
        let (who, again_at) = (who.to_owned(), self.clock.now());
        self.capturing = Some(Capturing { who: who.clone(), reader: Some(gone), again_at });
        self.named_at = None;
        info!(who, "capture begins: {}", asked.words);
        let (names, snap, words) = (self.parts.flows.names(), wanted.snap, asked.words);
        Ok(Capture { captures, names, interfaces, snap, count, until, who, words, reader })
    }

    /// Puts the program of the configuration back.
    pub(super) async fn end_capture(&mut self) {
        let Some(Capturing { who, .. }) = self.capturing.take() else { return };
        info!(who, "nobody captures any more: the former program comes back");
        let put = match reload::load(&self.config.desired) {
            Ok(program) => self.put_program(program).await,
            Err(problem) => Err(problem.into()),
        };
        if let Err(problem) = put {
            error!(
                "the capture is over and its program cannot be replaced yet: {problem}; trying again \
                 every second, packets are forwarded meanwhile"
            );
            let again_at = self.clock.now() + AGAIN;
            self.capturing = Some(Capturing { who, reader: None, again_at });
        }
    }

    /// Another program for the same configuration.
    async fn put_program(&mut self, program: Datapath) -> Result<(), Refused> {
        // What the old one leaves behind is pinned, as if its daemon had gone.
        self.parts.datapath = program;
        let router = &self.config.desired.router;
        let attached = self.parts.datapath.attach(&router.interfaces, router.attach).map(drop);
        self.read_flows().await;
        // What is not attached is tried again by the loop.
        Ok(attached?)
    }
}
