//! TCP-AO on a kernel that has it: the newest one of Debian's. Here, as on 6.1 and 6.12, the same
//! test can only show that keys are refused.

use std::path::Path;

use tidegate_vm_tests::vm::{KERNELS, Machine, Vm, test_program};

const TEST: &str = "bgp_io::keys::tests::tcp_ao_signs_where_the_kernel_has_it_and_is_refused_with_the_reason_elsewhere";

#[test]
fn vm_tcp_ao_signs_sessions_on_the_newest_kernel() {
    let program = test_program(&["--lib"], "tidegate").unwrap();
    let [.., kernel] = KERNELS;
    let mut vm = Vm::boot(&Machine {
        name: "tcp-ao",
        kernel,
        programs: &[program.to_str().unwrap()],
        memory: 512,
        ..Machine::default()
    })
    .unwrap();
    let file = Path::new(&program).file_name().unwrap().to_str().unwrap();
    let signs = format!("ip link set lo up; SIGNS_BY_TCP_AO=1 /usr/bin/{file} --exact {TEST} 2>&1");
    let said = vm.run(&signs).unwrap();
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
    println!("{}: {}", vm.release, said.trim_end().lines().last().unwrap());
}
