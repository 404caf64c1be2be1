use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tests::BASE;
use crate::tests::round_trip::{desired, render};

fn service(name: &str) -> Target {
    Target { kind: Kind::Service, name: name.into(), backend: None }
}

fn backend(name: &str, addr: &str) -> Target {
    Target { backend: Some(addr.parse().unwrap()), ..service(name) }
}

/// The overlay after edits that are all sound.
fn after(edits: &[(Target, Edit)]) -> Overlay {
    edits.iter().fold(Overlay::default(), |overlay, (target, edit)| {
        overlay.edited(BASE, target, edit.clone()).unwrap()
    })
}

fn checked(overlay: &Overlay) -> crate::Desired {
    check_with("tidegate.toml", BASE, overlay).unwrap_or_else(|found| panic!("{found}")).desired
}

#[test]
fn an_edit_wins_over_the_file() {
    let www = json!({ "vip": "198.51.100.11", "port": 80, "backend": [{ "address": "10.0.0.9" }] });
    let overlay = after(&[
        (service("www"), Edit::Put(www)),
        (service("web"), Edit::Patch(json!({ "drain": "5m", "echo": null }))),
        (backend("web", "10.0.0.12"), Edit::Put(json!({ "weight": 3 }))),
        (backend("web", "10.0.0.11"), Edit::Patch(json!({ "weight": 7 }))),
    ]);
    let desired = checked(&overlay);
    assert_eq!(desired.services.len(), 2);
    let web = &desired.services["web"];
    assert_eq!(web.drain.as_secs(), 300);
    let weights: Vec<u16> = web.backends.values().map(|backend| backend.weight).collect();
    assert_eq!(weights, [7, 3]);
    let covers: Vec<_> = overlay.covers(BASE).into_iter().map(|(t, c)| (t.name, c)).collect();
    assert_eq!(covers, [("web".into(), Covers::Replaces), ("www".into(), Covers::Adds)]);
}

#[test]
fn what_is_taken_back_is_forgotten() {
    let put = json!({ "vip": "198.51.100.11", "port": 80, "backend": [{ "address": "10.0.0.9" }] });
    let gone = after(&[(service("www"), Edit::Put(put)), (service("www"), Edit::Delete)]);
    assert!(gone.is_empty());
    let patched = after(&[(service("web"), Edit::Patch(json!({ "drain": "5m" })))]);
    assert!(
        patched
            .edited(BASE, &service("web"), Edit::Patch(json!({ "drain": null })))
            .unwrap()
            .is_empty()
    );

    let mut removed = after(&[(service("web"), Edit::Delete)]);
    assert!(checked(&removed).services.is_empty());
    assert_eq!(removed.covers(BASE), [(service("web"), Covers::Removes)]);
    assert!(removed.forget(Kind::Service, "web") && !removed.forget(Kind::Service, "web"));
    assert_eq!(checked(&removed).services.len(), 1);
}

#[test]
fn an_edit_that_makes_no_sense_is_refused() {
    let cases = [
        (service("nope"), Edit::Delete, "there is no service nope"),
        (service("nope"), Edit::Patch(json!({})), "there is no service nope"),
        (backend("web", "10.9.9.9"), Edit::Delete, "there is no service web backend 10.9.9.9"),
        (
            backend("nope", "10.9.9.9"),
            Edit::Put(json!({})),
            "there is no service nope backend 10.9.9.9",
        ),
        (
            service("web"),
            Edit::Put(json!({ "name": "www" })),
            "name must be web as in the path, or left out",
        ),
        (
            service("web"),
            Edit::Put(json!([1])),
            "the body must be a JSON object of keys: invalid type: sequence, expected a map",
        ),
    ];
    for (target, edit, expected) in cases {
        let error = Overlay::default().edited(BASE, &target, edit).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn mistakes_of_the_file_keep_their_places_and_others_name_the_api() {
    let broken = BASE.replace("port = 80", "port = 0");
    let overlay = after(&[(service("web"), Edit::Patch(json!({ "port": 70000 })))]);
    let file = check_with("tidegate.toml", &broken, &overlay).unwrap_err().to_string();
    assert!(file.starts_with("tidegate.toml:14:8: error: service.web.port"), "{file}");
    let api = check_with("tidegate.toml", BASE, &overlay).unwrap_err().to_string();
    assert!(api.contains("with what the API changed"), "{api}");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(serde_json::Value::from),
    ];
    let key = prop_oneof![Just("name".to_owned()), Just("address".to_owned()), ".{0,6}"];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_read_as_it_was(
        names in proptest::collection::vec("[a-z]{1,3}", 0..6),
        bodies in proptest::collection::vec(any_json(), 6),
        deletes in any::<u8>(),
    ) {
        let mut overlay = Overlay::default();
        for (number, (name, body)) in names.iter().zip(bodies).enumerate() {
            let kind = Kind::ALL[number % 2];
            let target = Target { kind, name: name.clone(), backend: None };
            let delete = deletes >> number & 1 == 1;
            let edit = if delete { Edit::Delete } else { Edit::Put(body) };
            // Whatever comes in: refused, or kept.
            overlay = overlay.edited(BASE, &target, edit).unwrap_or(overlay);
        }
        prop_assert_eq!(Overlay::from_toml(&overlay.to_toml()), Ok(overlay));
    }

    #[test]
    fn putting_every_object_of_another_file_makes_it_that_file(one in desired(), other in desired()) {
        let (mut one, mut other) = (one, other);
        // The API changes peers and services.
        one.keychains.extend(other.keychains);
        other.keychains = one.keychains.clone();
        other.router = one.router.clone();
        other.datapath = one.datapath.clone();
        other.guard = one.guard.clone();
        other.flows = one.flows;
        other.nat = one.nat.clone();
        other.decision = one.decision;
        (other.rpki_caches, other.bmp_stations, other.mrt) =
            (one.rpki_caches.clone(), one.bmp_stations.clone(), one.mrt.clone());
        let (file, wanted) = (render(&one), render(&other));
        let mut overlay = Overlay::default();
        for kind in Kind::ALL {
            let target = |name: &String| Target { kind, name: name.clone(), backend: None };
            for name in objects(&file, kind).keys() {
                overlay = overlay.edited(&file, &target(name), Edit::Delete).unwrap();
            }
            for (name, body) in objects(&wanted, kind) {
                overlay = overlay.edited(&file, &target(&name), Edit::Put(body)).unwrap();
            }
        }
        let checked = check_with("a.toml", &file, &overlay);
        prop_assert_eq!(checked.map(|checked| checked.desired), Ok(other));
        let kept = Overlay::from_toml(&overlay.to_toml()).unwrap();
        prop_assert_eq!(kept.over(&file), overlay.over(&file));
    }
}
