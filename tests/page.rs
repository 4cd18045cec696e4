//! The page for people in a real browser: the real binary, a simulated daemon, a real Envoy.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use osvc_igw::demo::ports;
use osvc_igw::demo::stage::SERVICE;

use crate::support::chromium::Chromium;
use crate::support::controller::Controller;
use crate::support::rig::Rig;

async fn open(rig: &Rig) -> Chromium {
    let mut tab = Chromium::open(&format!("http://{}/", rig.options.admin)).await;
    let drawn = "Boolean(document.documentElement?.dataset.ready)";
    tab.until("the page is drawn", drawn).await;
    tab
}

/// Whether a part of the page has this text; an expression.
fn has(selector: &str, text: &str) -> String {
    format!(
        "[...document.querySelectorAll({selector:?})].some((one) => \
         one.textContent.includes({text:?}))"
    )
}

/// How many of these there are; an expression.
fn number(selector: &str, expect: usize) -> String {
    format!("document.querySelectorAll({selector:?}).length === {expect}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_is_drawn_and_a_scale_is_followed_live() {
    let mut rig = Rig::start().await;
    let mut tab = open(&rig).await;
    let ports = rig.stage.ports;
    let (plain, tls) = (format!(":{}", ports.plain), format!(":{}", ports.tls));
    for text in [
        plain.as_str(),
        &tls,
        "svcweb.acme.org",
        "alt-svcweb.acme.org",
        "/realtime/generic",
        "expose#0",
        "expose#2",
        "127.77.0.4",
    ] {
        tab.until(text, &has(".node", text)).await;
    }
    tab.until("four instances", &has(".lane-head", "4 instances"))
        .await;
    tab.until("links", "document.querySelectorAll('.link[d]').length > 15")
        .await;
    tab.until("an Envoy in sync", &has("#pills", "1 Envoy in sync"))
        .await;
    tab.until("certificates", &number(".cert", 2)).await;

    rig.stage.scale(2).await.expect("two instances");
    tab.until("two instances", &has(".lane-head", "2 instances"))
        .await;
    tab.until("none of the others", &format!("!{}", has(".node", ".0.4:")))
        .await;
    tab.until("the difference in the log", &has("#log pre", "127.77.0.4:"))
        .await;

    by_keyboard(&mut tab).await;
    on_a_phone(&mut tab).await;
    keep_picture(&mut rig, &mut tab).await;
    assert_eq!(tab.complaints().await, Vec::<String>::new());
    outlive_the_controller(&mut rig, &mut tab).await;
}

async fn outlive_the_controller(rig: &mut Rig, tab: &mut Chromium) {
    let (status, _) = rig.controller.signal("TERM");
    assert!(status.success(), "{status}");
    tab.until(
        "that nobody answers",
        &has("#offline:not([hidden])", "as of"),
    )
    .await;
    tab.until("what was known", &has(".lane-head", "3 instances"))
        .await;
    rig.controller = Controller::start(&rig.options);
    rig.controller.ready().await;
    tab.until("somebody answers", &number("#offline[hidden]", 1))
        .await;
    tab.until("the same again", &has(".lane-head", "3 instances"))
        .await;
}

async fn by_keyboard(tab: &mut Chromium) {
    tab.key("/").await;
    tab.until("the search", "document.activeElement.id === 'find'")
        .await;
    tab.write("127.77.0.2").await;
    tab.until("what is found", &number(".node.hit", 3)).await;
    let at = |class: &str| format!("document.activeElement.classList.contains('{class}')");
    tab.key("ArrowDown").await;
    tab.until("the service", &at("lane-head")).await;
    tab.key("ArrowRight").await;
    tab.until("its listener", &at("node")).await;
    tab.until(
        "the way is lit",
        "document.querySelectorAll('.link.lit').length > 1",
    )
    .await;
    tab.eval("document.activeElement.click()").await;
    tab.until("details", &has("dialog[open] dd", "0.0.0.0:"))
        .await;
    tab.key("Escape").await;
    tab.until("no dialog", &number("dialog[open]", 0)).await;
    let focused = "document.activeElement.classList.contains('node')";
    tab.until("the focus where it was", focused).await;
    tab.key("Escape").await;
    tab.until("no search", "document.getElementById('find').value === ''")
        .await;
    let unnamed = "[...document.querySelectorAll('button, input')].filter((one) => \
                   !(one.textContent || one.labels?.length || one.ariaLabel)).length === 0";
    tab.until("a name for everything", unnamed).await;
}

async fn on_a_phone(tab: &mut Chromium) {
    tab.size(390, 844).await;
    let fits = "document.documentElement.scrollWidth <= 390";
    tab.until("nothing to scroll sideways", fits).await;
    tab.until("a tree", &number(".graph.stacked", 1)).await;
    tab.size(1440, 900).await;
    tab.until("a graph", &number(".graph.stacked", 0)).await;
}

/// `target/page.png` is what README.md shows, made anew.
async fn keep_picture(rig: &mut Rig, tab: &mut Chromium) {
    rig.stage.scale(3).await.expect("three instances");
    tab.until("three instances", &has(".lane-head", "3 instances"))
        .await;
    tab.eval("document.activeElement.blur()").await;
    let picture = tab.screenshot().await;
    assert!(picture.len() > 10_000, "{} bytes", picture.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page.png");
    fs::write(path, picture).expect("a picture");
}

fn service(port: u16, more: &str) -> String {
    format!(
        "[DEFAULT]\nnodes = node1\n[ip#1]\nipname = 127.77.0.1\nipdev = lo\nnetmask = 8\n\
         expose = expose#0\n[expose#0]\ntype = envoy\nport = 80\nlistener_port = {port}\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_a_problem_stand_out_until_they_are_cured() {
    let rig = Rig::bare(&[]).await;
    let mut tab = open(&rig).await;
    let taken = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let sim = &rig.stage.sim;
    sim.create("test/svc/taken", &service(port, ""))
        .expect("a service");
    tab.until("the refusal on top", &has(".alert.bad", "cannot bind"))
        .await;
    tab.until("the broken service", &has(".lane.bad", "test/svc/taken"))
        .await;
    tab.until("the listener", &has(".node.bad", "refused by"))
        .await;
    tab.until("the Envoy", &has(".envoy", "1 refused")).await;
    tab.until("the log", &has(".entry.bad", "rig refuses lds"))
        .await;
    drop(taken);
    tab.until("no refusal", &number(".alert.bad", 0)).await;
    tab.until("the cure in the log", &has(".entry.good", "not refuse lds"))
        .await;

    let evil = "<img/src=x/onerror=alert(1)>";
    let free = ports::free().expect("a port");
    let hostile = service(free, &format!("vhosts = vhost#{evil}\n"));
    sim.create("test/svc/hostile", &hostile).expect("a service");
    tab.until("the problem as text", &has(".alert.warn", evil))
        .await;
    tab.until("in its service", &has(".lane .trouble", evil))
        .await;
    tab.until("in the log", &has(".entry.warn", evil)).await;
    assert_eq!(tab.eval("document.images.length").await, 0);
    sim.remove("test/svc/hostile").expect("a service");
    tab.until("no problem", &has("#pills", "no problems")).await;
    tab.until("its end in the log", &has(".entry.good", evil))
        .await;
    assert_eq!(tab.complaints().await, Vec::<String>::new());
}

/// Makes a thousand services of the one that is there, in the page.
const A_THOUSAND: &str = "(() => {
    const text = JSON.stringify(graph), all = { ...graph, listeners: [], hosts: [], clusters: [] };
    for (let n = 0; n < 1000; n++) {
        const own = text.replaceAll('web1', `web-${n}-`).replaceAll('/tcp', `/tcp${n}`);
        const one = JSON.parse(own.replaceAll('acme', `acme${n}`));
        for (const part of ['listeners', 'hosts', 'clusters']) all[part].push(...one[part]);
    }
    graph = all;
    show();
})()";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_services_what_is_searched_is_drawn() {
    let rig = Rig::start().await;
    let mut tab = open(&rig).await;
    tab.until("the service", &has(".lane", SERVICE)).await;
    tab.eval(A_THOUSAND).await;
    tab.until("their number", &has("#found", "1000 services"))
        .await;
    tab.until("a part of them", &number(".lane", 100)).await;
    tab.until("none is drawn", &number(".node", 0)).await;
    tab.eval("search('svcweb.acme777.org')").await;
    tab.until("one", &has("#found", "1 of 1000 services")).await;
    tab.until("it is drawn", &has(".node", "alt-svcweb.acme777.org"))
        .await;
    tab.until("nothing else", &number(".lane", 1)).await;
    tab.eval("search('')").await;
    tab.until("all again", &number(".lane", 100)).await;
    assert_eq!(tab.complaints().await, Vec::<String>::new());
}
