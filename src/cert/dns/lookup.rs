//! EDGE: asks name servers: the system's for where something is, and those of a zone for what
//! stands there now. Reads alone; nothing is kept.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::caa::Caa;
use super::settings::Server;

/// Finds out what the DNS says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    port: u16,
}

/// A name server, and its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NameServer {
    /// Its name, for people.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// One that asks these servers, one after the other; the system's where there are none.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            port: DNS_PORT,
        }
    }

    /// Another port of the servers of zones: name servers tell their addresses alone.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    async fn servers(&self) -> Vec<SocketAddr> {
        if !self.servers.is_empty() {
            return self.servers.clone();
        }
        let text = tokio::fs::read_to_string(RESOLV_CONF).await;
        of_resolv_conf(&text.unwrap_or_default())
    }

    /// What the resolver says about a name; an answer that says that there is nothing is one.
    async fn find(&self, name: &Name, kind: RecordType) -> Result<Message, String> {
        let mut reason = "there is no name server to ask".to_owned();
        for server in self.servers().await {
            match ask(server, &query(name, kind, true)).await {
                Ok(answer) if is_answer(&answer) => return Ok(answer),
                Ok(answer) => reason = format!("{server} answers {}", answer.response_code),
                Err(why) => reason = format!("{server}: {why}"),
            }
        }
        Err(format!("{kind} of {}: {reason}", name.to_ascii()))
    }

    /// Where a name leads in the end (RFC 1034, section 3.6.2).
    ///
    /// # Errors
    /// When that cannot be found out, or it leads in a circle.
    pub async fn end_of(&self, name: &Name) -> Result<Name, String> {
        let mut at = name.clone();
        for _ in 0..CNAMES_MAX {
            let answer = self.find(&at, RecordType::CNAME).await?;
            let mut found = answer.answers.iter().filter(|record| record.name == at);
            let next = found.find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match next {
                Some(next) => at = next,
                None => return Ok(at),
            }
        }
        Err(format!(
            "{} leads from one name to the next without an end",
            name.to_ascii()
        ))
    }

    /// The zone that a name is in: the one of its parents that has a start of authority.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn zone_of(&self, name: &Name) -> Result<Name, String> {
        let mut at = name.clone();
        while !at.is_root() {
            let answer = self.find(&at, RecordType::SOA).await?;
            if let Some(zone) = zone_in(&answer, &at) {
                return Ok(zone);
            }
            at = at.base_name();
        }
        Err(format!("no zone is found for {}", name.to_ascii()))
    }

    /// The name servers of a zone.
    ///
    /// # Errors
    /// When they cannot be found out, or one of them has no address.
    pub async fn servers_of(&self, zone: &Name) -> Result<Vec<NameServer>, String> {
        let answer = self.find(zone, RecordType::NS).await?;
        let names = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(name) => Some(name.0.clone()),
                _ => None,
            });
        let mut servers = Vec::new();
        for name in names.take(SERVERS_MAX) {
            let addresses = self.addresses_of(&name).await?.into_iter();
            let addresses = addresses.map(|ip| SocketAddr::new(ip, self.port)).collect();
            let name = name.to_ascii();
            servers.push(NameServer { name, addresses });
        }
        match servers.is_empty() {
            true => Err(format!("{} has no name servers", zone.to_ascii())),
            false => Ok(servers),
        }
    }

    /// A name server that is named by its address or its name.
    ///
    /// # Errors
    /// When the name leads nowhere.
    pub async fn server(&self, server: &Server) -> Result<NameServer, String> {
        let Server { host, port } = server;
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.addresses_of(&absolute(host)?).await?,
        };
        let addresses = addresses.into_iter();
        Ok(NameServer {
            name: format!("{host}:{port}"),
            addresses: addresses.map(|ip| SocketAddr::new(ip, *port)).collect(),
        })
    }

    async fn addresses_of(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let answer = self.find(name, kind).await?;
            found.extend(
                answer
                    .answers
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::A(address) => Some(IpAddr::V4(address.0)),
                        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                        _ => None,
                    }),
            );
        }
        match found.is_empty() {
            true => Err(format!("{} has no address", name.to_ascii())),
            false => Ok(found),
        }
    }

    /// The records that say which authorities may make certificates for a name.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn caa(&self, name: &str) -> Result<Vec<Caa>, String> {
        let answer = self.find(&absolute(name)?, RecordType::CAA).await?;
        let records = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::CAA(record) => Some(Caa {
                    critical: record.issuer_critical,
                    tag: record.tag.clone(),
                    value: String::from_utf8_lossy(&record.value).into_owned(),
                }),
                _ => None,
            });
        Ok(records.collect())
    }
}

impl NameServer {
    /// The texts that stand at a name, as this server has them.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn texts(&self, name: &Name) -> Result<Vec<String>, String> {
        let mut reason = String::new();
        for address in &self.addresses {
            match ask(*address, &query(name, RecordType::TXT, false)).await {
                Ok(answer) if is_answer(&answer) => {
                    return Ok(answer.answers.iter().filter_map(text_of).collect());
                }
                Ok(answer) => reason = format!("answers {}", answer.response_code),
                Err(why) => reason = why,
            }
        }
        Err(format!("{}: {reason}", self.name))
    }

    /// The zone of a name, where this server has it.
    pub async fn zone_of(&self, name: &Name) -> Option<Name> {
        for address in &self.addresses {
            let answer = ask(*address, &query(name, RecordType::SOA, false)).await;
            let answer = answer
                .ok()
                .filter(|answer| is_answer(answer) && answer.authoritative);
            if let Some(zone) = answer.and_then(|answer| zone_in(&answer, name)) {
                return Some(zone);
            }
        }
        None
    }
}

/// A name that ends at the root.
///
/// # Errors
/// Why it is none.
pub fn absolute(name: &str) -> Result<Name, String> {
    let name = format!("{}.", name.trim_end_matches('.'));
    Name::from_ascii(&name).map_err(|_| format!("{name:?} is no name"))
}

fn text_of(record: &Record) -> Option<String> {
    let RData::TXT(text) = &record.data else {
        return None;
    };
    let bytes: Vec<u8> = text.txt_data.concat();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server that has no such name tells of its zone all the same (RFC 2308, section 3).
fn zone_in(answer: &Message, name: &Name) -> Option<Name> {
    let records = answer.answers.iter().chain(&answer.authorities);
    let mut zones = records.filter(|record| record.record_type() == RecordType::SOA);
    let zone = zones.find(|record| !record.name.is_root() && record.name.zone_of(name))?;
    Some(zone.name.clone())
}

fn is_answer(answer: &Message) -> bool {
    matches!(
        answer.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    )
}

fn query(name: &Name, kind: RecordType, recursion: bool) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = recursion;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD_MAX);
    query.set_edns(edns);
    query
}

/// One question and its answer: over UDP, and over TCP where that is too short or lost.
async fn ask(server: SocketAddr, query: &Message) -> Result<Message, String> {
    let bytes = query.to_vec().map_err(|error| error.to_string())?;
    for _ in 0..TRIES {
        match timeout(UDP_MAX, over_udp(server, &bytes, query)).await {
            Ok(Ok(answer)) if !answer.truncation => return Ok(answer),
            Ok(_) => break,
            Err(_) => {}
        }
    }
    let answer = over_tcp(server, &bytes).await?;
    let answer = Message::from_vec(&answer).map_err(|_| "answers what is no answer".to_owned())?;
    match answers(&answer, query) {
        true => Ok(answer),
        false => Err("answers another question".to_owned()),
    }
}

async fn over_udp(server: SocketAddr, bytes: &[u8], query: &Message) -> std::io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; 4_096];
    loop {
        let read = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..read).map(Message::from_vec);
        // Whatever else comes to this port is somebody's guess.
        if let Some(Ok(answer)) = answer
            && answers(&answer, query)
        {
            return Ok(answer);
        }
    }
}

/// One message and its answer over TCP (RFC 1035, section 4.2.2), in bytes.
pub(super) async fn over_tcp(server: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let length = u16::try_from(bytes.len()).map_err(|_| "the question is too long".to_owned())?;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(bytes);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(TCP_MAX, exchange).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?;
    answer.map_err(|error| format!("no answer: {error}"))
}

fn answers(answer: &Message, query: &Message) -> bool {
    let asked = |message: &Message| {
        let query = message.queries.first();
        query.map(|query| (query.name().to_lowercase(), query.query_type()))
    };
    answer.id == query.id
        && answer.message_type == MessageType::Response
        && answer.op_code == OpCode::Query
        // Some who refuse do not repeat what they refuse.
        && (answer.queries.is_empty() && !is_answer(answer) || asked(answer) == asked(query))
}

/// The servers of a resolv.conf; this host where it names none (resolv.conf(5)).
fn of_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let named = words.next() == Some("nameserver");
        // The zone of a link-local address is the network's, which is not ours to choose.
        let address = words.next()?.split('%').next()?;
        let address = address.parse::<IpAddr>().ok().filter(|_| named)?;
        Some(SocketAddr::new(address, DNS_PORT))
    });
    let servers: Vec<SocketAddr> = lines.take(SERVERS_MAX).collect();
    match servers.is_empty() {
        true => vec![([127, 0, 0, 1], DNS_PORT).into()],
        false => servers,
    }
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// What passes every network in one piece (dnsflagday.net).
const PAYLOAD_MAX: u16 = 1_232;
const TRIES: usize = 2;
const UDP_MAX: Duration = Duration::from_secs(2);
const TCP_MAX: Duration = Duration::from_secs(5);
const CNAMES_MAX: usize = 9;
/// More name servers than a zone has.
const SERVERS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_the_system_are_read() {
        let text = "# c\nsearch a.org\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions x\n";
        let found = of_resolv_conf(text);
        assert_eq!(
            found,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[fe80::1]:53".parse().unwrap()
            ]
        );
        assert_eq!(of_resolv_conf(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn an_answer_is_one_to_the_question() {
        let name = absolute("a.org").unwrap();
        let asked = query(&name, RecordType::TXT, false);
        let mut answer = asked.clone().into_response();
        assert!(answers(&answer, &asked));
        assert!(!answers(&asked, &asked));
        answer.metadata.id ^= 1;
        assert!(!answers(&answer, &asked));
        let other = query(&name, RecordType::A, false);
        let mut answer = other.into_response();
        answer.metadata.id = asked.id;
        assert!(!answers(&answer, &asked));
    }

    #[tokio::test]
    async fn what_does_not_fit_comes_over_tcp() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(at).await.unwrap();
        let serve = async {
            let mut bytes = [0; 512];
            let (read, from) = udp.recv_from(&mut bytes).await.unwrap();
            let asked = Message::from_vec(&bytes[..read]).unwrap();
            // A guess of somebody's comes first, and then a part.
            let mut guess = asked.clone().into_response();
            guess.metadata.id ^= 1;
            udp.send_to(&guess.to_vec().unwrap(), from).await.unwrap();
            let mut part = asked.clone().into_response();
            part.metadata.truncation = true;
            udp.send_to(&part.to_vec().unwrap(), from).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            assert_eq!(usize::from(length), read);
            stream.read_exact(&mut bytes[..read]).await.unwrap();
            let mut whole = asked.into_response();
            let name = absolute("a.org").unwrap();
            let text = hickory_proto::rr::rdata::TXT::new(vec!["a".to_owned(), "b".to_owned()]);
            whole.add_answer(Record::from_rdata(name, 1, RData::TXT(text)));
            let whole = whole.to_vec().unwrap();
            let length = u16::try_from(whole.len()).unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&whole).await.unwrap();
        };
        let server = NameServer {
            name: "ns".to_owned(),
            addresses: vec![at],
        };
        let name = absolute("a.org").unwrap();
        let (texts, ()) = tokio::join!(server.texts(&name), serve);
        assert_eq!(texts, Ok(vec!["ab".to_owned()]));
    }

    #[tokio::test]
    async fn nobody_who_answers_is_told() {
        let nobody = Resolver::new(vec![([127, 0, 0, 1], 1).into()]);
        let reason = nobody.caa("a.org").await.unwrap_err();
        assert!(
            reason.starts_with("CAA of a.org.: 127.0.0.1:1: no answer"),
            "{reason}"
        );
    }
}
