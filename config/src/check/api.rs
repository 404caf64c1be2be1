//! The admin API: where it is, and who may come in.

use super::distinct;
use crate::desired::{Api, ApiTls};
use crate::diagnostic::Found;
use crate::raw::ApiTable;
use crate::read::At;

/// Bytes of a Unix socket's path that the kernel takes, the final NUL not included (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn check(raw: &ApiTable, found: &mut Found<'_>) -> Option<Api> {
    let socket = raw.socket.as_ref()?;
    let len_bytes = socket.value.as_os_str().len();
    if len_bytes > SOCKET_PATH_MAX {
        let sentence = format!("a path of {len_bytes} bytes is too long for a Unix socket");
        let remedy = format!("write one of at most {SOCKET_PATH_MAX} bytes");
        found.error(&socket.span, &socket.key, sentence, remedy);
    }
    open_to_others(raw, found);
    let tls = tls(raw, found);
    Some(Api {
        socket: socket.value.clone(),
        listen: raw.listen.as_ref().map(|at| at.value),
        tls,
        token_file: raw.token_file.as_ref().map(|at| at.value.clone()),
        request_rate: raw.request_rate.as_ref()?.value.0,
        birdwatcher: raw.birdwatcher.as_ref()?.value,
    })
}

/// Whoever reaches it from elsewhere is to know whom it speaks with, and to be known.
fn open_to_others(raw: &ApiTable, found: &mut Found<'_>) {
    let Some(listen) = raw.listen.as_ref().filter(|listen| !listen.value.ip().is_loopback()) else {
        return;
    };
    let (address, port) = (listen.value, listen.value.port());
    let mut missing = Vec::new();
    if raw.tls_certificate.is_none() {
        missing.push("tls-certificate and tls-key");
    }
    if raw.token_file.is_none() && raw.client_ca.is_none() {
        missing.push("token-file or client-ca");
    }
    if !missing.is_empty() {
        let missing = missing.join(", and ");
        let sentence =
            format!("{address} can be reached from other hosts, and there is no {missing}");
        let remedy = format!("add it, or write \"127.0.0.1:{port}\" or \"[::1]:{port}\"");
        found.error(&listen.span, &listen.key, sentence, remedy);
    }
}

fn tls(raw: &ApiTable, found: &mut Found<'_>) -> Option<ApiTls> {
    let client_operators = raw.client_operators.as_ref();
    let client_operators = client_operators.map(|list| (list, distinct(&list.value.read, found)));
    if let Some((list, names)) = &client_operators
        && raw.client_ca.is_none()
        && !names.is_empty()
    {
        let sentence = "nobody can show a certificate with such a name";
        found.error(&list.span, &list.key, sentence, "add client-ca, or remove it");
    }
    let (certificate, key) = match (&raw.tls_certificate, &raw.tls_key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(at), None) => return alone(at, "tls-key", found),
        (None, Some(at)) => return alone(at, "tls-certificate", found),
        (None, None) => {
            return raw.client_ca.as_ref().and_then(|at| alone(at, "tls-certificate", found));
        }
    };
    let names = client_operators.into_iter().flat_map(|(_, names)| names);
    Some(ApiTls {
        certificate: certificate.value.clone(),
        key: key.value.clone(),
        client_ca: raw.client_ca.as_ref().map(|at| at.value.clone()),
        client_operators: names.map(|name| name.0).collect(),
    })
}

/// A file that is of use only with another one.
fn alone<T>(at: &At<impl Sized>, other: &str, found: &mut Found<'_>) -> Option<T> {
    found.error(&at.span, &at.key, format!("there is no {other} with it"), format!("add {other}"));
    None
}
