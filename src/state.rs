//! EDGE: the last good snapshot on disk (`--state-dir`): written when it changes, and served while
//! the OpenSVC daemon is away when a controller starts. What of it is written is the core's word.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::xds::{Snapshot, saved};

/// Where snapshots go to and come from.
pub type Snapshots = watch::Sender<Option<Arc<Snapshot>>>;

/// A folder for one gateway's snapshot.
#[derive(Clone, Debug)]
pub struct StateDir {
    file: PathBuf,
}

impl StateDir {
    /// The folder, made if need be, readable for its owner alone. `gateway` is the name of the
    /// gateway: several may share a folder.
    ///
    /// # Errors
    /// What the system says; `PermissionDenied` where others may read the folder.
    pub fn open(folder: &Path, gateway: &str) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let mode = std::fs::metadata(folder)?.permissions().mode();
        if mode & 0o077 != 0 {
            let reason = "others may read it: it must have mode 0700";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        let file = folder.join(format!("{}.snapshot", escaped(gateway)));
        Ok(Self { file })
    }

    /// Publishes what was saved if nothing else is published soon, and saves what is published
    /// later, until stopped.
    pub async fn follow(self, snapshots: Snapshots, stop: CancellationToken) {
        let mut latest = snapshots.subscribe();
        let first = latest.wait_for(Option::is_some);
        tokio::select! {
            _ = timeout(PATIENCE, first) => {}
            () = stop.cancelled() => return,
        }
        self.publish_saved(&snapshots).await;
        let mut written = Arc::default();
        let mut ends = false;
        loop {
            let newest = latest.borrow_and_update().clone();
            let newest = newest.filter(|newest| !newest.is_partial());
            let mut saved = true;
            if let Some(newest) = newest.filter(|newest| !Arc::ptr_eq(newest, &written)) {
                saved = self.save(&newest).await;
                if saved {
                    written = newest;
                }
            }
            if ends {
                return;
            }
            let next = async {
                // Many changes in a row are written once.
                sleep(PAUSE).await;
                tokio::select! {
                    changed = latest.changed() => changed.is_err(),
                    () = sleep(RETRY), if !saved => false,
                }
            };
            // What changed last is saved before the end, too.
            ends = tokio::select! {
                ends = next => ends,
                () = stop.cancelled() => true,
            };
        }
    }

    async fn publish_saved(&self, snapshots: &Snapshots) {
        if snapshots.borrow().is_some() {
            return;
        }
        let file = self.file.display();
        let bytes = match read(&self.file).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                info!(%file, "the OpenSVC daemon is away, and nothing was saved to be served");
                return;
            }
            Err(error) => {
                warn!(%file, %error, "cannot read what was served last");
                return;
            }
        };
        match saved::from_bytes(&bytes) {
            Ok(snapshot) => {
                let snapshot = Some(Arc::new(snapshot));
                let published = snapshots.send_if_modified(|latest| {
                    let none = latest.is_none();
                    if none {
                        *latest = snapshot;
                    }
                    none
                });
                if published {
                    warn!(%file, "the OpenSVC daemon is away: serving what was served last");
                }
            }
            Err(error) => warn!(%file, %error, "cannot serve what was served last"),
        }
    }

    /// Returns whether it is saved.
    async fn save(&self, snapshot: &Arc<Snapshot>) -> bool {
        let (file, snapshot) = (self.file.clone(), Arc::clone(snapshot));
        let written = tokio::task::spawn_blocking(move || {
            let bytes = saved::to_bytes(&snapshot);
            write(&file, &bytes)
        });
        let failed = match written.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!(file = %self.file.display(), error = failed, "cannot save what is served");
        false
    }
}

async fn read(file: &Path) -> io::Result<Vec<u8>> {
    let bytes = tokio::fs::metadata(file).await?.len();
    if bytes > BYTES_MAX {
        let reason = format!("it has {bytes} bytes, more than any that is written");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    tokio::fs::read(file).await
}

/// A file name for any gateway name, and another one for each.
fn escaped(gateway: &str) -> String {
    let mut name = String::new();
    for byte in gateway.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

/// All or nothing: a reader sees the old content or the new, also after a power cut.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut target = options.open(&new)?;
    target.write_all(bytes)?;
    target.sync_all()?;
    std::fs::rename(&new, file)?;
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// So long the daemon has for its first full status before what was saved is served: a restart
/// beside a daemon that runs should not show yesterday for a moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// What ten thousand services need is a hundredth of this.
const BYTES_MAX: u64 = 1 << 30;
/// After so long a write that failed is tried again, if nothing changes before.
const RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_of_any_size_is_not_read() {
        let path = std::env::temp_dir().join(format!("osvc-igw-state-{}", std::process::id()));
        let sparse = std::fs::File::create(&path).and_then(|file| file.set_len(BYTES_MAX + 1));
        let refused = read(&path).await.map(|bytes| bytes.len());
        let _ = std::fs::remove_file(&path);
        assert!(sparse.is_ok());
        let kind = refused.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn every_gateway_has_a_file_of_its_own() {
        let names = ["a-b", "a_b", "a b", "a/b", "a%20b", "A-B", "é", "."];
        let mut files: Vec<String> = names.into_iter().map(escaped).collect();
        assert!(files.iter().all(|file| !file.contains(['/', '.'])));
        files.sort();
        files.dedup();
        assert_eq!(files.len(), names.len());
    }
}
