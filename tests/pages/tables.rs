//! What the tables of README.md name is there, and nothing that is there is missing; the snippets
//! of examples/README.md are right.

use std::collections::BTreeSet;

use osvc_igw::cert::dns::settings::keys_of;
use osvc_igw::check::act::stand;
use osvc_igw::check::{Level, Source, check, show};
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::drivers::SECTIONS;
use osvc_igw::inventory::ini::Ini;
use osvc_igw::sim::Sim;

use crate::support::page::{blocks, read};
use crate::support::session::Session;

/// The rows of the table under this head: the words in backticks of the first cell, and the rest.
fn rows(page: &str, head: &str) -> Vec<(Vec<String>, String)> {
    let text = read(page);
    let (_, below) = text.split_once(&format!("{head}\n|---")).expect("a table");
    let lines = below
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = lines.map(|line| line[1..].split_once('|').expect("two cells"));
    cells
        .map(|(first, rest)| (quoted(first), rest.to_owned()))
        .collect()
}

/// The words in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_admin_page_of_the_table_answers() {
    let mut session = Session::start(&[("OSVC_IGW_SOCKET", "lsnr.sock")]);
    let _sim = Sim::start(&session.folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    session.behind("osvc-igw", "igw.log");
    session.until("osvc-igw health --ready", |code, _| code == 0);
    let pages = rows("README.md", "| the admin address answers | with |");
    let mut pages: Vec<String> = pages.into_iter().flat_map(|(pages, _)| pages).collect();
    assert!(pages.len() >= 8, "{pages:?}");
    // Two that the text tells of.
    pages.extend(["/snapshot", "/diff"].map(str::to_owned));
    for page in pages {
        let asked = format!(
            "curl --max-time 2 --output /dev/null --write-out '%{{http_code}}' \
             http://$OSVC_IGW_ADMIN_ADDRESS{page}"
        );
        // The stream of events goes on until who reads it leaves.
        let (_, told) = session.run(&asked);
        assert_eq!(told.lines().last(), Some("200"), "{page}: {told}");
    }
}

#[test]
fn every_key_of_an_issuer_is_read_and_told_of() {
    let head = "| key of the issuer | meaning |";
    let text = read("README.md");
    let tables = text.matches(&format!("{head}\n")).count();
    assert_eq!(tables, 2, "one for all issuers, one for the DNS");
    let (_, second) = text.split_once("### Wildcards").expect("the second one");
    let below = |text: &str| -> BTreeSet<String> {
        let (_, table) = text.split_once(&format!("{head}\n|---")).expect("a table");
        let lines = table
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        lines
            .flat_map(|line| quoted(line[1..].split('|').next().unwrap_or_default()))
            .collect()
    };
    let mut source = String::new();
    for name in ["declaration/mod.rs", "dns/settings.rs"] {
        source += &read(&format!("src/cert/{name}"));
    }
    for key in below(&text) {
        assert!(source.contains(&format!("\"{key}\"")), "{key} is read");
    }
    let ways = ["rfc2136", "httpreq", "exec"];
    let known = ways
        .iter()
        .flat_map(|way| keys_of(way))
        .map(|it| (*it).to_owned());
    let known: BTreeSet<String> = known.chain(["dns".to_owned()]).collect();
    assert_eq!(below(second), known);
}

#[test]
fn every_keyword_of_the_sections_is_in_the_table_and_no_other() {
    let rows = rows("README.md", "| section | keywords |");
    let known: BTreeSet<&str> = SECTIONS
        .iter()
        .flat_map(|section| section.keywords.iter().map(|(name, _)| *name))
        .collect();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (section, rest) in &rows {
        let words = quoted(rest);
        for word in words
            .iter()
            .filter(|word| word.contains('_') && !word.starts_with('-'))
        {
            let begin = word.trim_end_matches('*');
            let there = known
                .iter()
                .any(|it| *it == word || word.ends_with('*') && it.starts_with(begin));
            let key = OF_SECRETS.contains(&word.as_str());
            assert!(there || key, "{section:?}: {word} is no keyword");
        }
        told.extend(words);
    }
    // The route's own are in examples/README.md, which has its own test.
    let mut missing = Vec::new();
    for section in SECTIONS.iter().filter(|section| section.group != "route") {
        for (name, _) in section.keywords {
            let covers = |it: &String| {
                it == name || it.ends_with('*') && name.starts_with(it.trim_end_matches('*'))
            };
            if !told.iter().any(covers) && !SILENT.contains(name) {
                missing.push(format!("{} {name}", section.group));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "not told of");
}

/// Drivers of the agent know them, and nothing is made of them.
const SILENT: [&str; 2] = ["validation_filename", "validation_inline_string"];
/// Keys of `sec` objects, which the row of certificates names.
const OF_SECRETS: [&str; 4] = [
    "certificate_chain",
    "private_key",
    "trusted_ca",
    "verify_certificate_hash",
];

#[test]
fn the_snippets_of_the_keywords_are_right() {
    let stand = stand().expect("a certificate");
    let snippets = blocks(&read("examples/README.md")).expect("a page");
    let snippets = snippets.iter().filter(|it| it.language == "ini");
    let mut count = 0;
    for snippet in snippets {
        count += 1;
        let source = Source {
            object: "test/svc/web".parse().expect("a path"),
            file: "web.conf".to_owned(),
            text: format!("{}\n{}", snippet.text, around(&snippet.text)),
        };
        let checked = check(&[source], None, &Policy::default(), &stand, 0);
        let wrong = checked.findings.iter().any(|it| it.level == Level::Problem);
        assert!(!wrong, "{}{}", snippet.text, show::text(&checked.findings));
    }
    assert_eq!(count, 6);
}

/// What a snippet leaves out: an address that is behind all of its exposes, and the sections that
/// it names and does not show.
fn around(snippet: &str) -> String {
    let (ini, errors) = Ini::read(snippet);
    assert!(errors.is_empty(), "{errors:?}");
    let sections = ini.sections();
    let exposes = sections.keys().filter(|it| it.starts_with("expose#"));
    let exposes: Vec<&str> = exposes.map(String::as_str).collect();
    let mut text = match exposes.is_empty() {
        true => String::new(),
        false => format!(
            "[ip#0]\nipname = 10.0.0.1\nexpose = {}\n",
            exposes.join(" ")
        ),
    };
    let values = sections.values().flat_map(|body| body.keywords.values());
    let named: BTreeSet<&str> = values.flat_map(|it| it.text.split_whitespace()).collect();
    for name in named
        .into_iter()
        .filter(|name| !sections.contains_key(*name))
    {
        let body = match name.split('#').next() {
            Some("vhost") => "domains = www.acme.org",
            Some("certificate") => "type = tls\ncertificate_secret = front",
            _ => continue,
        };
        text += &format!("[{name}]\n{body}\n");
    }
    text
}
