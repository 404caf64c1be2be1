//! The admin API.

use core::net::SocketAddr;
use std::path::PathBuf;

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Unix socket.
    pub socket: PathBuf,
    /// On TCP, if wanted; beyond loopback with `tls`, and tokens or certificates of clients.
    pub listen: Option<SocketAddr>,
    /// What it shows there; `None`: it is HTTP without TLS.
    pub tls: Option<ApiTls>,
    /// Hashes of bearer tokens.
    pub token_file: Option<PathBuf>,
    /// Requests of a caller there, per second.
    pub request_rate: u32,
    /// Whether it answers there as birdwatcher does, too.
    pub birdwatcher: bool,
}

/// TLS of the admin API. Nobody has read the files yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTls {
    /// Certificates.
    pub certificate: PathBuf,
    /// Their key.
    pub key: PathBuf,
    /// Who signs certificates of clients; `None`: nobody has one.
    pub client_ca: Option<PathBuf>,
    /// Common names of clients who may change things, ascending.
    pub client_operators: Vec<String>,
}
