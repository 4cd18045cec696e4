//! EDGE: `osvc-igw check`: reads the files, makes stand-ins for secrets, asks Envoy, and returns
//! what there is to print.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Checked, Source, Stand, check, envoy, show};
use crate::clock::unix_seconds;
use crate::config::{CheckFile, CheckFormat, CheckOptions};
use crate::gateway::Policy;
use crate::inventory::{ObjectPath, Secret, Sensitive};
use crate::xds::Snapshot;
use crate::xds::json::JsonError;

/// Why nothing can be said of the configurations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file's name is no name of an object.
    #[error("{0}")]
    Unnamed(String),
    /// Two files are of one object.
    #[error("{first} and {second} are both of {object}")]
    Twice {
        /// The object.
        object: ObjectPath,
        /// The one file.
        first: String,
        /// The other.
        second: String,
    },
    /// A stand-in for secrets could not be made.
    #[error("cannot make a certificate: {0}")]
    Stand(#[from] rcgen::Error),
    /// What Envoy should judge could not be written down.
    #[error("cannot ask Envoy: {0}")]
    Encode(#[from] JsonError),
    /// What Envoy should judge could not be given to it.
    #[error("cannot write for Envoy to {file}: {source}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Envoy could not be run.
    #[error("cannot run --envoy {envoy}: {reason}")]
    Envoy {
        /// The program.
        envoy: String,
        /// Why.
        reason: String,
    },
}

/// Checks; returns what there is to print, and whether there are problems.
///
/// # Errors
/// When nothing can be said.
pub async fn act(options: CheckOptions) -> Result<(String, bool), Error> {
    let sources = sources(&options.files, &options.namespace)?;
    let stand = stand()?;
    let mut policy = Policy {
        secrets_of: options.allow_secrets_of.iter().cloned().collect(),
        port_range: options.port_range.min..=options.port_range.max,
        ..Policy::default()
    };
    let only = options.name.as_deref();
    if let Some(name) = only {
        name.clone_into(&mut policy.gateway_name);
    }
    let mut checked = check(&sources, only, &policy, &stand, unix_seconds());
    if let Some(program) = options.envoy {
        let judge = Judge {
            program,
            stand: &stand,
            sources: &sources,
        };
        judge.judge(&mut checked).await?;
    }
    let findings = &checked.findings;
    let text = match options.format {
        CheckFormat::Text => show::text(findings),
        CheckFormat::Json => show::json(findings),
        CheckFormat::Sarif => show::sarif(findings),
        CheckFormat::Github => show::github(findings),
    };
    Ok((text, show::counts(findings).0 > 0))
}

fn sources(files: &[CheckFile], namespace: &str) -> Result<Vec<Source>, Error> {
    let mut known = BTreeMap::<ObjectPath, String>::new();
    let mut sources = Vec::new();
    for file in files {
        let name = match file.is_stdin() {
            true => "stdin".to_owned(),
            false => file.file.display().to_string(),
        };
        let object = file.path(namespace).map_err(Error::Unnamed)?;
        if let Some(first) = known.insert(object.clone(), name.clone()) {
            return Err(Error::Twice {
                object,
                first,
                second: name,
            });
        }
        let text = read(file).map_err(|source| Error::Read {
            file: name.clone(),
            source,
        })?;
        sources.push(Source {
            object,
            file: name,
            text,
        });
    }
    Ok(sources)
}

fn read(file: &CheckFile) -> io::Result<String> {
    let mut text = String::new();
    let reader: Box<dyn Read> = match file.is_stdin() {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(&file.file)?),
    };
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match u64::try_from(read) {
        Ok(read) if read <= FILE_BYTES_MAX => Ok(text),
        _ => Err(io::Error::other(format!(
            "is larger than {FILE_BYTES_MAX} bytes"
        ))),
    }
}

/// A pair that fits together, and an authority, for one run.
///
/// # Errors
/// Where the machine gives no randomness.
pub fn stand() -> Result<Stand, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["check.invalid".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let chain = params.self_signed(&key)?.pem();
    let secret = |keys: &[(&str, String)]| -> Secret {
        let keys = keys.iter();
        let keys = keys.map(|(key, text)| ((*key).to_owned(), Sensitive::new(text.clone())));
        keys.collect()
    };
    Ok(Stand {
        trust: secret(&[("trusted_ca", chain.clone())]),
        pair: secret(&[
            ("certificate_chain", chain),
            ("private_key", key.serialize_pem()),
        ]),
    })
}

/// Asks an Envoy.
struct Judge<'a> {
    program: PathBuf,
    stand: &'a Stand,
    sources: &'a [Source],
}

impl Judge<'_> {
    async fn judge(&self, checked: &mut Checked) -> Result<(), Error> {
        let places = super::Places::of(self.sources);
        let mut found = Vec::new();
        for snapshot in checked.snapshots.values() {
            for (asked, words) in self.refused(snapshot).await? {
                found.extend(envoy::findings(asked, &words, |problem| {
                    places.locate(problem)
                }));
            }
        }
        checked.findings.extend(found);
        Ok(())
    }

    /// What Envoy refuses, each with its words. Halves are asked about until one is left.
    async fn refused<'s>(
        &self,
        snapshot: &'s Snapshot,
    ) -> Result<Vec<(envoy::Asked<'s>, String)>, Error> {
        let mut refused = Vec::new();
        let mut parts = vec![envoy::all(snapshot)];
        while let Some(part) = parts.pop() {
            let Some(words) = self.ask(snapshot, &part).await? else {
                continue;
            };
            match part[..] {
                [] => {
                    // Nothing of it is the service's: secrets alone, or the program itself.
                    let envoy = self.program.display().to_string();
                    return Err(Error::Envoy {
                        envoy,
                        reason: words,
                    });
                }
                [asked] => refused.push((asked, words)),
                _ => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
            }
        }
        Ok(refused)
    }

    /// What Envoy says against these; `None` where it takes them.
    async fn ask(
        &self,
        snapshot: &Snapshot,
        asked: &[envoy::Asked<'_>],
    ) -> Result<Option<String>, Error> {
        let bootstrap = envoy::bootstrap(snapshot, asked, self.stand)?;
        let file = Private::new(&bootstrap)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--mode", "validate", "--log-level", "critical", "-c"])
            .arg(&file.0)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let failed = |reason: String| Error::Envoy {
            envoy: self.program.display().to_string(),
            reason,
        };
        let output = timeout(ENVOY_MAX, command.output()).await;
        let output =
            output.map_err(|_| failed(format!("no answer in {} s", ENVOY_MAX.as_secs())))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(None);
        }
        Ok(Some(envoy::words(&String::from_utf8_lossy(&output.stderr))))
    }
}

/// A file that only this user can read, for as long as it is needed: keys may be in it.
struct Private(PathBuf);

impl Private {
    fn new(content: &[u8]) -> Result<Self, Error> {
        let number = u64::from(std::process::id());
        let file = std::env::temp_dir();
        for attempt in 0..ATTEMPTS_MAX {
            let file = file.join(format!("osvc-igw-check-{number}-{attempt}.pb"));
            let mut options = OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o600).open(&file);
            let mut opened = match opened {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(|error| Self::failed(&file, error))?,
            };
            let private = Self(file);
            let written = opened.write_all(content);
            written.map_err(|error| Self::failed(&private.0, error))?;
            return Ok(private);
        }
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(Self::failed(&file, error))
    }

    fn failed(file: &Path, source: io::Error) -> Error {
        let file = file.display().to_string();
        Error::Write { file, source }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Nothing better can be done about it here.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The agent itself takes whatever fits into memory.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Envoy needs a tenth of a second.
const ENVOY_MAX: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: u32 = 100;
