//! What README.md shows of single commands, log lines and the source is what there is.

use osvc_igw::config::{Command, parse};
use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;
use prost::Message;
use prost_types::FileDescriptorProto;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::om::Om;
use crate::support::page::{block, file, same};
use crate::support::session::Session;

const README: &str = "README.md";

#[test]
pub(super) fn what_check_says_of_a_file_with_two_mistakes() {
    let session = &mut Session::start(&[]);
    let text = "\
[ip#0]
ipname = 10.0.0.1
expose = expose#0 expose#1
[expose#0]
type = envoy
prot = tcp
port = 8080
listener_port = 80
";
    session.folder.write("web1.conf", text);
    let opening = "$ osvc-igw check";
    let typed = block(README, opening).opening().to_owned();
    let (code, told) = session.run(typed.trim_start_matches("$ "));
    assert_eq!(code, 2, "{told}");
    same(README, opening, &format!("{typed}\n{told}"), str::to_owned);
}

/// A `sec` object with a certificate for `www.acme.org`.
fn certificate(sim: &Sim, path: &str, authority: &Authority) {
    let names = ["www.acme.org"];
    let pair = authority.issue(names[0], &names).expect("a certificate");
    sim.create(path, "").expect("an object");
    for (key, text) in [
        ("private_key", &pair.key_pem),
        ("certificate_chain", &pair.chain_pem),
    ] {
        sim.set_key(path, key, text).expect("a key");
    }
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn a_domain_that_two_services_want_is_this_line_of_the_log() {
    let mut session = Session::start(&[("OSVC_IGW_SOCKET", "lsnr.sock")]);
    let sim = Sim::start(&session.folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    let authority = Authority::new("acme").expect("an authority");
    certificate(&sim, "test/sec/www", &authority);
    for number in [1, 2] {
        let config = format!(
            "[ip#0]\nipname = 127.78.1.{number}\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
             port = 80\nlistener_port = 443\nvhosts = vhost#0\n\
             listener_certificates = certificate#0\n[vhost#0]\ndomains = www.acme.org\n\
             [certificate#0]\ntype = tls\ncertificate_secret = www\n"
        );
        let path = format!("test/svc/web{number}");
        sim.create(&path, &config).expect("a service");
    }
    session.behind("osvc-igw", "igw.log");
    let log = session.until_file("igw.log", " problem object=test/svc/web2 ");
    let at = log
        .find("WARN problem object=test/svc/web2 ")
        .expect("the line");
    let line = log[at..].lines().next().unwrap_or_default();
    same(README, "WARN problem", &format!("{line}\n"), str::to_owned);
}

#[tokio::test(flavor = "multi_thread")]
pub(super) async fn an_account_of_these_commands_is_all_that_a_gateway_elsewhere_needs() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut session = Session::start(&[]);
    let folder = session.folder.0.clone();
    let sim = Sim::start(&folder.join("lsnr.sock"), &["n1"]).expect("a daemon");
    let authority = Authority::new("the cluster's").expect("an authority");
    let identity = authority
        .issue("n1", &["127.0.0.1"])
        .expect("a certificate");
    let door = sim.serve_tls(([127, 0, 0, 1], 0).into(), &identity, authority.pem());
    let door = door.expect("a port").to_string();
    sim.create("system/sec/CA", "").expect("an object");
    sim.set_key("system/sec/CA", "certificate_chain", authority.pem())
        .expect("a key");
    // A secret is what only the account's grant lets it read.
    certificate(&sim, "shop/sec/www", &authority);
    let config = "[ip#0]\nipname = 127.78.2.1\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
                  port = 80\nlistener_port = 443\nvhosts = vhost#0\n\
                  listener_certificates = certificate#0\n[vhost#0]\ndomains = www.acme.org\n\
                  [certificate#0]\ntype = tls\ncertificate_secret = www\n";
    sim.create("shop/svc/web", config).expect("a service");
    let mut om = Om::new(&sim, &folder, &authority);
    for line in block(README, "om system/usr/igw create").commands() {
        if line.starts_with("om ") {
            om.run(&line).expect("it works");
        } else {
            let here = line.replace("n1:1215", &door).replace("n2:1215", &door);
            assert!(here.contains(&door), "{line}");
            session.behind(&here, "igw.log");
        }
    }
    session.until("osvc-igw health --ready", |code, _| code == 0);
    let told = session.works("osvc-igw status --format json");
    let status: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(status["problems"], json!([]), "{status:#}");
    let lacks = &status["daemon"]["lacks"];
    assert!(lacks.is_null() || *lacks == json!([]), "{lacks}");
    assert_eq!(status["resources"]["lds"], 1, "{status:#}");
}

/// As grpcurl does it: the service's description comes from the server.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn the_call_of_grpcurl_is_one_that_the_service_describes() {
    let typed = block(README, "grpcurl").commands().remove(0);
    let words: Vec<&str> = typed.split(' ').collect();
    let ["grpcurl", "-plaintext", address, call] = words.as_slice() else {
        panic!("{typed}");
    };
    let Ok(Command::Run(run)) = parse(["osvc-igw"]) else {
        panic!("no command means run");
    };
    let gateway = &run.run.gateway;
    assert_eq!(*address, format!("{}:{}", gateway.bind, gateway.port));
    let (service, method) = call.split_once('/').expect("SERVICE/METHOD");
    let mut session = Session::start(&[("OSVC_IGW_SOCKET", "lsnr.sock")]);
    let _sim = Sim::start(&session.folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    session.behind("osvc-igw", "igw.log");
    session.until("osvc-igw health --ready", |code, _| code == 0);
    let here = session.works("echo $OSVC_IGW_ADDRESS");
    let endpoint = Endpoint::from_shared(format!("http://{}", here.trim()));
    let channel = endpoint
        .expect("an address")
        .connect()
        .await
        .expect("a connection");
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(service.to_owned())),
    };
    let asked = futures::stream::iter([request]);
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(asked)
        .await;
    let answer = answers
        .expect("answers")
        .into_inner()
        .message()
        .await
        .expect("an answer");
    let Some(MessageResponse::FileDescriptorResponse(files)) =
        answer.expect("one").message_response
    else {
        panic!("{service} is not described");
    };
    let files = files.file_descriptor_proto.iter();
    let files = files.map(|bytes| FileDescriptorProto::decode(&bytes[..]).expect("a file"));
    let services = files.flat_map(|file| file.service);
    let methods = services.flat_map(|it| it.method).filter_map(|it| it.name);
    let methods: Vec<String> = methods.collect();
    assert!(methods.iter().any(|it| it == method), "{methods:?}");
}

#[test]
pub(super) fn the_picture_names_rooms_that_are_there() {
    let text = block(README, " OpenSVC daemon").text;
    let rooms = ["opensvc", "inventory", "gateway", "xds"];
    for room in rooms {
        assert!(text.contains(&format!("{room} ")) || text.contains(&format!("{room}::")));
        assert!(file("src").join(room).is_dir(), "src/{room}");
    }
    // The one that is named by its path is a file of its room.
    assert!(text.contains("xds::session"));
    let session = file("src/xds/session");
    assert!(session.is_dir() || session.with_extension("rs").is_file());
    for step in ["compile", "encode"] {
        assert!(text.contains(&format!("─{step}─▶")), "{step}");
    }
}
