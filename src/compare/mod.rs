//! EDGE: `osvc-igw diff`: gets two states, from where each of them is to be had, and tells what
//! differs. Writes nothing and serves nothing.

mod fetch;
mod saved;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{DiffFormat, Sides};
use crate::differences::Told;
use crate::gateway::Policy;
use crate::inventory::ini::Ini;
use crate::inventory::overlay::{overlay, path_of};
use crate::inventory::{Config, Event, Inventory, ObjectPath};
use crate::opensvc::{self, Daemon};
use crate::xds::diff::{Diff, Document, Style, dump};

use state::{Source, State};

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon does not tell its state.
    #[error("{error}{}", because(error))]
    Daemon {
        /// What the connection says.
        #[from]
        error: opensvc::Error,
    },
    /// The daemon told too little in time.
    #[error("the OpenSVC daemon did not tell all in {seconds} s: {missing} is missing")]
    Unsettled {
        /// How long it was waited for.
        seconds: u64,
        /// What is missing.
        missing: String,
    },
    /// A controller or an Envoy does not answer, or with something else.
    #[error("cannot get {what} from {address} (option {option}): {reason}")]
    Fetch {
        /// What was asked for.
        what: &'static str,
        /// Where.
        address: String,
        /// The option that gives it.
        option: &'static str,
        /// What came in its place.
        reason: String,
    },
    /// A file cannot be used.
    #[error("cannot use {} (option {option}): {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
        /// What is wrong, and in which line.
        reason: String,
    },
}

/// What came of comparing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Compared {
    /// What is told, for standard output.
    pub text: String,
    /// What one should know of it, a line each, for standard error.
    pub notes: Vec<String>,
    /// Whether there is a difference.
    pub differs: bool,
}

/// Compares the two sides. `daemon` is asked only where a side is its state.
///
/// # Errors
/// When a side cannot be had.
pub async fn compare(
    sides: &Sides,
    admin: &str,
    daemon: impl FnOnce() -> Arc<dyn Daemon>,
    policy: &Policy,
    style: Style,
) -> Result<Compared, Error> {
    let mut notes = Vec::new();
    let files = files(&sides.with, &mut notes)?;
    let source = match &sides.to {
        Some(_) => Source::Saved,
        None => Source::Daemon(daemon()),
    };
    let inventory = match &sides.to {
        Some(path) => saved::load(path, "--to")?,
        None => source.inventory(&mut notes).await?,
    };
    let files = named(files, sides, &inventory)?;
    if matches!(source, Source::Saved) && !files.is_empty() {
        notes.push(UNTOLD.to_owned());
    }
    let base = source.settle(inventory, policy, &files).await?;
    let new = match files.is_empty() {
        true => base.clone(),
        false => {
            let changed = applied(&base.inventory, &files, &mut notes);
            source.settle(changed, policy, &files).await?
        }
    };
    // What is wrong already is told by `status`.
    let fresh = new.problems.difference(&base.problems);
    notes.extend(fresh.map(|problem| format!("problem: {problem}")));
    let after = Document::of(&new.snapshot);
    let mut before = old(sides, admin, policy, &base, &files, &mut notes).await?;
    if sides.envoy.is_some() {
        let dumps = before.iter_mut();
        dumps.for_each(|(_, document)| dump::complete(document, &after));
    }
    let mut told: Vec<Diff> = Vec::new();
    for (node, document) in before {
        let mut diff = Diff::of(&document, &after);
        if let Some(object) = &sides.only {
            diff = diff.only(object);
        }
        match told.iter_mut().find(|other| other.changes == diff.changes) {
            Some(same) => same.nodes.extend(node),
            None => {
                diff.nodes.extend(node);
                told.push(diff);
            }
        }
    }
    Ok(Compared {
        text: told
            .iter()
            .map(|diff| shown(diff, sides.format, style))
            .collect(),
        notes,
        differs: told.iter().any(|diff| !diff.is_empty()),
    })
}

fn shown(diff: &Diff, format: DiffFormat, style: Style) -> String {
    match format {
        DiffFormat::Text => diff.text(style),
        DiffFormat::Json => {
            // A value of plain JSON always has a text.
            serde_json::to_string_pretty(&diff.to_json()).unwrap_or_default() + "\n"
        }
        DiffFormat::Markdown => diff.markdown(),
    }
}

/// The states to compare with, and of which Envoy each is.
async fn old(
    sides: &Sides,
    admin: &str,
    policy: &Policy,
    base: &State,
    files: &[(ObjectPath, Config)],
    notes: &mut Vec<String>,
) -> Result<Vec<(Option<String>, Document)>, Error> {
    if let Some(path) = &sides.from {
        let inventory = saved::load(path, "--from")?;
        let state = Source::Saved.settle(inventory, policy, files).await?;
        return Ok(vec![(None, Document::of(&state.snapshot))]);
    }
    if let Some(url) = &sides.envoy {
        let what = "what it runs with";
        let dump = fetch::json(&url.0, "/config_dump?include_eds", "--envoy", what).await?;
        let document = dump::document(&dump).map_err(|error| Error::Fetch {
            what,
            address: url.0.clone(),
            option: "--envoy",
            reason: error.to_string(),
        })?;
        return Ok(vec![(None, document)]);
    }
    if !sides.with.is_empty() || sides.to.is_some() {
        return Ok(vec![(None, Document::of(&base.snapshot))]);
    }
    acknowledged(sides, admin, policy, notes).await
}

/// What the Envoys of a running controller acknowledged last.
async fn acknowledged(
    sides: &Sides,
    admin: &str,
    policy: &Policy,
    notes: &mut Vec<String>,
) -> Result<Vec<(Option<String>, Document)>, Error> {
    let what = "what is served";
    let address = format!("http://{admin}");
    let value = fetch::json(&address, "/snapshot", "--admin-address", what).await?;
    let told = Told::read(&value).map_err(|reason| Error::Fetch {
        what,
        address,
        option: "--admin-address",
        reason,
    })?;
    if told.gateway != policy.gateway_name {
        notes.push(format!(
            "the controller serves the gateway {}, and this compares with {} (option --name)",
            told.gateway, policy.gateway_name
        ));
    }
    if !told.unknown.is_empty() {
        let count = told.unknown.len();
        notes.push(format!(
            "{count} resources were sent by an earlier controller and are shown as if they were \
             not there: {}",
            told.unknown.join(", ")
        ));
    }
    let mut states = Vec::new();
    for (node, has) in told.clients {
        if sides.node.as_ref().is_some_and(|only| *only != node) {
            continue;
        }
        match has {
            Some(has) => states.push((Some(node), has)),
            None => notes.push(format!(
                "{node} does not read what it is sent, and is left out"
            )),
        }
    }
    if states.is_empty() {
        let whom = sides.node.as_ref().map(|node| format!(" of node {node}"));
        notes.push(format!(
            "no Envoy{} is connected: this is the difference to what the controller serves",
            whom.unwrap_or_default()
        ));
        states.push((None, told.served));
    }
    Ok(states)
}

/// Reads the files of `--with`.
fn files(paths: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<(PathBuf, Config)>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |reason: String| Error::File {
            path: path.clone(),
            option: "--with",
            reason,
        };
        let text = read(path).map_err(failed)?;
        let (ini, errors) = Ini::read(&text);
        if !errors.is_empty() {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(failed(lines.join("; ")));
        }
        for twice in ini.repeated() {
            notes.push(format!(
                "{} line {}: {}.{} replaces that of line {}",
                path.display(),
                twice.line,
                twice.section,
                twice.keyword,
                twice.lost_line
            ));
        }
        files.push((path.clone(), ini.config()));
    }
    Ok(files)
}

/// Which service each file is about.
fn named(
    files: Vec<(PathBuf, Config)>,
    sides: &Sides,
    inventory: &Inventory,
) -> Result<Vec<(ObjectPath, Config)>, Error> {
    let named = files.into_iter().map(|(file, config)| {
        let absolute = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
        let path = path_of(&absolute, sides.namespace.as_deref(), inventory);
        let path = path.map_err(|reason| Error::File {
            path: file,
            option: "--with",
            reason,
        })?;
        Ok((path, config))
    });
    named.collect()
}

/// The state with the files in the place of the services' own.
fn applied(
    inventory: &Inventory,
    files: &[(ObjectPath, Config)],
    notes: &mut Vec<String>,
) -> Inventory {
    let mut changed = inventory.clone();
    for (path, config) in files {
        if !inventory.objects.contains_key(path) {
            notes.push(format!(
                "{path} does not exist: shown as if it were up on the nodes that its file names"
            ));
        }
        for event in overlay(&changed, path, config) {
            changed.apply(event);
        }
    }
    changed
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
}

fn because(error: &opensvc::Error) -> String {
    let source = std::error::Error::source(error);
    source
        .map(|source| format!(": {source}"))
        .unwrap_or_default()
}

/// What is known of an object that was read, put in as if it had been.
fn put(inventory: &mut Inventory, event: Event) {
    inventory.apply(event);
}

const UNTOLD: &str = "a saved status lacks the keywords that no driver of the agent knows: those \
                      are taken from the file on both sides";
