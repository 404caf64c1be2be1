//! Frames run through a loaded program, without a wire (`BPF_PROG_TEST_RUN`).

use aya::programs::{TestRun as _, TestRunOptions, Xdp};

use super::error::Error;
use super::{TestRun, Verdict};

/// Runs one frame through an XDP program.
pub(crate) fn test_run(
    program: &Xdp,
    frame: &[u8],
    ingress_ifindex: u32,
) -> Result<TestRun, Error> {
    let (returned, frame) = run(program, frame, ingress_ifindex)?;
    Ok(TestRun { verdict: Verdict::of(returned), frame })
}

/// The same, with the return value as it is.
pub(super) fn run(
    program: &Xdp,
    frame: &[u8],
    ingress_ifindex: u32,
) -> Result<(u32, Vec<u8>), Error> {
    /// The longest header that is put in front, and then some.
    const GROWTH_MAX: usize = 64;
    let failed = |error| Error::kernel(format!("test-run a frame of {} bytes", frame.len()), error);
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let data_end = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let context: Vec<u8> = [0, data_end, 0, ingress_ifindex, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect();
    let mut out = vec![0; frame.len() + GROWTH_MAX];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).map_err(failed)?;
    out.truncate(usize::try_from(result.data_size_out).unwrap_or(usize::MAX));
    Ok((result.return_value, out))
}
