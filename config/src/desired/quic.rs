//! Connection ids of QUIC.

use core::fmt;

use tidegate_abi::SERVER_ID_MAX;

/// What a server calls itself in connection ids of QUIC: 1 to 15 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId {
    octets: [u8; SERVER_ID_MAX],
    len: u8,
}

impl ServerId {
    /// `None`: no octets, or more than there may be.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let len = u8::try_from(octets.len()).ok().filter(|len| *len > 0)?;
        let mut id = Self { octets: [0; SERVER_ID_MAX], len };
        id.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(id)
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.octets().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
