//! Clients of QUIC that change their address, through a real edge, with a real implementation of it at
//! both ends: a connection that a server id leads to its backend goes on, whatever the addresses say.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    Incoming, ServerConfig, TokioRuntime,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{BACKENDS, CLIENT, MainJob, SOON, VIP_V4, Variant};

const SERVICE: &str = "quic";
const PORT: u16 = 443;
const CONFIG_ID: u8 = 2;
/// Names in the certificate.
const NAME: &str = "quic.example.net";
/// The address that the clients move to.
const MOVED: &str = "198.51.100.3";
const CLIENTS: usize = 8;

/// What a server calls itself.
fn server_id(backend: usize) -> [u8; 2] {
    [0x0a, u8::try_from(backend).unwrap() + 1]
}

/// Connection ids as draft-ietf-quic-load-balancers has them, without encryption: configuration and
/// five bits of no meaning, server id, nonce.
#[derive(Debug)]
struct Named {
    server_id: [u8; 2],
    made: u64,
}

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made += 1;
        // No two nonces are the same, which is all that a test needs.
        let nonce = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let first = [CONFIG_ID << 5 | nonce[0] >> 3];
        ConnectionId::new(&[&first, &self.server_id[..], &nonce[3..]].concat())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Answers every stream with the server's name and the client's address.
async fn serve(endpoint: Endpoint, name: &'static str) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(answer(incoming, name));
    }
}

async fn answer(incoming: Incoming, name: &'static str) -> Result<()> {
    let connection = incoming.await?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        receive.read_to_end(64).await?;
        send.write_all(format!("{name} {}", connection.remote_address()).as_bytes()).await?;
        send.finish()?;
    }
}

/// Who answers, and which address it sees.
async fn ask(connection: &Connection) -> Result<(String, SocketAddr)> {
    let answered = async {
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(b"who?").await?;
        send.finish()?;
        anyhow::Ok(receive.read_to_end(64).await?)
    };
    let answer = tokio::time::timeout(SOON, answered).await.context("no answer")??;
    let answer = String::from_utf8(answer)?;
    let (name, addr) = answer.split_once(' ').context("no address")?;
    Ok((name.to_owned(), addr.parse()?))
}

/// The socket of an address on a host.
fn socket(job: &MainJob, host: &str, addr: &str, port: u16) -> UdpSocket {
    job.lab.inside(host, || UdpSocket::bind((addr, port)).unwrap()).unwrap()
}

/// The edge's configuration with a service of QUIC.
fn config(job: &MainJob) -> String {
    let service = format!(
        "[[service]]\nname = \"{SERVICE}\"\nvip = \"{}\"\nport = {PORT}\nprotocol = \"udp\"\n\
         affinity = \"quic\"\nquic-config-id = {CONFIG_ID}\nadvertise = false\n\
         health = {{ type = \"http\", port = 80, path = \"/healthz\", interval = \"1s\", rise = 1 }}\n",
        VIP_V4.addr
    );
    let backend = |(backend, (_, [addr, _])): (usize, (&str, [&str; 2]))| {
        let [high, low] = server_id(backend);
        format!("[[service.backend]]\naddress = \"{addr}\"\nserver-id = \"{high:02x}{low:02x}\"\n")
    };
    let backends: Vec<String> = BACKENDS.into_iter().enumerate().map(backend).collect();
    [job.edge_config(), service, backends.concat()].concat()
}

/// Waits until so many backends of the service are in this state.
fn wait_for_backends(job: &MainJob, state: &str, wanted: usize) {
    let seen = job.lab.wait_for(&format!("{wanted} backends to be {state}"), SOON, || {
        let all: Value = serde_json::from_str(&job.tidegate(&["backends", "-o", "json"])?)?;
        let rows = all.get("backends").and_then(Value::as_array).context("no list")?;
        let is = |row: &&Value, key: &str, wanted: &str| row.get(key) == Some(&wanted.into());
        let of_service = rows.iter().filter(|row| is(row, "service", SERVICE));
        let count = of_service.filter(|row| is(row, "state", state)).count();
        ensure!(count == wanted, "{all}");
        Ok(())
    });
    assert!(seen.is_ok(), "{seen:?}\n{}", job.lab.log_tails());
}

struct Client {
    endpoint: Endpoint,
    connection: Connection,
    backend: String,
}

impl Client {
    async fn new(socket: UdpSocket, config: &ClientConfig) -> Result<Self> {
        let endpoint =
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        let to = SocketAddr::new(VIP_V4.addr.parse()?, PORT);
        let connecting = endpoint.connect_with(config.clone(), to, NAME)?;
        let connection = tokio::time::timeout(SOON, connecting).await??;
        let (backend, _) = ask(&connection).await?;
        Ok(Self { endpoint, connection, backend })
    }

    /// Goes on from another address, and asks again.
    async fn moves_to(&self, socket: UdpSocket) -> Result<()> {
        let from = socket.local_addr()?;
        self.endpoint.rebind(socket)?;
        let (backend, seen) = ask(&self.connection).await?;
        ensure!(seen == from, "{from} is seen as {seen}");
        ensure!(backend == self.backend, "{backend} answers for {}", self.backend);
        Ok(())
    }
}

#[tokio::test]
async fn a_connection_stays_with_its_backend_when_its_client_moves_and_when_that_drains() {
    let mut job = MainJob::new(Variant { weights: [1, 1, 1], ..Variant::default() }).unwrap();
    let config = job.lab.write("tidegate.toml", &config(&job)).unwrap();
    job.restart_edge(&config).unwrap();
    job.wait_for_routes().unwrap();
    wait_for_backends(&job, "active", BACKENDS.len());
    job.lab.run("client", &["ip", "addr", "add", &format!("{MOVED}/24"), "dev", "eth0"]).unwrap();

    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = certified.cert.der().clone();
    for (backend, (host, _)) in BACKENDS.into_iter().enumerate() {
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let server =
            ServerConfig::with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key));
        let mut endpoint = EndpointConfig::default();
        let server_id = server_id(backend);
        endpoint.cid_generator(move || Box::new(Named { server_id, made: 0 }));
        let socket = socket(&job, host, VIP_V4.addr, PORT);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(endpoint, Some(server.unwrap()), socket, runtime).unwrap();
        tokio::spawn(serve(endpoint, host));
    }
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let socket = socket(&job, "client", CLIENT[0], 0);
        clients.push(Client::new(socket, &config).await.unwrap());
    }
    for client in &clients {
        // By the hash, one of them would hardly go where it went before: they are eight.
        client.moves_to(socket(&job, "client", MOVED, 0)).await.unwrap();
    }

    let drained = clients.first().unwrap().backend.clone();
    let (_, [addr, _]) = BACKENDS.into_iter().find(|(host, _)| *host == drained).unwrap();
    job.tidegate(&["drain", "backend", SERVICE, addr]).unwrap();
    wait_for_backends(&job, "draining", 1);
    for client in &clients {
        client.moves_to(socket(&job, "client", CLIENT[0], 0)).await.unwrap();
    }
    for _ in 0..CLIENTS {
        let socket = socket(&job, "client", MOVED, 0);
        let new = Client::new(socket, &config).await.unwrap();
        assert_ne!(new.backend, drained, "a new connection");
    }
}
