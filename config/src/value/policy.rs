//! Words and entries of routing policy.

use tidegate_bgp::origin::Validity;
use tidegate_bgp::policy::{self, AsPathPattern, BadPattern, CommunitySet, PrefixRange, Source};

use super::{Text, alternatives, not_a_word};

/// What follows a term, or stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Then(pub(crate) policy::Then);

words!(Source: "vip" => Self::Vip, "external" => Self::External, "internal" => Self::Internal);
words!(Validity: "valid" => Self::Valid, "invalid" => Self::Invalid,
    "not-found" => Self::NotFound; "unknown" => "write \"not-found\"");
words!(Then: "accept" => Self(policy::Then::Accept), "reject" => Self(policy::Then::Reject),
    "continue" => Self(policy::Then::Continue), "next-policy" => Self(policy::Then::NextPolicy));

/// An entry of a community set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommunityPattern(pub(crate) String);

/// Sentence and remedy for an entry that is none.
fn refused(text: &str, bad: &BadPattern) -> (String, String) {
    (bad.to_string(), format!("correct {text:?}, or remove it"))
}

impl Text for PrefixRange {
    fn kind() -> String {
        "a prefix, with `ge` and `le` if need be".into()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "examples": ["10.0.0.0/8 le 24"] })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        text.parse().map_err(|bad: BadPattern| refused(text, &bad))
    }
}

impl Text for AsPathPattern {
    fn kind() -> String {
        "an AS path pattern".into()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "examples": ["65010 *"] })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        text.parse().map_err(|bad: BadPattern| refused(text, &bad))
    }
}

impl Text for CommunityPattern {
    fn kind() -> String {
        "a community, `*` for any value".into()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "examples": ["65000:*"] })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        CommunitySet::new("", &[text]).map_err(|bad| refused(text, &bad))?;
        Ok(Self(text.to_owned()))
    }
}
