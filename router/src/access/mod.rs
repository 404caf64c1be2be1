//! Who may come in over TCP: certificates, keys and tokens that the configuration names, read from
//! their files.

pub(crate) mod tokens;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tidegate_config::desired::{Api, ApiTls};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use tokens::{Role, Tokens};

/// Longest file of certificates, keys or tokens; the system's certificates have about 220 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Whom the system trusts: where Debian's `ca-certificates` puts them.
pub(crate) const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Of a subject, as it is shown.
const SUBJECT_CHARS_MAX: usize = 200;

/// Who may come in over TCP, and how fast they may ask.
#[derive(Clone)]
pub struct Access {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) tokens: Option<Tokens>,
    operators: Vec<String>,
    /// Requests of a caller, per second.
    pub(crate) rate: u32,
    /// Whether it is answered as birdwatcher does, too.
    pub(crate) birdwatcher: bool,
    /// Nobody says who he is.
    pub(crate) is_open: bool,
    /// SHA-256 of all files: whether they have changed.
    sum: Vec<u8>,
}

/// A file could not be used.
#[derive(Debug)]
pub(crate) struct Unusable<'a> {
    /// The key of `[api]` that names it.
    pub(crate) key: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) cause: String,
}

/// Who shows a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The distinguished name, for people.
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Access {
    /// Reads the files that are named.
    ///
    /// # Errors
    /// The first that is not as it should be.
    pub(crate) fn read(api: &Api) -> Result<Self, Unusable<'_>> {
        let mut sum = Context::new(&SHA256);
        let tokens = match &api.token_file {
            Some(path) => Some(Self::tokens(path, &mut sum)?),
            None => None,
        };
        let tls = match &api.tls {
            Some(tls) => Some(Arc::new(config(tls, tokens.is_some(), &mut sum)?)),
            None => None,
        };
        let has_clients = api.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let operators = api.tls.iter().flat_map(|tls| tls.client_operators.clone()).collect();
        Ok(Self {
            is_open: tokens.is_none() && !has_clients,
            tls,
            tokens,
            operators,
            rate: api.request_rate,
            birdwatcher: api.birdwatcher,
            sum: sum.finish().as_ref().to_vec(),
        })
    }

    fn tokens<'a>(path: &'a Path, sum: &mut Context) -> Result<Tokens, Unusable<'a>> {
        let key = "token-file";
        let octets = read(key, path, sum)?;
        let unusable = |cause| Unusable { key, path, cause };
        let text = String::from_utf8(octets).map_err(|error| unusable(error.to_string()))?;
        Tokens::parse(&text).map_err(unusable)
    }

    /// Whose certificate this is, which was found good.
    pub(crate) fn subject(&self, certificate: &CertificateDer<'_>) -> Option<Subject> {
        let (_rest, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let is_operator =
            common_name.is_some_and(|name| self.operators.iter().any(|it| it == name));
        let shown = subject.to_string();
        let name = shown.escape_debug().take(SUBJECT_CHARS_MAX).collect();
        let role = if is_operator { Role::Operator } else { Role::ReadOnly };
        Some(Subject { name, role })
    }
}

impl PartialEq for Access {
    /// Whether the files say the same; what the configuration says is compared with it.
    fn eq(&self, other: &Self) -> bool {
        self.sum == other.sum
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

fn read<'a>(key: &'static str, path: &'a Path, sum: &mut Context) -> Result<Vec<u8>, Unusable<'a>> {
    let unusable = |cause: String| Unusable { key, path, cause };
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut octets))
        .map_err(|error| unusable(format!("{error}; root must be able to read it")))?;
    if octets.len() as u64 > FILE_BYTES_MAX {
        return Err(unusable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    sum.update(&(octets.len() as u64).to_be_bytes());
    sum.update(&octets);
    Ok(octets)
}

fn certificates<'a>(
    key: &'static str,
    path: &'a Path,
    sum: &mut Context,
) -> Result<Vec<CertificateDer<'static>>, Unusable<'a>> {
    let octets = read(key, path, sum)?;
    let unusable = |cause: String| Unusable { key, path, cause };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    let all = all.map_err(|error| unusable(format!("it is not PEM: {error}")))?;
    if all.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(all)
}

fn config<'a>(
    tls: &'a ApiTls,
    has_tokens: bool,
    sum: &mut Context,
) -> Result<ServerConfig, Unusable<'a>> {
    let chain = certificates("tls-certificate", &tls.certificate, sum)?;
    let unusable = |cause: String| Unusable { key: "tls-key", path: &tls.key, cause };
    let key = PrivateKeyDer::from_pem_slice(&read("tls-key", &tls.key, sum)?);
    let key = key.map_err(|error| unusable(format!("there is no private key in it: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let config = match &tls.client_ca {
        Some(path) => {
            let roots = certificates("client-ca", path, sum)?;
            let verifier = verifier(roots, has_tokens, provider);
            config.with_client_cert_verifier(verifier.map_err(|cause| Unusable {
                key: "client-ca",
                path,
                cause,
            })?)
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| {
        unusable(format!("it does not go with {}: {error}", tls.certificate.display()))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A connection is for one request. Nothing is kept of it, so that nobody comes in by what was
    // good before a reload.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Whom to trust, from a file.
///
/// # Errors
/// There is nobody in it, or it cannot be read.
pub(crate) fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut unused = Context::new(&SHA256);
    let all = certificates("", file, &mut unused).map_err(|Unusable { cause, .. }| cause)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(all);
    if roots.is_empty() { Err("there is no certificate in it".into()) } else { Ok(roots) }
}

/// Who has no certificate gets past this only if there are tokens, which are asked for later.
fn verifier(
    certificates: Vec<CertificateDer<'static>>,
    has_tokens: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if has_tokens { verifier.allow_unauthenticated() } else { verifier };
    verifier.build().map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
