//! What the kernel tells by no file: offloads of a driver (ethtool's ioctl), and whether the clock
//! is kept in time; and the address of a host on the link, which no safe crate can write down.

#![expect(unsafe_code, reason = "ioctl(2) and adjtimex(2), with structures the kernel defines")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use socket2::{Domain, SockAddr, Socket, Type};

// linux/ethtool.h
const GET_DRIVER: u32 = 0x3;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const STRINGS_OF_FEATURES: u32 = 4;
const STRING_BYTES: usize = 32;
/// `struct ethtool_drvinfo`
const DRIVER_BYTES: usize = 196;
/// There are some 60; a kernel with more than that is from another world.
const FEATURES_MAX: u32 = 1024;

/// What a driver says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Driver {
    /// Its name.
    pub(super) name: Option<String>,
    /// Names of the features that are on.
    pub(super) features: Option<Vec<String>>,
}

/// Asks the driver of an interface; what it does not tell is missing.
pub(super) fn driver(interface: &str) -> io::Result<Driver> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut info = vec![0_u32; DRIVER_BYTES / 4];
    set(&mut info, 0, GET_DRIVER);
    let name = ethtool(&socket, interface, &mut info).ok();
    let name = name.and_then(|()| text(bytes(&info).get(4..36)?));
    Ok(Driver { name, features: features(&socket, interface).ok() })
}

/// Names of the features that are on.
fn features(socket: &Socket, interface: &str) -> io::Result<Vec<String>> {
    // struct ethtool_sset_info: cmd, reserved, a mask of two words, a length for each bit.
    let mut info = [GET_SET_INFO, 0, 1 << STRINGS_OF_FEATURES, 0, 0];
    ethtool(socket, interface, &mut info)?;
    let [.., count] = info;
    if count == 0 || count > FEATURES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let many = usize::try_from(count).map_err(io::Error::other)?;
    // struct ethtool_gstrings: cmd, set, length, and the strings.
    let mut strings = vec![0; 3 + many * STRING_BYTES / 4];
    for (at, word) in [GET_STRINGS, STRINGS_OF_FEATURES, count].into_iter().enumerate() {
        set(&mut strings, at, word);
    }
    ethtool(socket, interface, &mut strings)?;
    // struct ethtool_gfeatures: cmd, blocks, and for each 32 available, requested, active, never changed.
    let blocks = many.div_ceil(32);
    let mut state = vec![0; 2 + blocks * 4];
    set(&mut state, 0, GET_FEATURES);
    set(&mut state, 1, u32::try_from(blocks).map_err(io::Error::other)?);
    ethtool(socket, interface, &mut state)?;
    let is_on = |at: usize| {
        let active = state.get(2 + at / 32 * 4 + 2).copied().unwrap_or(0);
        active >> (at % 32) & 1 == 1
    };
    let names = bytes(strings.get(3..).unwrap_or_default());
    let names = names.chunks(STRING_BYTES).enumerate().filter(|(at, _)| is_on(*at));
    Ok(names.filter_map(|(_, name)| text(name)).collect())
}

fn set(words: &mut [u32], at: usize, word: u32) {
    words.iter_mut().skip(at).take(1).for_each(|place| *place = word);
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A string that ends with its first zero, or with the room for it.
fn text(octets: &[u8]) -> Option<String> {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    let text = String::from_utf8_lossy(octets.get(..end)?).into_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// One question of ethtool's: the answer takes the place of the question.
fn ethtool(socket: &impl AsFd, interface: &str, words: &mut [u32]) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    let has_room = interface.len() < name.len() && !interface.contains('\0');
    if !has_room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, octet) in name.iter_mut().zip(interface.bytes()) {
        *place = octet.cast_signed();
    }
    let data = words.as_mut_ptr().cast();
    let mut request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data } };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `request` and the words it points to live until the call returns, and the first words
    // say how many of them the kernel may write, by the callers above.
    let result = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether something keeps the clock in time.
pub(super) fn clock_in_time() -> Option<bool> {
    // SAFETY: a structure of integers, for which zero is a value: it asks and sets nothing.
    let mut asked: libc::timex = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes into a value of ours.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    (state >= 0).then_some(asked.status & libc::STA_UNSYNC == 0)
}

/// A MAC address on the link of an interface, for IP packets of this version (packet(7)).
pub(super) fn on_link(ifindex: u32, mac: [u8; 6], is_v4: bool) -> io::Result<SockAddr> {
    let protocol = if is_v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
    let mut sll_addr = [0; 8];
    sll_addr.iter_mut().zip(mac).for_each(|(place, octet)| *place = octet);
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: u16::try_from(protocol).map_err(io::Error::other)?.to_be(),
        sll_ifindex: i32::try_from(ifindex).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    };
    let address_bytes =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    let fill = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        // SAFETY: the storage has room for an address of any family, and is aligned for it.
        unsafe { storage.cast::<libc::sockaddr_ll>().write(address) };
        // SAFETY: `len` is the length that goes with it.
        unsafe { len.write(address_bytes) };
        Ok(())
    };
    // SAFETY: the closure writes an address of the family that it names, and its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_tells_its_features() {
        let driver = driver("lo").unwrap();
        let features = driver.features.unwrap();
        assert!(features.iter().any(|name| name == "tx-checksum-ip-generic"), "{features:?}");
        assert!(!features.iter().any(|name| name == "rx-lro"), "{features:?}");
        assert_eq!(super::driver("no-such-thing").unwrap(), Driver::default());
        assert!(
            ethtool(
                &Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap(),
                &"x".repeat(16),
                &mut []
            )
            .is_err()
        );
    }

    #[test]
    fn the_clock_tells_whether_it_is_kept() {
        assert!(clock_in_time().is_some());
    }
}
