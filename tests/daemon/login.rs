//! Who the client is over TLS, what it is shown for that, and what it says when it is not let in.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use osvc_igw::inventory::{Event, Sensitive};
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::raw::Limits;
use osvc_igw::opensvc::tls::{Access, Login, Password, Server};
use osvc_igw::opensvc::{Daemon, Error};
use osvc_igw::sim::certificate::{Authority, Identity};
use tokio::time::timeout;

use super::sites::{SERVICE, limits};
use super::{Served, Site, Way};

/// The client of the site with another login.
fn client(site: &Site, login: Login) -> H2 {
    let access = Access {
        login,
        ..site.access()
    };
    H2::at_servers(vec![site.server.clone()], access).with_limits(limits())
}

fn password(text: &str) -> Login {
    Login::Password {
        user: "igw".to_owned(),
        password: Password::Given(Sensitive::new(text.to_owned())),
    }
}

/// The paths that the first status has.
async fn shown(daemon: &H2) -> Vec<String> {
    match daemon.watch().next().await {
        Some(Ok(Event::Reset(report))) => report.objects.keys().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

async fn refused(daemon: &H2) -> Error {
    match daemon.watch().next().await {
        Some(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_way_to_log_in_is_taken() {
    let site = Site::start(Way::Tls);
    site.sim.set_token("good", Some(("igw", "guest:test")));
    let file = site.folder.write("password", "hunter2\n");
    let token = site.folder.write("token", "good\n");
    for login in [
        site.access().login,
        password("hunter2"),
        Login::Password {
            user: "igw".to_owned(),
            password: Password::File(file),
        },
        Login::Token(token),
    ] {
        let shown = shown(&client(&site, login)).await;
        assert!(shown.contains(&SERVICE.to_owned()), "{shown:?}");
    }
}

#[tokio::test]
async fn who_is_not_known_is_told_so_and_shown_nothing() {
    let site = Site::start(Way::Tls);
    let stranger = site
        .authority
        .issue("stranger", &["x"])
        .expect("a certificate");
    let chain = site.folder.write("stranger.pem", &stranger.chain_pem);
    let key = site.folder.write("stranger-key.pem", &stranger.key_pem);
    let token = site.folder.write("token", "no token\n");
    for login in [
        password("wrong"),
        Login::Token(token),
        Login::Certificate { chain, key },
    ] {
        let daemon = client(&site, login);
        let error = refused(&daemon).await;
        let address = format!("127.0.0.1:{}", site.server.port);
        let expected = format!(
            "the OpenSVC daemon at {address} does not take these credentials: the certificate's \
             common name, or the user's name, has to be that of a usr object of the namespace \
             system; a password or a token has to be right"
        );
        assert_eq!(error.to_string(), expected);
        let read = daemon.read_config(&SERVICE.parse().expect("a path")).await;
        assert_eq!(read.expect_err("a refusal").to_string(), expected);
    }
}

#[tokio::test]
async fn a_token_is_read_anew_for_each_connection() {
    let site = Site::start(Way::Tls);
    site.sim.set_token("first", Some(("igw", "guest:test")));
    let token = site.folder.write("token", "first");
    let daemon = client(&site, Login::Token(token));
    shown(&daemon).await;
    // The daemon hangs up on one that is expired.
    site.sim.set_token("first", None);
    let error = refused(&daemon).await;
    let address = format!("127.0.0.1:{}", site.server.port);
    let expected = format!(
        "the OpenSVC daemon at {address} hangs up on whoami, as on a token that is expired"
    );
    assert_eq!(error.to_string(), expected);
    site.sim.set_token("second", Some(("igw", "guest:test")));
    site.folder.write("token", "second");
    shown(&daemon).await;
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let site = Site::start(Way::Tls);
    let token = site.folder.write("token", "hunter2\nhunter2");
    for login in [password("hunter2"), Login::Token(token)] {
        let daemon = client(&site, login);
        let error = match daemon.watch().next().await {
            Some(Err(error)) => format!("{error} {error:?}"),
            _ => String::new(),
        };
        let shown = format!("{daemon:?} {error}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("aWd3Omh1bnRlcjI"), "{shown}");
    }
}

#[tokio::test]
async fn files_that_are_no_use_are_named() {
    let site = Site::start(Way::Tls);
    let chain = site.path("cert.pem");
    let junk = site.folder.write("junk.pem", "junk");
    let login = |chain, key| Login::Certificate { chain, key };
    let access = |ca, login| Access { ca, login };
    for (access, expected) in [
        (
            access(site.path("none.pem"), password("x")),
            "none.pem (--ca): No such file or directory (os error 2)",
        ),
        (
            access(junk.clone(), password("x")),
            "junk.pem (--ca): it holds no certificate",
        ),
        (
            access(site.path("ca.pem"), login(chain.clone(), junk.clone())),
            "junk.pem (--client-key): it holds no key",
        ),
        (
            access(
                site.path("ca.pem"),
                login(junk.clone(), site.path("key.pem")),
            ),
            "junk.pem (--client-cert): it holds no certificate",
        ),
        (
            access(site.path("ca.pem"), Login::Token(site.path("none"))),
            "none (--token-file): No such file or directory (os error 2)",
        ),
    ] {
        let daemon = H2::at_servers(vec![site.server.clone()], access);
        let error = refused(&daemon).await.to_string();
        assert!(error.starts_with("cannot use /"), "{error}");
        assert!(error.ends_with(expected), "{error}");
    }
}

/// A certificate as the agent makes it without `alt_names`: of X.509 version 1.
fn old_certificate() -> Identity {
    Identity {
        chain_pem: include_str!("old.pem").to_owned(),
        key_pem: include_str!("old-key.pem").to_owned(),
    }
}

#[tokio::test]
async fn a_certificate_that_rustls_cannot_take_comes_with_its_remedy() {
    let site = Site::start(Way::Tls);
    let old = old_certificate();
    let other = Authority::new("other").expect("an authority");
    let nameless = site
        .authority
        .issue("demo", &["n9"])
        .expect("a certificate");
    let foreign = other.issue("demo", &["127.0.0.1"]).expect("a certificate");
    for (identity, expected) in [
        (
            old,
            "X.509 version 1, as the agent makes it without alt_names",
        ),
        (nameless, "has no alt_names with 127.0.0.1"),
        (foreign, "is not of the authority in --ca"),
    ] {
        let listening = site
            .sim
            .serve_tls(([127, 0, 0, 1], 0).into(), &identity, other.pem());
        let server = Server {
            host: "127.0.0.1".to_owned(),
            port: listening.expect("a port").port(),
        };
        let daemon = H2::at_servers(vec![server], site.access());
        let error = refused(&daemon).await.to_string();
        assert!(error.contains(expected), "{error}");
        let remedy = "om system/sec/NAME create --kw ca=system/sec/CA";
        assert_eq!(error.contains(remedy), !error.contains("--ca"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_our_own_that_rustls_cannot_take_comes_with_its_remedy() {
    let site = Site::start(Way::Tls);
    let old = old_certificate();
    let chain = site.folder.write("old.pem", &old.chain_pem);
    let key = site.folder.write("old-key.pem", &old.key_pem);
    let daemon = client(&site, Login::Certificate { chain, key });
    let error = refused(&daemon).await.to_string();
    assert!(error.contains("(--client-cert)"), "{error}");
    assert!(
        error.contains("om system/usr/NAME create --kw alt_names=NAME"),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_is_shown_the_namespaces_of_its_grant() {
    let site = Site::start(Way::Tls);
    site.sim.create("other/svc/web2", "").expect("an object");
    for (grant, expected) in [
        ("guest:*", &["other/svc/web2", SERVICE][..]),
        ("guest:test", &[SERVICE]),
        ("operator:te*", &[SERVICE]),
        ("admin:other", &["other/svc/web2"]),
        ("squatter", &[]),
        ("root", &["other/svc/web2", SERVICE]),
    ] {
        site.sim.set_user("igw", grant, None);
        let mut shown = shown(&client(&site, site.access().login)).await;
        shown.retain(|path| path.contains("svc"));
        assert_eq!(shown, expected, "{grant}");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let site = Site::start(Way::Tls);
    site.sim.create("test/sec/a", "").expect("an object");
    site.sim
        .set_key("test/sec/a", "k", "hunter2")
        .expect("a key");
    site.sim.set_user("igw", "guest:test", None);
    let daemon = client(&site, site.access().login);
    let path = |text: &str| text.parse().expect("a path");
    let needs = "the account igw has no grant admin:test: ";
    let remedy = "(om system/usr/igw set --kw grant+=admin:test)";
    let key = daemon.read_key(&path("test/sec/a"), "k").await;
    let key = key.expect_err("a refusal").to_string();
    assert!(key.contains(needs) && key.ends_with(remedy), "{key}");
    let config = daemon.read_config(&path(SERVICE)).await;
    let config = config.expect_err("a refusal").to_string();
    assert!(
        config.contains(needs) && config.ends_with(remedy),
        "{config}"
    );
    let value = Sensitive::new("hunter3".to_owned());
    let written = daemon.write_key(&path("test/sec/a"), "k", &value).await;
    let written = written.expect_err("a refusal");
    let shown = format!("{written} {written:?}");
    assert!(shown.contains(needs) && shown.contains(remedy), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
    let created = daemon.create(&path("other/sec/b")).await;
    let created = created.expect_err("a refusal").to_string();
    assert!(
        created.contains("igw has no grant admin:other: "),
        "{created}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_grants_are_seen_with_the_next_stream_and_nothing_goes_meanwhile() {
    let site = Site::start(Way::Tls);
    site.sim.set_user("igw", "guest:test admin:test", None);
    let short = Limits {
        refresh: Duration::from_millis(500),
        ..limits()
    };
    let served = Served::from(site.daemon_with(short));
    let first = served.next(&[]).await;
    let ini = "[DEFAULT]\ntopology = flex\n[ip#1]\nipname = 10.0.1.1\nipdev = lo\nnetmask = 8\n\
               expose = expose#0\n[expose#0]\ntype = envoy\nport = 80\nlistener_port = 8090\n";
    site.sim.create("new/svc/web2", ini).expect("a service");
    site.sim.set_user("igw", "guest:* admin:*", None);
    let second = served.next(std::slice::from_ref(&first)).await;
    let gone = second
        .changes(&first)
        .filter(|(kind, name)| second.get(*kind, name).is_none());
    assert_eq!(gone.count(), 0);
    let cut = served.views.borrow().syncs;
    let mut views = served.views.clone();
    let more = timeout(
        Duration::from_secs(10),
        views.wait_for(|view| view.syncs > cut + 2),
    );
    assert!(
        more.await
            .is_ok_and(|view| view.is_ok_and(|view| view.connected))
    );
    assert!(
        served
            .seen()
            .iter()
            .all(|seen| *seen == first || *seen == second)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_cannot_be_renewed_is_followed() {
    let site = Site::start(Way::Tls);
    let short = Limits {
        refresh: Duration::from_millis(300),
        ..limits()
    };
    let daemon = site.daemon_with(short);
    let mut events = daemon.watch();
    events.next().await.expect("an event").expect("a status");
    let account = events.next().await.expect("an event").expect("an account");
    assert!(matches!(account, Event::Account(_)), "{account:?}");
    site.sim.set_user("igw", "", None);
    site.sim.refuse(true);
    tokio::spawn({
        let sim = site.sim.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sim.set_address(SERVICE, "ip#1", "10.0.0.9")
                .expect("a service");
        }
    });
    let event = events.next().await.expect("an event").expect("a change");
    assert!(matches!(event, Event::Put(_)), "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_passed_over() {
    let (one, two) = (Site::start(Way::Tls), Site::start(Way::Tls));
    // Both are of one cluster: the same authority.
    let identity = one
        .authority
        .issue("demo", &["127.0.0.1"])
        .expect("a certificate");
    let bound = two
        .sim
        .serve_tls(([127, 0, 0, 1], 0).into(), &identity, one.authority.pem());
    let second = Server {
        host: "127.0.0.1".to_owned(),
        port: bound.expect("a port").port(),
    };
    let nobody = Server {
        host: "127.0.0.1".to_owned(),
        port: osvc_igw::demo::ports::free().expect("a free port"),
    };
    let servers = vec![nobody, one.server.clone(), second];
    let daemon = H2::at_servers(servers, one.access()).with_limits(limits());
    let served = Served::from(Arc::new(daemon));
    let first = served.next(&[]).await;
    assert_eq!(
        (one.sim.requests("events"), two.sim.requests("events")),
        (1, 0)
    );
    two.sim
        .set_address(SERVICE, "ip#1", "10.0.0.9")
        .expect("a service");
    one.sim.stop();
    served.next(&[first]).await;
    assert!(two.sim.requests("events") > 0);
}
