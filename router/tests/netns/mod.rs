//! Network namespaces for tests. Each belongs to a thread and ends with it, so nothing is left
//! behind even by a test that is killed. Needs root.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and the thread that lives in it.
pub(crate) struct Peer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
            for job in todo {
                job();
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Does something in the namespace.
    pub(crate) fn enter<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        let job = Box::new(move || drop(sender.send(job())));
        self.jobs.as_ref().unwrap().send(job).expect("a job in the namespace failed");
        result.recv().expect("the job failed")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Runs a command in the namespace of this thread; its output.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace with `tg0` (192.0.2.1, 2001:db8::1) that leads to `peer` (.2, ::2) over a veth.
pub(crate) fn lab(test: impl AsyncFnOnce(&Peer) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
        let peer = Peer::start();
        let thread_id = peer.enter(nix::unistd::gettid);
        run("ip link set lo up");
        run(&format!(
            "ip link add tg0 address 02:00:00:00:00:01 type veth peer name peer address \
             02:00:00:00:00:02 netns {thread_id}"
        ));
        run("ip addr add 192.0.2.1/24 dev tg0");
        run("ip addr add 2001:db8::1/64 dev tg0 nodad");
        run("ip link set tg0 up");
        peer.enter(|| {
            run("ip addr add 192.0.2.2/24 dev peer");
            run("ip addr add 2001:db8::2/64 dev peer nodad");
            run("ip link set peer up");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&peer));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
