//! The admin API as its description has it: schemathesis asks all that the description allows, and
//! what it does not, over TLS with a token, and finds no failure of the daemon and no answer that the
//! description does not know.

use std::path::Path;
use std::process::Command;

use rcgen::generate_simple_self_signed;
use tidegate_vm_tests::lab::interop::{EDGE, Interop, SOON};
use tidegate_vm_tests::lab::program;

/// As `vm-tests/setup` has it.
const SCHEMATHESIS: &str = "../target/schemathesis-4.32.0/bin/st";
/// What is looked at in every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,ignored_auth,\
                      use_after_free";

#[test]
fn schemathesis_finds_no_failure_and_no_answer_that_is_not_described() {
    let schemathesis = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCHEMATHESIS);
    assert!(
        schemathesis.exists(),
        "THERE IS NO SCHEMATHESIS, so the API was not tried against its description: \
         `vm-tests/setup root` fetches it from PyPI, and says why it cannot"
    );
    let mut job = Interop::new().unwrap();
    let dir = job.lab.dir().display().to_string();
    let certified = generate_simple_self_signed([EDGE[0].to_owned()]).unwrap();
    job.lab.write("edge.pem", &certified.cert.pem()).unwrap();
    job.lab.write("edge.key", &certified.signing_key.serialize_pem()).unwrap();
    let (tidegate, into) = (program("tidegate").unwrap(), format!("{dir}/ops"));
    let command =
        [&*tidegate.display().to_string(), "token", "ops", "-r", "operator", "--into", &into];
    let line = job.lab.run("edge", &command).unwrap();
    job.lab.write("tokens", &line).unwrap();
    let token = std::fs::read_to_string(&into).unwrap();
    // The keys come behind those of [api] that are there.
    job.configure(&format!(
        "listen = \"{}:9179\"\nrequest-rate = 10000\ntls-certificate = \"{dir}/edge.pem\"\n\
         tls-key = \"{dir}/edge.key\"\ntoken-file = \"{dir}/tokens\"\n\
         [[peer]]\nname = \"peer\"\naddress = \"203.0.113.1\"\nasn = 64512\n",
        EDGE[0]
    ))
    .unwrap();
    let ready = || job.tidegate(&["status"]);
    job.lab.wait_for("the daemon", SOON, ready).unwrap();

    // Not the upgrade: it starts whatever program a body names. Not the events that are followed:
    // they have no end.
    let arguments = [
        "run".to_owned(),
        format!("https://{}:9179/api/openapi.json", EDGE[0]),
        format!("--header=Authorization: Bearer {}", token.trim()),
        format!("--tls-verify={dir}/edge.pem"),
        format!("--checks={CHECKS}"),
        "--exclude-path=/api/v1/upgrade".to_owned(),
        "--phases=examples,coverage,fuzzing".to_owned(),
        "--max-examples=15".to_owned(),
        "--max-time=40".to_owned(),
        "--request-timeout=10".to_owned(),
        "--seed=1".to_owned(),
        "--no-color".to_owned(),
        "--generation-database=none".to_owned(),
        "--continue-on-failure".to_owned(),
        "--no-shrink".to_owned(),
    ];
    let program = schemathesis.display().to_string();
    let command: Vec<&str> =
        std::iter::once(&*program).chain(arguments.iter().map(String::as_str)).collect();
    let mut asked: Command = job.lab.command("b1", &command);
    // It leaves a folder where it stands.
    let ran = asked.current_dir(job.lab.dir()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    job.edge.as_mut().unwrap().alive().unwrap();
    // That it ran, and was let in: whoever is not gets nothing but 401, which is described.
    let number = |line: &str| line.trim().split_once(" generated")?.0.replace(',', "").parse().ok();
    let generated: usize = said.lines().find_map(number).unwrap();
    assert!(generated > 300, "{said}");
    let last = job.tidegate(&["events", "--kind", "api-changed"]).unwrap();
    assert!(last.contains("token ops"), "{last}");
}
