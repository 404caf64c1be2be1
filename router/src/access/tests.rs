//! Files as an operator has them: good ones, and those that are not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::access::tokens::{Fresh, Holder, fresh};

/// A directory with an authority and what it has signed.
pub(crate) struct Pki {
    pub(crate) dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-access-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(dir.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate: `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(&self, name: &str, common_name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.dir.join(format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Writes tokens of these holders into the file: what they show.
    pub(crate) fn tokens(&self, holders: &[(&str, Role)]) -> Vec<String> {
        let fresh: Vec<Fresh> = holders
            .iter()
            .map(|(name, role)| fresh(&Holder { name: (*name).into(), role: *role }).unwrap())
            .collect();
        let lines: Vec<&str> = fresh.iter().map(|it| it.line.as_str()).collect();
        std::fs::write(self.dir.join("tokens"), lines.join("\n")).unwrap();
        fresh.into_iter().map(|it| it.token).collect()
    }

    /// A configuration with these keys, which name files of the directory.
    pub(crate) fn api(&self, files: &[&str], operators: &[&str]) -> Api {
        let file = |name: &str| files.contains(&name).then(|| self.dir.join(name));
        let tls = file("server.pem").map(|certificate| ApiTls {
            certificate,
            key: self.dir.join("server.key"),
            client_ca: file("ca.pem"),
            client_operators: operators.iter().map(ToString::to_string).collect(),
        });
        Api {
            socket: self.dir.join("api.sock"),
            listen: None,
            tls,
            token_file: file("tokens"),
            request_rate: 50,
            birdwatcher: false,
        }
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn files_that_have_changed_make_another_access() {
    let pki = Pki::new();
    pki.sign("server", "edge");
    pki.tokens(&[("ops", Role::Operator)]);
    let api = pki.api(&["server.pem", "ca.pem", "tokens"], &["ops"]);
    let first = Access::read(&api).unwrap();
    assert!(!first.is_open);
    assert_eq!(first, Access::read(&api).unwrap());
    pki.tokens(&[("ops", Role::Operator)]);
    let other = Access::read(&api).unwrap();
    assert_ne!(first, other);
    pki.sign("server", "edge");
    assert_ne!(other, Access::read(&api).unwrap());
    assert!(Access::read(&pki.api(&[], &[])).unwrap().is_open);
}

#[test]
fn a_subject_is_an_operator_by_its_common_name_alone() {
    let pki = Pki::new();
    pki.sign("server", "edge");
    pki.sign("ops", "ops");
    pki.sign("evil", "CN=ops\n");
    let access = Access::read(&pki.api(&["server.pem", "ca.pem"], &["ops"])).unwrap();
    let subject = |name: &str| {
        let pem = CertificateDer::from_pem_file(pki.dir.join(format!("{name}.pem"))).unwrap();
        access.subject(&pem).unwrap()
    };
    let ops = subject("ops");
    assert_eq!((&*ops.name, ops.role), ("CN=ops, O=Example", Role::Operator));
    assert_eq!(subject("server").role, Role::ReadOnly);
    let evil = subject("evil");
    assert_eq!(evil.role, Role::ReadOnly);
    assert!(!evil.name.contains('\n'), "{evil:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key_and_why() {
    let pki = Pki::new();
    pki.sign("server", "edge");
    pki.sign("other", "other");
    pki.tokens(&[("ops", Role::Operator)]);
    let told = |files: &[&str]| {
        let api = pki.api(files, &[]);
        let Err(Unusable { key, path, cause }) = Access::read(&api) else { panic!("{files:?}") };
        format!("{key} {}: {cause}", path.file_name().unwrap().display())
    };
    let server_key = std::fs::read(pki.dir.join("server.key")).unwrap();
    std::fs::copy(pki.dir.join("other.key"), pki.dir.join("server.key")).unwrap();
    let wrong = told(&["server.pem"]);
    assert!(wrong.starts_with("tls-key server.key: it does not go with "), "{wrong}");
    std::fs::write(pki.dir.join("server.key"), "nothing").unwrap();
    let none = told(&["server.pem"]);
    assert!(none.starts_with("tls-key server.key: there is no private key in it"), "{none}");
    std::fs::write(pki.dir.join("server.key"), server_key).unwrap();
    std::fs::write(pki.dir.join("ca.pem"), "").unwrap();
    let empty = told(&["server.pem", "ca.pem"]);
    assert_eq!(empty, "client-ca ca.pem: there is no certificate in it");
    std::fs::write(pki.dir.join("tokens"), "ops root sha256:00").unwrap();
    let bad = told(&["tokens"]);
    assert_eq!(bad, "token-file tokens: line 1: the second word is read-only or operator");
    std::fs::remove_file(pki.dir.join("server.pem")).unwrap();
    let gone = told(&["server.pem"]);
    assert!(gone.starts_with("tls-certificate server.pem: No such file"), "{gone}");
}
