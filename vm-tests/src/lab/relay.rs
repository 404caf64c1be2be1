//! A way from this machine into a lab, for a browser.

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Result;
use nix::sched::{CloneFlags, setns};

use super::{Lab, program, sweep};

/// Starts a relay that stays, from this address of the machine or another port there, to `to` on
/// `host`; it goes with the lab. Returns where it listens.
///
/// # Errors
/// When nothing can listen there, or the program is not built.
pub fn start(lab: &Lab, host: &str, at: SocketAddr, to: SocketAddr) -> Result<SocketAddr> {
    let any_port = SocketAddr::new(at.ip(), 0);
    let listener = TcpListener::bind(at).or_else(|_taken| TcpListener::bind(any_port))?;
    let at = listener.local_addr()?;
    Command::new(program("lab-http")?)
        .arg("relay")
        .arg(Path::new(sweep::NAMESPACES).join(lab.namespace(host)))
        .arg(to.to_string())
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(at)
}

/// Takes connections from the listener that is standard input to `to` in a namespace, in which it
/// lives itself, so that it ends with the lab.
///
/// # Errors
/// When the namespace can't be entered or the listener fails.
pub fn serve(namespace: &Path, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || carry(connection, to));
    }
    Ok(())
}

fn carry(mut from: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut onward = TcpStream::connect(to)?;
    let (mut back_from, mut back_to) = (onward.try_clone()?, from.try_clone()?);
    let back = thread::spawn(move || {
        io::copy(&mut back_from, &mut back_to).ok();
        back_to.shutdown(Shutdown::Both).ok();
    });
    io::copy(&mut from, &mut onward).ok();
    onward.shutdown(Shutdown::Write).ok();
    back.join().ok();
    Ok(())
}
