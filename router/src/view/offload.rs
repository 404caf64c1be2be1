//! What `tidegate offload plan` says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidegate_abi::{BACKENDS_MAX, RING_SLOTS_MAX, SERVICES_MAX, ring_size};
use tidegate_config::Desired;
use tidegate_plan::card::device::{Device, Needs, Object, objections};
use tidegate_plan::card::why_up;

use super::API_VERSION;

/// Whether cards take the program, and what of a configuration it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OffloadPlan {
    /// [`API_VERSION`]
    pub(crate) api_version: String,
    /// What the program needs.
    pub(crate) program: Program,
    /// What each kind of card has against it.
    pub(crate) cards: Vec<Card>,
    /// Services, and whether the card serves them.
    pub(crate) services: Vec<OnCard>,
    /// What the configuration takes up of the maps.
    pub(crate) room: Vec<Room>,
}

/// What the program needs of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) instructions: usize,
    pub(crate) stack_bytes: u32,
    pub(crate) calls: usize,
    pub(crate) maps: usize,
    pub(crate) map_entries: u64,
    pub(crate) map_bytes: u64,
}

/// One kind of card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    /// Name of its driver.
    pub(crate) device: String,
    /// Nothing speaks against it.
    pub(crate) fits: bool,
    /// What does.
    pub(crate) objections: Vec<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OnCard {
    pub(crate) service: String,
    #[serde(rename = "on_card")]
    pub(crate) is_served: bool,
    /// Why its packets go up to the host.
    pub(crate) why_up: Vec<String>,
}

/// One kind of entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) what: String,
    pub(crate) used: usize,
    pub(crate) of: u32,
}

impl OffloadPlan {
    /// Of this program, these cards and this configuration.
    pub(crate) fn new(object: &Object, devices: &[Device], desired: &Desired) -> Self {
        let Needs { instructions, stack_bytes, calls, maps, entries, bytes } = Needs::of(object);
        let program = Program {
            name: object.name.clone(),
            instructions,
            stack_bytes,
            calls,
            maps,
            map_entries: entries,
            map_bytes: bytes,
        };
        let card = |device: &Device| {
            let objections: Vec<String> =
                objections(object, device).iter().map(ToString::to_string).collect();
            Card { device: device.name.into(), fits: objections.is_empty(), objections }
        };
        let services: Vec<OnCard> = desired
            .services
            .keys()
            .map(|name| {
                let why_up: Vec<String> =
                    why_up(name, desired).into_iter().map(str::to_owned).collect();
                OnCard { service: name.clone(), is_served: why_up.is_empty(), why_up }
            })
            .collect();
        let room = room(&services, desired);
        let cards = devices.iter().map(card).collect();
        Self { api_version: API_VERSION.into(), program, cards, services, room }
    }
}

/// What those services take up that the card serves.
fn room(services: &[OnCard], desired: &Desired) -> Vec<Room> {
    let on_card = services.iter().filter(|it| it.is_served);
    let on_card: Vec<_> = on_card.filter_map(|it| desired.services.get(&it.service)).collect();
    let ports = on_card.iter().map(|it| usize::from(it.last_port - it.vip.port) + 1);
    let vips: BTreeSet<_> = on_card.iter().map(|it| it.vip.addrs).collect();
    // Services with the same backends share a ring.
    let farms: BTreeSet<Vec<_>> = on_card
        .iter()
        .map(|it| it.backends.iter().map(|(addr, backend)| (*addr, backend.weight)).collect())
        .collect();
    let slots = farms.iter().map(|farm| ring_size(u32::try_from(farm.len()).unwrap_or(u32::MAX)));
    let slots: u64 = slots.map(u64::from).sum();
    let backends: BTreeSet<_> = on_card
        .iter()
        .flat_map(|it| {
            it.backends.keys().map(|addr| (it.mode as u8, it.vip.addr().is_ipv4(), *addr))
        })
        .collect();
    let row = |what: &str, used, of| Room { what: what.into(), used, of };
    vec![
        row("services and VIPs", ports.sum::<usize>() + vips.len(), SERVICES_MAX),
        row("ring slots", usize::try_from(slots).unwrap_or(usize::MAX), RING_SLOTS_MAX),
        row("backends", backends.len(), BACKENDS_MAX),
    ]
}
