//! Questions over UDP: any, or of DNS.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use socket2::SockRef;
use tidegate_config::desired::{DnsProbe, DnsRcode, DnsType};
use tokio::net::UdpSocket;

use super::{To, go_through};
use crate::health_io::Failure;
use crate::health_io::random::Random;

/// How much of a datagram we read, in bytes; what is beyond is cut off.
const ANSWER_BYTES_MAX: usize = 4096;

/// Sends the payload; the first datagram that comes back has to begin as expected.
pub(super) async fn ask(send: &[u8], expect: &[u8], to: To) -> Result<(), Failure> {
    let socket = ask_octets(send, to).await?;
    let answer = receive(&socket).await?;
    if answer.starts_with(expect) { Ok(()) } else { Err(Failure::WrongAnswer(answer.len())) }
}

/// Asks a name server, not a resolver: nothing is cached, and nobody else is asked.
pub(super) async fn ask_name(asks: &DnsProbe, to: To) -> Result<(), Failure> {
    let record_type = record_type(asks.query_type);
    let name = Name::from_ascii(&asks.query).or(Err(Failure::Unaskable))?;
    let mut query = Message::new();
    query.set_id(Random::new().number());
    query.set_recursion_desired(true);
    query.add_query(Query::query(name, record_type));
    let socket = ask_octets(&query.to_vec().or(Err(Failure::Unaskable))?, to).await?;
    let answer = loop {
        let octets = receive(&socket).await?;
        let answer = Message::from_vec(&octets).or(Err(Failure::Malformed("a DNS message")))?;
        // A late answer to a check before this one comes to another port; a forged one is nobody's.
        if answer.id() == query.id() && answer.message_type() == MessageType::Response {
            break answer;
        }
    };
    let got = u16::from(answer.response_code());
    if got != asks.rcode.number() {
        let got = answer.response_code().to_str().to_owned();
        return Err(Failure::WrongRcode { got, wanted: asks.rcode.name() });
    }
    let has_record = answer.answers().iter().any(|record| record.record_type() == record_type);
    if asks.rcode == DnsRcode::NoError && !has_record {
        return Err(Failure::NoRecord(asks.query_type.name()));
    }
    Ok(())
}

async fn ask_octets(octets: &[u8], to: To) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = match to.addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        if let Some(mark) = to.mark {
            go_through(&SockRef::from(&socket), to.addr.is_ipv4(), mark)?;
        }
        socket.connect(to.addr).await?;
        socket.send(octets).await?;
        Ok(socket)
    };
    asked.await.map_err(|error| Failure::of_datagram(&error))
}

async fn receive(socket: &UdpSocket) -> Result<Vec<u8>, Failure> {
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let received = socket.recv(&mut answer).await;
    answer.truncate(received.map_err(|error| Failure::of_datagram(&error))?);
    Ok(answer)
}

const fn record_type(of: DnsType) -> RecordType {
    match of {
        DnsType::A => RecordType::A,
        DnsType::Aaaa => RecordType::AAAA,
        DnsType::Ns => RecordType::NS,
        DnsType::Soa => RecordType::SOA,
        DnsType::Ptr => RecordType::PTR,
        DnsType::Mx => RecordType::MX,
        DnsType::Txt => RecordType::TXT,
        DnsType::Srv => RecordType::SRV,
    }
}
