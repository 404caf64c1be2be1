//! TLS on a connection, and whom a check trusts.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::desired::{HttpProbe, Tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::access;
use crate::health_io::Failure;

/// Whom to trust, by file: checks that name one file share what was read from it.
#[derive(Debug, Default)]
pub(in crate::health_io) struct Trust(BTreeMap<PathBuf, Arc<ClientConfig>>);

impl Trust {
    /// Those of this check's file, read if no check had it before.
    ///
    /// # Errors
    /// There is none that can be read; who asks again tries again.
    pub(in crate::health_io) fn of(&mut self, tls: &Tls) -> Result<Arc<ClientConfig>, Failure> {
        let file = tls.ca_file.as_deref().unwrap_or(Path::new(access::SYSTEM));
        if let Some(known) = self.0.get(file) {
            return Ok(Arc::clone(known));
        }
        let config = Arc::new(read(file)?);
        self.0.insert(file.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    /// Forgets what no check uses any more.
    pub(in crate::health_io) fn forget_unused(&mut self) {
        self.0.retain(|_, config| Arc::strong_count(config) > 1);
    }
}

fn read(file: &Path) -> Result<ClientConfig, Failure> {
    let failed = |cause: String| Failure::NoTrust { file: file.to_owned(), cause };
    let roots = access::roots(file).map_err(failed)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Shakes hands.
pub(super) async fn open(
    stream: TcpStream,
    asks: &HttpProbe,
    tls: &Tls,
    trust: &Arc<ClientConfig>,
    target: SocketAddr,
) -> Result<TlsStream<TcpStream>, Failure> {
    let name = match (&tls.server_name, &asks.host) {
        (Some(name), _) => ServerName::try_from(name.clone()).or(Err(Failure::Unaskable))?,
        (None, Some(host)) => server_name(host)?,
        (None, None) => ServerName::IpAddress(target.ip().into()),
    };
    let opened = TlsConnector::from(Arc::clone(trust)).connect(name, stream).await;
    opened.map_err(|error| Failure::of_connection(&error))
}

/// The name in a host header, which may have a port, and brackets.
fn server_name(host: &str) -> Result<ServerName<'static>, Failure> {
    let authority: http::uri::Authority = host.parse().or(Err(Failure::Unaskable))?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).or(Err(Failure::Unaskable))
}
