//! Route origin validation with StayRTR, Debian's RPKI cache, and routes from BIRD.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::interop::{EDGE_AS, Interop, PEER, PEER_AS, VIPS, bird};
use tidegate_vm_tests::lab::stayrtr::{Stayrtr, Vrp};

const NEAR: u16 = 8282;
const FAR: u16 = 8283;

/// Two caches, the near one preferred, and a policy that keeps invalid routes out.
fn keys() -> String {
    let [peer, _] = PEER;
    let cache = |name: &str, port: u16, expire: &str| {
        format!(
            "[[rpki-cache]]\nname = \"{name}\"\naddress = \"{peer}\"\nport = {port}\n\
             refresh = \"1s\"\nretry = \"1s\"\nexpire = \"{expire}\"\n"
        )
    };
    format!(
        "[[peer]]\nname = \"other\"\naddress = \"{peer}\"\nasn = {PEER_AS}\n\
         connect-retry = \"1s\"\nimport = [\"rov\"]\n\
         [[policy]]\nname = \"rov\"\ndefault = \"accept\"\n[[policy.term]]\nname = \"invalid\"\n\
         match = {{ rpki = \"invalid\" }}\nthen = \"reject\"\n{}{}",
        cache("near", NEAR, "12s"), // Time enough to see that it counts on.
        cache("far", FAR, "3s")
    )
}

/// Prefix, how it stands by RPKI, and what became of it.
fn stands(job: &Interop) -> anyhow::Result<Vec<String>> {
    let shown = job.tidegate(&["routes", "received", "--peer", "other", "-o", "json"])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let routes = shown.pointer("/routes").and_then(Value::as_array).context("no routes")?.iter();
    let mut stands: Vec<_> = routes
        .map(|route| {
            let text = |key: &str| route.get(key).and_then(Value::as_str).unwrap_or("-");
            format!("{} {} {}", text("prefix"), text("rpki"), text("state"))
        })
        .collect();
    stands.sort();
    Ok(stands)
}

/// Waits until the three prefixes stand like this.
fn until(job: &Interop, what: &str, expected: [&str; 3]) -> anyhow::Result<()> {
    let prefixes = ["198.18.0.0/24", "198.18.1.0/24", "2001:db8:18::/48"];
    let expected: Vec<String> =
        prefixes.iter().zip(expected).map(|(prefix, stand)| format!("{prefix} {stand}")).collect();
    job.until(what, || {
        let found = stands(job)?;
        ensure!(found == expected, "{found:?}");
        Ok(())
    })
}

#[test]
fn routes_and_vips_are_validated_by_the_first_cache_that_has_an_answer_until_it_expires() {
    let mut job = Interop::new().unwrap();
    let vip = VIPS[0];
    let good: Vec<Vrp<'_>> = vec![
        ("198.18.0.0/23", 24, PEER_AS),
        ("2001:db8:18::/48", 48, PEER_AS + 1),
        (vip, 32, EDGE_AS),
    ];
    let mut near = Stayrtr::start(&job.lab, "peer", NEAR, &good).unwrap();
    let _other = Bird::start(&job.lab, "peer", &bird()).unwrap();
    job.configure(&keys()).unwrap();
    job.wait_until_established().unwrap();
    until(&job, "what the near cache says", ["valid best", "valid best", "invalid rejected"])
        .unwrap();
    let vips = job.tidegate(&["vips"]).unwrap();
    assert!(!vips.contains("RPKI"), "{vips}");

    // It tells of changes: one route and our own VIP turn invalid, another route turns good.
    let changed: Vec<Vrp<'_>> = vec![
        ("198.18.0.0/24", 24, PEER_AS),
        ("198.18.1.0/24", 24, PEER_AS + 1),
        ("192.0.2.0/24", 24, EDGE_AS),
    ];
    near.put(&changed).unwrap();
    until(&job, "what it says then", ["valid best", "invalid rejected", "not-found best"]).unwrap();
    for (command, words) in [
        ("vips", "web-v4: RPKI: your VIP is invalid, peers that validate drop it"),
        ("status", "VIP 192.0.2.10/32 is RPKI-invalid"),
        ("rpki", "up, in use"),
    ] {
        job.until("the warning", || {
            let shown = job.tidegate(&[command])?;
            ensure!(shown.contains(words), "{shown}");
            Ok(())
        })
        .unwrap();
    }

    // It dies. What it said counts on until it expires, then what the other one says.
    let far = Stayrtr::start(&job.lab, "peer", FAR, &good).unwrap();
    job.until("the far cache to answer", || {
        let shown = job.tidegate(&["rpki"])?;
        ensure!(
            shown.lines().any(|line| line.starts_with("far") && line.contains("up")),
            "{shown}"
        );
        Ok(())
    })
    .unwrap();
    near.process.kill().unwrap();
    let stood = job.until("the near cache to be down and in use", || {
        // Only what was in force on both sides of a look says anything.
        let before = job.tidegate(&["rpki"])?;
        let stood = stands(&job)?;
        for shown in [before, job.tidegate(&["rpki"])?] {
            ensure!(shown.contains("down, in use"), "{shown}");
        }
        Ok(stood)
    });
    let as_before = [
        "198.18.0.0/24 valid best",
        "198.18.1.0/24 invalid rejected",
        "2001:db8:18::/48 not-found best",
    ];
    assert_eq!(stood.unwrap(), as_before);
    until(&job, "what the far cache says", ["valid best", "valid best", "invalid rejected"])
        .unwrap();
    drop(far);
    until(&job, "nothing to be known", ["- best", "- best", "- best"]).unwrap();
    job.until("caches without VRPs", || {
        let shown = job.tidegate(&["rpki"])?;
        ensure!(shown.contains("no VRPs are in force"), "{shown}");
        Ok(())
    })
    .unwrap();
}
