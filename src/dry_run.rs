//! EDGE: `osvc-igw run --dry-run`: follows the daemon as the controller does and prints what it
//! would push, when it would. Nothing is served and nothing is written.

use std::io::Write;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controller::{Controller, View};
use crate::gateway::Policy;
use crate::opensvc::Daemon;
use crate::xds::Snapshot;
use crate::xds::diff::{Diff, Style};

/// How it is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Printed {
    /// For people; the first state as a summary.
    Text(Style),
    /// A document a line, the first one from nothing.
    Json,
}

/// Prints to `out` until stopped.
///
/// # Errors
/// When nobody reads what is printed.
pub async fn run(
    policy: Policy,
    daemon: Arc<dyn Daemon>,
    printed: Printed,
    mut out: impl Write,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let (snapshots, mut latest) = watch::channel(None);
    let (views, _views) = watch::channel(View::default());
    let controller = Controller::new(daemon, policy, snapshots, views, stop.clone());
    let following = controller.without_writes().run();
    let printing = async {
        let mut before: Option<Arc<Snapshot>> = None;
        // It ends with the controller, which ends when it is stopped.
        while latest.changed().await.is_ok() {
            let Some(after) = latest.borrow_and_update().clone() else {
                continue;
            };
            let text = told(before.as_deref(), &after, printed);
            let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            if printed.is_err() {
                stop.cancel();
                return printed;
            }
            before = Some(after);
        }
        Ok(())
    };
    let ((), result) = tokio::join!(following, printing);
    result
}

fn told(before: Option<&Snapshot>, after: &Snapshot, printed: Printed) -> String {
    let nothing = Snapshot::default();
    let diff = || Diff::between(before.unwrap_or(&nothing), after);
    match (printed, before) {
        (Printed::Json, _) => format!("{}\n", diff().to_json()),
        (Printed::Text(style), Some(_)) => format!("{}\n", diff().text(style)),
        (Printed::Text(_), None) => {
            let counts: Vec<String> = after
                .kinds()
                .map(|kind| format!("{} {kind}", after.count(kind)))
                .collect();
            format!(
                "Would serve {}. What changes follows.\n\n",
                counts.join(", ")
            )
        }
    }
}
