//! One question to one backend.
//!
//! All of it happens in the caller's task, which bounds its time: when the caller gives up, socket
//! and memory are gone. What is read is bounded here.

mod datagram;
mod grpc;
mod http;
pub(crate) mod icmp;
pub(super) mod tls;
pub(crate) mod tunnel;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use tidegate_config::desired::Probe;
use tokio::net::TcpStream;

use super::Failure;

/// Longest response header we read, in bytes. More is not the answer of a health page.
pub(super) const HEADER_BYTES_MAX: usize = 16 << 10;

/// Asks once. `trust` is for a check over TLS, `vip` for one that is asked there. Takes as long as it takes: the caller bounds the time.
pub(super) async fn ask(
    probe: &Probe,
    trust: Option<&Arc<ClientConfig>>,
    target: SocketAddr,
    vip: IpAddr,
) -> Result<(), Failure> {
    match probe {
        Probe::Tcp => connect(target).await.map(drop),
        Probe::Http(asks) => {
            let stream = connect(target).await?;
            match (&asks.tls, trust) {
                (Some(tls), Some(trust)) => {
                    let stream = tls::open(stream, asks, tls, trust, target).await?;
                    http::ask(stream, asks, target).await
                }
                _ => http::ask(stream, asks, target).await,
            }
        }
        Probe::Grpc { service, host } => {
            grpc::ask(connect(target).await?, service, host.as_deref(), target).await
        }
        Probe::Udp { send, expect } => datagram::ask(send, expect, target).await,
        Probe::Dns(asks) => datagram::ask_name(asks, target).await,
        Probe::TcpInTunnel { gue_port } => {
            tunnel::ask(target.ip(), SocketAddr::new(vip, target.port()), *gue_port).await
        }
        Probe::Icmp => icmp::ask(target.ip()).await,
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(target).await.map_err(|error| Failure::of_connection(&error))
}
