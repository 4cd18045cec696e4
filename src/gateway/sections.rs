//! Certificates that a `certificate` section holds itself: as names of files on Envoy's host, or
//! as texts. The texts go to Envoy as secrets all the same, never inside a listener.

use std::collections::BTreeSet;

use super::exposes::Exposed;
use super::tls::Side;
use super::{Origin, SecretContent, Source, TlsSecret};
use crate::inventory::certificate::{Pair, chain, private_key};
use crate::inventory::keywords::Keywords;
use crate::inventory::{Problem, Sensitive};

/// The certificate that the section holds itself: `certificate_chain_filename` or
/// `certificate_chain_inline_string` with `private_key_filename` or `private_key_inline_string`;
/// toward backends the key may be the expose's `cluster_private_key_filename`. `None` where there
/// is neither a chain nor a key.
///
/// # Errors
/// The [`Problem`] with one of them. It quotes no text.
pub(super) fn own_certificate(
    exposed: &Exposed<'_>,
    side: Side,
    keywords: &Keywords<'_>,
    section: &str,
    problems: &mut BTreeSet<Problem>,
) -> Result<Option<(String, TlsSecret)>, Problem> {
    let chain = half(keywords, CHAIN, problems)?;
    let mut key = half(keywords, KEY, problems)?;
    let mut name = format!("tls_certificate/{}.{section}", exposed.owner);
    if let (Side::Cluster, Some(_), None, Some(file)) = (
        side,
        &chain,
        &key,
        &exposed.expose.cluster_private_key_filename,
    ) {
        let file = filename(file)
            .ok_or_else(|| exposed.problem("cluster_private_key_filename", NO_FILE.to_owned()))?;
        key = Some(file);
        name = format!("tls_certificate/{}.{section}", exposed.cluster());
    }
    let (chain, key) = match (chain, key) {
        (None, None) => return Ok(None),
        (Some(chain), Some(key)) => (chain, key),
        (None, Some(_)) => return Err(keywords.problem(CHAIN[0], LONE_KEY)),
        (Some(_), None) => return Err(keywords.problem(KEY[0], LONE_CHAIN)),
    };
    let secret = TlsSecret {
        origin: Origin {
            object: exposed.owner.clone(),
            section: section.into(),
        },
        content: content(keywords, chain, key)?,
    };
    Ok(Some((name, secret)))
}

/// The chain or the key: the file if one is named, else the text.
fn half(
    keywords: &Keywords<'_>,
    [file_keyword, text_keyword]: [&str; 2],
    problems: &mut BTreeSet<Problem>,
) -> Result<Option<Source>, Problem> {
    let file = keywords.sensitive(file_keyword)?;
    let text = keywords.sensitive(text_keyword)?;
    let Some(file) = file else {
        return Ok(text.map(Source::Inline));
    };
    if text.is_some() {
        let reason = format!("has no effect beside {file_keyword}");
        problems.insert(keywords.problem(text_keyword, reason));
    }
    let file = filename(&file).ok_or_else(|| keywords.problem(file_keyword, NO_FILE))?;
    Ok(Some(file))
}

/// A name of a file. It is shown, so that nothing but a name must come through.
fn filename(text: &Sensitive) -> Option<Source> {
    let name = text.expose();
    let fits = name.starts_with('/') && name.len() <= FILENAME_MAX_BYTES;
    (fits && !name.contains(char::is_control)).then(|| Source::Filename(name.to_owned()))
}

/// Checks what can be checked from here; files are Envoy's.
fn content(
    keywords: &Keywords<'_>,
    certificate_chain: Source,
    key: Source,
) -> Result<SecretContent, Problem> {
    let broken = |[_, keyword]: [&str; 2], flaw: String| {
        keywords.problem(keyword, format!("the section {flaw}"))
    };
    let (certificate_chain, private_key, not_after) = match (certificate_chain, key) {
        (Source::Inline(texts), Source::Inline(key)) => {
            let pair = Pair::parse(&texts, &key).map_err(|flaw| broken(CHAIN, flaw))?;
            let chain = Source::Inline(pair.certificate_chain);
            (
                chain,
                Source::Inline(pair.private_key),
                Some(pair.not_after),
            )
        }
        (Source::Inline(texts), file) => {
            let (texts, not_after) = chain(&texts).map_err(|flaw| broken(CHAIN, flaw))?;
            (Source::Inline(texts), file, Some(not_after))
        }
        (file, Source::Inline(key)) => {
            let key = private_key(&key).map_err(|flaw| broken(KEY, flaw))?;
            (file, Source::Inline(key), None)
        }
        (chain, key) => (chain, key, None),
    };
    Ok(SecretContent::Certificate {
        certificate_chain,
        private_key,
        not_after,
    })
}

/// The keywords of the chain: a file, a text.
const CHAIN: [&str; 2] = [
    "certificate_chain_filename",
    "certificate_chain_inline_string",
];
/// The keywords of the private key: a file, a text.
const KEY: [&str; 2] = ["private_key_filename", "private_key_inline_string"];
const NO_FILE: &str = "is no absolute name of a file";
const LONE_KEY: &str = "is not set, nor is certificate_chain_inline_string: the private key has \
                        no certificate";
const LONE_CHAIN: &str = "is not set, nor is private_key_inline_string: the certificate has no \
                          private key";
/// What Linux takes.
const FILENAME_MAX_BYTES: usize = 4_095;
