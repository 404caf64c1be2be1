//! The daemon that is asked: on this host by its Unix socket, or elsewhere over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{DEFAULT_SOCKET, Failure};
use crate::access;

/// Where it is, and what it is shown.
#[derive(Clone, Debug, Args)]
#[group(skip)] // Its name is taken by `drain node`.
pub(super) struct Node {
    /// Admin socket of the daemon
    #[arg(short, long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    #[arg(env = "TIDEGATE_SOCKET")]
    socket: PathBuf,
    /// Ask a daemon elsewhere: https://HOST:PORT
    #[arg(long, value_name = "URL", env = "TIDEGATE_URL", help_heading = ELSEWHERE)]
    url: Option<Uri>,
    /// File with the token to show, which is its first line
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TOKEN_FILE", help_heading = ELSEWHERE)]
    token_file: Option<PathBuf>,
    /// Trust certificates that those in this file have signed (PEM), not those of the system
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CA_FILE", help_heading = ELSEWHERE)]
    ca_file: Option<PathBuf>,
    /// Certificate to show (PEM)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CERTIFICATE_FILE", requires = "key_file")]
    #[arg(help_heading = ELSEWHERE)]
    certificate_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_KEY_FILE", requires = "certificate_file")]
    #[arg(help_heading = ELSEWHERE)]
    key_file: Option<PathBuf>,
}

const ELSEWHERE: &str = "A daemon elsewhere";

/// A connection to a daemon.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Node {
    /// Where it is, for people.
    pub(super) fn name(&self) -> String {
        match &self.url {
            Some(url) => url.to_string(),
            None => self.socket.display().to_string(),
        }
    }

    /// For commands that look at the host itself.
    pub(super) fn is_here(&self) -> Result<(), Failure> {
        match &self.url {
            Some(url) => Err(Failure::new(format!(
                "this looks at the host itself, and {url} is another one: run it there"
            ))),
            None => Ok(()),
        }
    }

    /// What stands in `Host`.
    pub(super) fn host(&self) -> &str {
        self.url.as_ref().and_then(Uri::authority).map_or("tidegate", Authority::as_str)
    }

    /// What stands in `Authorization`, if anything does.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        // On a Unix socket the kernel says who asks.
        let Some(file) = self.token_file.as_ref().filter(|_| self.url.is_some()) else {
            return Ok(None);
        };
        let unusable = |why: String| Failure::new(format!("token file {}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_invalid| unusable("its first line is no token".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match &self.url {
            Some(url) => self.elsewhere(url).await,
            None => here(&self.socket).await,
        }
    }

    async fn elsewhere(&self, url: &Uri) -> Result<Box<dyn Stream>, Failure> {
        let is_tls = url.scheme() == Some(&Scheme::HTTPS);
        let is_known = is_tls || url.scheme() == Some(&Scheme::HTTP);
        let (Some(host), true, "/") = (url.host(), is_known, url.path()) else {
            return Err(Failure::new(format!("{url} is not as in https://edge.example.net:9179")));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let unreachable =
            |error: std::io::Error| Failure::unreachable(format!("no daemon at {url}: {error}"));
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        if !is_tls {
            let is_local = stream.peer_addr().is_ok_and(|it| it.ip().is_loopback());
            if self.token_file.is_some() && !is_local {
                return Err(Failure::new("a token is not shown without TLS: write https://"));
            }
            return Ok(Box::new(stream));
        }
        let bad = |_| Failure::new(format!("{host} is no name that a certificate could have"));
        let name = ServerName::try_from(host.to_owned()).map_err(bad)?;
        let tls = TlsConnector::from(Arc::new(self.tls()?)).connect(name, stream).await;
        Ok(Box::new(tls.map_err(unreachable)?))
    }

    fn tls(&self) -> Result<ClientConfig, Failure> {
        let file = self.ca_file.as_deref().unwrap_or(Path::new(access::SYSTEM));
        let roots: RootCertStore = access::roots(file)
            .map_err(|why| Failure::new(format!("CA file {}: {why}", file.display())))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::new)?
            .with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&self.certificate_file, &self.key_file) else {
            return Ok(config.with_no_client_auth());
        };
        let unusable = |file: &Path, why: &dyn std::fmt::Display| {
            Failure::new(format!("{}: {why}", file.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unusable(certificate, &error))?;
        let of_it = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        config.with_client_auth_cert(chain, of_it).map_err(|error| unusable(key, &error))
    }
}

async fn here(socket: &Path) -> Result<Box<dyn Stream>, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "you need to be root or in its group",
            _ => "start it with 'tidegate run', or name its socket with --socket",
        };
        Failure::unreachable(format!("no daemon at {}: {error}; {remedy}", socket.display()))
    })?;
    Ok(Box::new(stream))
}
