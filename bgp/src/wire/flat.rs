//! For tests: an UPDATE with everything decoded and owned, so that it can be compared.

use super::block::Attributes;
use super::message::{NextHop, Treatment};
use super::update::Update;
use crate::types::{Family, Prefix};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flat {
    pub(crate) withdrawn: Vec<Prefix>,
    pub(crate) announced: Vec<Prefix>,
    /// Of a second family in the same message.
    pub(crate) announced_second: Option<(NextHop, Vec<Prefix>)>,
    pub(crate) attributes: Option<Attributes>,
    pub(crate) end_of_rib: Option<Family>,
    pub(crate) disable: Option<Family>,
    pub(crate) repaired: Vec<(u8, Treatment, &'static str)>,
}

impl From<Update<'_>> for Flat {
    fn from(update: Update<'_>) -> Self {
        let mut announced = update.announced().map(|routes| {
            let prefixes: Vec<Prefix> = routes.nlri.prefixes().map(|(_, prefix)| prefix).collect();
            (prefixes, Attributes::from_block(&routes.block))
        });
        let (first, second) = (announced.next(), announced.next());
        let (announced, attributes) = first.unzip();
        Self {
            withdrawn: update.withdrawn().flat_map(|n| n.prefixes().map(|(_, p)| p)).collect(),
            announced: announced.unwrap_or_default(),
            announced_second: second
                .map(|(prefixes, attributes)| (attributes.next_hop.unwrap(), prefixes)),
            attributes,
            end_of_rib: update.end_of_rib,
            disable: update.disable,
            repaired: update.repaired.iter().map(|r| (r.attribute, r.treatment, r.what)).collect(),
        }
    }
}
