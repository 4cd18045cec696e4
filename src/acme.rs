//! EDGE: the commands of `osvc-igw acme`, from options to what is printed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cert::dns::Reach;
use crate::cert::dns::lookup::Resolver;
use crate::cert::operator::Operator;
use crate::cert::plan::{Plan, Subject};
use crate::cert::probe::{ANSWERED_MAX, Door, SHOWN_MAX};
use crate::cert::report;
use crate::cert::survey::Survey;
use crate::clock::unix_seconds;
use crate::config::{AcmeAction, DoorOptions};
use crate::inventory::challenge::carrier;
use crate::inventory::{Kind, ObjectPath, Problem};
use crate::opensvc::{self, Daemon, rights::Role};

/// Why a command of `osvc-igw acme` failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon could not be asked.
    #[error(transparent)]
    Daemon(#[from] opensvc::Error),
    /// No object of that path asks for a certificate of an authority that can be asked.
    #[error("{0} declares no certificate of an ACME authority")]
    Undeclared(ObjectPath),
    /// The certificate is not due.
    #[error("{0} is not due; --force gets it all the same")]
    NotDue(ObjectPath),
    /// The certificate did not come.
    #[error("no certificate for {0}: {1}")]
    Failed(ObjectPath, String),
    /// Rights are missing.
    #[error("{0}")]
    Access(String),
}

/// Where the gateways are, as the options say.
pub fn door(options: &DoorOptions) -> Door {
    Door {
        gateways: options.acme_gateways.clone(),
        http_port: options.acme_http_port,
        https_port: options.acme_https_port,
        answered_max: ANSWERED_MAX,
        shown_max: SHOWN_MAX,
        acked: None,
    }
}

/// What may be used of the DNS, as the options say.
pub fn reach(options: &DoorOptions) -> Reach {
    Reach {
        resolver: Resolver::new(options.acme_resolver.clone()),
        programs: options.acme_exec_dir.clone(),
        ..Reach::default()
    }
}

/// Does what the command says; returns what there is to print.
///
/// # Errors
/// When it could not be done.
pub async fn act(
    action: AcmeAction,
    (door, reach): (Door, Reach),
    daemon: Arc<dyn Daemon>,
    stop: CancellationToken,
) -> Result<String, Error> {
    let mut operator = Operator::new(Arc::clone(&daemon), door).with_reach(reach);
    match action {
        AcmeAction::Run => {
            operator.run(stop).await;
            Ok(String::new())
        }
        AcmeAction::Plan => {
            let survey = operator.look().await?;
            Ok(lines(&operator, &survey, report::planned))
        }
        AcmeAction::Status => {
            let survey = operator.look().await?;
            Ok(lines(&operator, &survey, report::status))
        }
        AcmeAction::Issue(path, force) => {
            let survey = operator.look().await?;
            if !survey.subjects.contains_key(&path) {
                return Err(Error::Undeclared(path));
            }
            match operator.work(&path, force).await? {
                Some(Ok(_)) => {
                    let survey = operator.look().await?;
                    Ok(lines(&operator, &survey, report::status))
                }
                Some(Err(reason)) => Err(Error::Failed(path, reason)),
                None => Err(Error::NotDue(path)),
            }
        }
        AcmeAction::CheckAccess(namespaces) => {
            let seen = operator.seen(Kind::Sec).await?;
            let namespaces = match namespaces.is_empty() {
                true => seen
                    .iter()
                    .map(|path| path.namespace().to_owned())
                    .collect(),
                false => namespaces.into_iter().collect(),
            };
            access(daemon.as_ref(), &namespaces, &seen).await
        }
    }
}

fn lines(
    operator: &Operator,
    survey: &Survey,
    line: impl Fn(i64, &Subject, &Result<Plan, Problem>) -> String,
) -> String {
    let now = unix_seconds();
    let subjects = survey.subjects.values();
    let subjects = subjects.map(|subject| line(now, subject, &operator.plan(now, subject)));
    let problems = survey.problems.iter().map(|problem| format!("{problem}\n"));
    let text: String = subjects.chain(problems).collect();
    match text.is_empty() {
        true => "no sec object declares a certificate of an ACME authority\n".to_owned(),
        false => text,
    }
}

async fn access(
    daemon: &dyn Daemon,
    namespaces: &BTreeSet<String>,
    seen: &BTreeSet<ObjectPath>,
) -> Result<String, Error> {
    let account = daemon.account().await?;
    let mut missing = Vec::new();
    for namespace in namespaces {
        let objects = objects(namespace, seen);
        let lines = account.missing(Role::Operator, &BTreeSet::from([namespace.clone()]));
        for line in lines {
            // What is missing everywhere is no matter of these objects.
            match line.contains(namespace.as_str()) {
                true => missing.push(format!("{line}; it is needed for {objects}")),
                false if missing.contains(&line) => {}
                false => missing.push(line),
            }
        }
    }
    if !missing.is_empty() {
        return Err(Error::Access(missing.join("\nosvc-igw: ")));
    }
    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let excess = account.excess().map(|excess| format!("{excess}\n"));
    Ok(format!(
        "the account {} has every right that certificates need in: {}\n{}",
        account.name,
        names.join(" "),
        excess.unwrap_or_default()
    ))
}

/// The objects of a namespace that certificates are read of and written to.
fn objects(namespace: &str, seen: &BTreeSet<ObjectPath>) -> String {
    let secs = seen.iter().filter(|path| path.namespace() == namespace);
    let mut words: Vec<String> = secs
        .clone()
        .take(OBJECTS_MAX)
        .map(ToString::to_string)
        .collect();
    let more = secs.count().saturating_sub(OBJECTS_MAX);
    if more > 0 {
        words.push(format!("{more} more sec objects"));
    }
    words.push(carrier(namespace).to_string());
    words.join(", ")
}

/// How many objects are named.
const OBJECTS_MAX: usize = 10;
