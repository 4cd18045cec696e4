//! EDGE: writes records by dynamic updates (RFC 2136) that are signed (RFC 8945), and takes an
//! answer only if it is signed, too.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

use super::lookup::{NameServer, Resolver, absolute, over_tcp};
use super::settings::{Algorithm, Update, tsig_key};

/// What is done with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is put beside the others of its name.
    Add,
    /// It is taken away, and no other.
    Remove,
}

/// Adds texts to names, or takes these texts away from them.
///
/// # Errors
/// What the server says, as a sentence that does not show the key.
pub async fn change(
    update: &Update,
    resolver: &Resolver,
    change: Change,
    texts: &[(Name, String)],
    now: i64,
) -> Result<(), String> {
    let server = resolver.server(&update.server).await?;
    let mut left: Vec<(Name, &(Name, String))> = Vec::new();
    for text in texts {
        left.push((zone_of(update, resolver, &server, &text.0).await?, text));
    }
    while let Some((zone, _)) = left.first().cloned() {
        let (now_sent, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|one| one.0 == zone);
        let records = now_sent
            .into_iter()
            .map(|(_, (name, text))| record(change, name, text));
        send(update, &server, &zone, records.collect(), now).await?;
        left = later;
    }
    Ok(())
}

/// The zone of a name: as it is set, else as the server says, which may be alone in knowing it.
async fn zone_of(
    update: &Update,
    resolver: &Resolver,
    server: &NameServer,
    name: &Name,
) -> Result<Name, String> {
    let Some(zone) = &update.zone else {
        return match server.zone_of(name).await {
            Some(zone) => Ok(zone),
            None => resolver.zone_of(name).await,
        };
    };
    let zone = absolute(zone)?;
    match zone.zone_of(name) {
        true => Ok(zone),
        false => Err(format!(
            "{} is not in the zone {} (key dns_zone)",
            name.to_ascii(),
            zone.to_ascii()
        )),
    }
}

fn record(change: Change, name: &Name, text: &str) -> Record {
    let data = RData::TXT(TXT::new(vec![text.to_owned()]));
    match change {
        Change::Add => Record::from_rdata(name.clone(), TTL_S, data),
        Change::Remove => {
            let mut record = Record::from_rdata(name.clone(), 0, data);
            record.dns_class = DNSClass::NONE;
            record
        }
    }
}

async fn send(
    update: &Update,
    server: &NameServer,
    zone: &Name,
    records: Vec<Record>,
    now: i64,
) -> Result<(), String> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone.clone(), RecordType::SOA));
    message.authorities = records;
    let signer = signer(update)?;
    let at = u64::try_from(now).unwrap_or_default();
    let signed = message
        .finalize(&signer, at)
        .map_err(|error| error.to_string())?;
    let bytes = message.to_vec().map_err(|error| error.to_string())?;
    let named = format!("the name server {}", server.name);
    let mut answer = Err("has no address".to_owned());
    for address in &server.addresses {
        answer = over_tcp(*address, &bytes).await;
        if answer.is_ok() {
            break;
        }
    }
    let bytes = answer.map_err(|reason| format!("{named}: {reason}"))?;
    let unread = |_| format!("{named} answers what is no answer");
    let answer = Message::from_vec(&bytes).map_err(unread)?;
    if answer.id != message.id || answer.message_type != MessageType::Response {
        return Err(format!("{named} answers another question"));
    }
    if let Some(reason) = refusal(update, zone, &answer) {
        return Err(format!("{named} {reason}"));
    }
    let verified = signed.is_some_and(|mut signed| signed.verify(&bytes).is_ok());
    match verified {
        true => Ok(()),
        false => Err(format!(
            "{named} answers without the signature of the key {}: somebody else may have",
            update.key_name
        )),
    }
}

/// Why an update was not done; `None` where it was.
fn refusal(update: &Update, zone: &Name, answer: &Message) -> Option<String> {
    let key = &update.key_name;
    let zone = zone.to_ascii();
    let signed = answer.signature().and_then(|record| record.data.error);
    Some(match (signed, answer.response_code) {
        (Some(TsigError::BadKey), _) => {
            format!("has no key {key} with this algorithm that may write to {zone} (BADKEY)")
        }
        (Some(TsigError::BadSig), _) => {
            format!("has another secret for the key {key} (BADSIG)")
        }
        (Some(TsigError::BadTime), _) => {
            "has a clock that is minutes away from ours (BADTIME)".to_owned()
        }
        (Some(error), _) => format!("refuses the signature of the key {key} ({error:?})"),
        (None, ResponseCode::NoError) => return None,
        (None, ResponseCode::NotAuth) => {
            format!("is not the primary of {zone}, or has no key {key} for it (NOTAUTH)")
        }
        (None, ResponseCode::Refused) => {
            format!("does not let the key {key} write to {zone} (REFUSED)")
        }
        (None, ResponseCode::NotZone) => format!("has no such name in {zone} (NOTZONE)"),
        (None, code) => format!("does not update {zone}: {code}"),
    })
}

fn signer(update: &Update) -> Result<TSigner, String> {
    let algorithm = match update.algorithm {
        Algorithm::Sha256 => TsigAlgorithm::HmacSha256,
        Algorithm::Sha384 => TsigAlgorithm::HmacSha384,
        Algorithm::Sha512 => TsigAlgorithm::HmacSha512,
    };
    let wrong = || format!("the key {} is none", update.key_name);
    let key = tsig_key(&update.secret).ok_or_else(wrong)?;
    let name = absolute(&update.key_name)?;
    TSigner::new(key, algorithm, name, FUDGE_S).map_err(|_| wrong())
}

/// Nobody is to remember it: it is gone in a minute.
const TTL_S: u32 = 60;
/// How far two clocks may be apart (RFC 8945, section 10).
const FUDGE_S: u16 = 300;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::TSIG;
    use hickory_proto::rr::rdata::tsig::make_tsig_record;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cert::dns::settings::server;
    use crate::inventory::Sensitive;

    /// What becomes of an update that is answered like this.
    async fn answered(answer: impl Fn(Message) -> Message + Send + 'static) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let bytes = answer(Message::from_vec(&bytes).unwrap()).to_vec().unwrap();
            stream
                .write_u16(u16::try_from(bytes.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&bytes).await.unwrap();
        };
        let update = Update {
            server: server(&at.to_string()).unwrap(),
            zone: Some("a.org".to_owned()),
            key_name: "k".to_owned(),
            secret: Sensitive::new("aHVudGVy".to_owned()),
            algorithm: Algorithm::Sha512,
        };
        let resolver = Resolver::new(vec![at]);
        let texts = [(absolute("x.a.org").unwrap(), "text".to_owned())];
        let sent = change(&update, &resolver, Change::Add, &texts, 1_000_000);
        tokio::join!(serve, sent).1
    }

    fn unsigned(code: ResponseCode, error: Option<TsigError>) -> impl Fn(Message) -> Message {
        move |mut asked| {
            asked.signature = error.map(|error| {
                let tsig = TSIG::new(
                    TsigAlgorithm::HmacSha512,
                    1,
                    300,
                    Vec::new(),
                    asked.id,
                    Some(error),
                    Vec::new(),
                );
                Box::new(make_tsig_record(absolute("k").unwrap(), tsig))
            });
            asked.metadata.response_code = code;
            asked.into_response()
        }
    }

    #[tokio::test]
    async fn what_a_server_says_against_it_is_told() {
        use ResponseCode::{NotAuth, NotZone, Refused, ServFail};
        for (code, error, told) in [
            (NotAuth, Some(TsigError::BadKey), "has no key k with"),
            (
                NotAuth,
                Some(TsigError::BadSig),
                "has another secret for the key k",
            ),
            (NotAuth, Some(TsigError::BadTime), "has a clock"),
            (NotAuth, None, "is not the primary of a.org."),
            (Refused, None, "does not let the key k write to a.org."),
            (NotZone, None, "has no such name in a.org."),
            (ServFail, None, "does not update a.org.: Server Failure"),
        ] {
            let reason = answered(unsigned(code, error)).await.unwrap_err();
            assert!(reason.contains(told), "{reason}");
            assert!(
                !reason.contains("hunter") && !reason.contains("aHVudGVy"),
                "{reason}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_anybody_could_give_is_not_believed() {
        let reason = answered(unsigned(ResponseCode::NoError, None))
            .await
            .unwrap_err();
        assert!(reason.contains("without the signature"), "{reason}");
        // What was sent, said back, has the signature of the question.
        let reason = answered(Message::into_response).await.unwrap_err();
        assert!(reason.contains("without the signature"), "{reason}");
        let other = |mut asked: Message| {
            asked.metadata.id ^= 1;
            asked.into_response()
        };
        let reason = answered(other).await.unwrap_err();
        assert!(reason.contains("another question"), "{reason}");
    }
}
