//! The proof copy of the packet path: the same object with the same maps, attached nowhere, and
//! with the one constant set that makes it leave no trace
//! ([`features::PROOF`]). Test packets are run
//! through it.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::Ebpf;
use aya::programs::{ProgramError, Xdp};
use tidegate_abi::{CaptureFilter, DatapathConfig, features};
use tidegate_plan::proof::{self, Finding};

use super::error::Error;
use super::run::run;
use super::{PROGRAM, capture, load, open, sys, xdp};

/// A program that decides as the attached one does.
pub(crate) struct ProofCopy(Ebpf);

impl ProofCopy {
    /// Loads the copy of `live`, a program with these constants and the maps pinned in `pin_dir`.
    ///
    /// # Errors
    /// What the kernel has against it; and pins that are not those of `live` any more.
    pub(crate) fn load(
        config: &DatapathConfig,
        pin_dir: &Path,
        live: &Ebpf,
    ) -> Result<Self, Error> {
        let features = config.features | features::PROOF;
        let mut ebpf = open(
            &DatapathConfig { features, ..*config },
            &CaptureFilter::default(),
            Some(pin_dir),
        )?;
        load(&mut ebpf, &[PROGRAM])?;
        let unknown = |error| Error::program(PROGRAM, error);
        let ours = map_ids(xdp(live)?).map_err(unknown)?;
        let copy = map_ids(xdp(&ebpf)?).map_err(unknown)?;
        // Each has its own constants, which are a map too; all else must be shared.
        if ours.difference(&copy).count() > 1 {
            return Err(Error::OtherMaps { path: pin_dir.to_owned() });
        }
        capture::forget(&mut ebpf);
        Ok(Self(ebpf))
    }

    /// What the packet path does with this frame, had it come in by that interface. No counter
    /// moves, nothing is sent or remembered.
    pub(crate) fn run(&self, frame: &[u8], ingress_ifindex: u32) -> Finding {
        match xdp(&self.0).and_then(|program| run(program, frame, ingress_ifindex)) {
            Ok((returned, frame)) => proof::read(returned, &frame),
            Err(_refused) => Finding::NotRun,
        }
    }
}

fn map_ids(program: &Xdp) -> Result<BTreeSet<u32>, ProgramError> {
    Ok(sys::map_ids(program.fd()?.as_fd())?)
}
