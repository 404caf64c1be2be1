//! Other kernels than this one: the programs load, and every golden frame comes out as it does
//! here. Each machine is given the very test program that runs on this kernel.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step fails the test")]

use tidegate_vm_tests::vm::load::Report;
use tidegate_vm_tests::vm::{KERNELS, Kernel, Machine, Vm, test_program, tests_in};

/// In seconds; alone on a machine it takes a tenth of it.
const GOLDEN_FRAMES_MAX: u64 = 3_600;
/// Tests that run tens of thousands of frames through the same instructions, or start as many
/// processes: half an hour in software, and nothing that another kernel could do differently. And the
/// one that holds the verifier to what this kernel's has to do: others have [`VERIFIED_MAX`].
const LEFT_TO_THIS_KERNEL: [&str; 7] = [
    "pins::the_verifier_has_an_easy_task",
    "echo::the_checksum_holds_at_every_edge",
    "echo::any_payload_any_ttl_the_checksums_hold",
    "pins::a_daemon_killed_at_any_point_of_its_start_leaves_what_the_next_one_takes",
    "nat_full::a_full_table_refuses_new_connections_and_keeps_all_that_it_has",
    "ring::a_full_flow_table_is_counted_and_breaks_nobody",
    "ring::a_full_flow_table_is_counted_once_where_two_programs_look_for_the_owner",
];
/// Instructions that the verifier may walk through in one program. The kernel allows a million;
/// whoever gets near that has a program that the next kernel may refuse.
const VERIFIED_MAX: u32 = 500_000;

fn check(kernel: Kernel) {
    let program = test_program(&["--test", "golden_frames"], "golden_frames").unwrap();
    let name = format!("kernel-{}", kernel.name);
    let mut vm = Vm::boot(&Machine {
        name: &name,
        kernel,
        modules: &["veth"],
        programs: &[program.to_str().unwrap(), "bpftool"],
        memory: 2048,
        ..Machine::default()
    })
    .unwrap();
    assert_eq!(vm.release, kernel.release().unwrap());

    let report: Report = serde_json::from_str(&vm.run("exec /init load").unwrap()).unwrap();
    println!("{} booted in {:?}; loads in {} ms", vm.release, vm.boot, report.millis);
    assert!(report.programs.len() >= 3, "{report:?}");
    for program in &report.programs {
        println!("    {program:?}");
        assert!(program.verified > 0 && program.verified < VERIFIED_MAX, "{program:?}");
        assert!(program.jited > 0, "{program:?}");
    }

    for name in LEFT_TO_THIS_KERNEL {
        assert_eq!(tests_in(&program, name).unwrap(), 1, "{name} has another name now");
    }
    let count = tests_in(&program, "").unwrap() - LEFT_TO_THIS_KERNEL.len();
    let wanted = format!("test result: ok. {count} passed; 0 failed; 0 ignored");
    let path = format!("/usr/bin/{}", program.file_name().unwrap().to_str().unwrap());
    let skip = LEFT_TO_THIS_KERNEL.map(|name| format!("--skip {name}")).join(" ");
    let run = format!("RUST_BACKTRACE=0 {path} --exact {skip} 2>&1");
    let said = vm.run_within(&run, GOLDEN_FRAMES_MAX).unwrap();
    assert!(said.contains(&wanted), "wanted \"{wanted}\" in\n{said}");
    println!("    {}", said.trim_end().lines().last().unwrap());
}

#[test]
fn vm_golden_frames_pass_on_6_1() {
    check(KERNELS[0]);
}

#[test]
fn vm_golden_frames_pass_on_6_12() {
    check(KERNELS[1]);
}

#[test]
fn vm_golden_frames_pass_on_the_newest_kernel() {
    check(KERNELS[2]);
}
