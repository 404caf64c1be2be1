//! What was typed of routing policy.

use tidegate_bgp::origin::Validity;
use tidegate_bgp::policy::{AsPathPattern, PrefixRange, Source};
use tidegate_bgp::types::{Community, Family, LargeCommunity};

use crate::read::Need::{Default, Optional, Required};
use crate::read::{List, Tables, table};
use crate::value::{CommunityPattern, Int, Name, Then};

table! {
    /// A named set of prefixes for policies.
    pub(crate) struct PrefixSetTable as "prefix-set" {
        /// Its name in terms.
        "name" => name: Name, Required;
        /// The prefixes, with a range of lengths if those below belong too:
        /// `"10.0.0.0/8 le 24"`, `"2001:db8::/32 ge 48 le 64"`.
        "prefixes" => prefixes: List<PrefixRange>, Required;
    }
}

table! {
    /// A named set of AS paths for policies.
    pub(crate) struct AsPathSetTable as "as-path-set" {
        /// Its name in terms.
        "name" => name: Name, Required;
        /// Patterns of whole paths, nearest AS first: numbers, ranges as `64512-65534`, `?` for any
        /// one AS, `*` for any number of them. `"65010 *"` comes from neighbour 65010, `"* 65020"`
        /// begins in AS 65020.
        "paths" => paths: List<AsPathPattern>, Required;
    }
}

table! {
    /// A named set of communities for policies.
    pub(crate) struct CommunitySetTable as "community-set" {
        /// Its name in terms.
        "name" => name: Name, Required;
        /// Communities, large ones too, `*` for any value: `"65000:100"`, `"65000:*"`,
        /// `"65000:1:*"`, `"no-export"`.
        "communities" => communities: List<CommunityPattern>, Required;
    }
}

table! {
    /// A routing policy: terms in order, for the import and export chains of peers.
    pub(crate) struct PolicyTable as "policy" {
        /// Its name in chains.
        "name" => name: Name, Required;
        /// Its terms; the first that holds and does not say to go on decides.
        "term" => terms: Tables<TermTable>, Default("[]");
        /// What happens to a route that no term has decided about: `"accept"`, `"reject"`, or
        /// `"next-policy"` to ask the next one of the chain. A VIP is not rejected by default, only
        /// by a term.
        "default" => default: Then, Default("\"reject\"");
    }
    hints {
        "terms" => "write [[policy.term]]",
        "action" => "write default",
    }
}

table! {
    /// A term of the policy above it.
    pub(crate) struct TermTable as "policy.term" {
        /// Its name in `tidegate policy test`.
        "name" => name: Name, Required;
        /// What must hold, all of it. When absent: it holds for every route.
        "match" => matches: MatchTable, Optional;
        /// What is changed if it does.
        "set" => set: SetTable, Optional;
        /// What follows: `"accept"`, `"reject"`, `"continue"` with the next term, `"next-policy"`.
        "then" => then: Then, Required;
    }
    hints {
        "action" => "write then",
        "prefix-set" => "write it in match = { … }",
        "community-set" => "write it in match = { … }",
        "as-path-set" => "write it in match = { … }",
        "local-pref" => "write it in set = { … }",
        "med" => "write it in set = { … }",
    }
}

table! {
    /// What a term asks of a route.
    pub(crate) struct MatchTable as "policy.term.match" {
        /// The prefix is in this set.
        "prefix-set" => prefix_set: Name, Optional;
        /// The prefix is not in this set.
        "not-prefix-set" => not_prefix_set: Name, Optional;
        /// The AS path is in this set.
        "as-path-set" => as_path_set: Name, Optional;
        /// The AS path is not in this set.
        "not-as-path-set" => not_as_path_set: Name, Optional;
        /// One of the communities is in this set.
        "community-set" => community_set: Name, Optional;
        /// None of the communities is in this set.
        "not-community-set" => not_community_set: Name, Optional;
        /// It is a route of this family.
        "family" => family: Family, Optional;
        /// Who brought it: `"vip"` a service of ours, `"external"` a peer in another AS,
        /// `"internal"` one in ours.
        "source" => source: Source, Optional;
        /// Whether the AS that originates it may (RFC 6811): `"valid"`, `"invalid"`, or
        /// `"not-found"` if no RPKI cache has a word on it.
        "rpki" => rpki: Validity, Optional;
        /// The AS path has so many hops at most.
        "path-length-max" => path_length_max: Int<u32, 0, 4096>, Optional;
        /// The AS path has so many hops at least.
        "path-length-min" => path_length_min: Int<u32, 0, 4096>, Optional;
    }
}

table! {
    /// What a term changes.
    pub(crate) struct SetTable as "policy.term.set" {
        /// LOCAL_PREF.
        "local-pref" => local_pref: Int<u32, 0, 4_294_967_295>, Optional;
        /// MULTI_EXIT_DISC.
        "med" => med: Int<u32, 0, 4_294_967_295>, Optional;
        /// Our AS is put in front of the path so many times more.
        "prepend" => prepend: Int<u8, 0, 10>, Default("0");
        /// Communities of this set are taken away, before others are added.
        "remove-communities" => remove_communities: Name, Optional;
        /// Communities that are added.
        "add-communities" => add_communities: List<Community>, Default("[]");
        /// Large communities that are added.
        "add-large-communities" => add_large_communities: List<LargeCommunity>, Default("[]");
    }
}
