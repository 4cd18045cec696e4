//! EDGE: the demo's cluster without a gateway, for a controller and an Envoy that somebody starts
//! by hand beside it.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lines::Line;
use super::stage::{SERVICE, STEPS, Stage};
use super::{Error, say, write};

/// Runs the simulated daemon and its service until stopped. What a gateway needs is in the
/// folder: `lsnr.sock`, the daemon's socket; `web1.conf`, the service's file; `ca.pem`, whom to
/// believe what the gateway shows.
///
/// # Errors
/// When a part fails, or nothing can be written to the folder.
pub(super) async fn cluster(
    folder: &Path,
    seconds: u64,
    stop: CancellationToken,
) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
    let socket = folder.join("lsnr.sock");
    let mut stage = Stage::start(&socket).await?;
    for step in STEPS {
        stage.take(step)?;
    }
    let file = folder.join("web1.conf");
    write(&file, &stage.sim.config(SERVICE).unwrap_or_default())?;
    stage.scale(INSTANCES).await?;
    let mut text = format!(
        "OpenSVC daemon  {} (simulated)\n{SERVICE}   {}, {INSTANCES} instances\n\n\
         Requests to try, once a gateway serves them:\n",
        socket.display(),
        file.display()
    );
    for line in Line::all(&stage, folder)? {
        text.push_str(&format!("{}\n", line.shown()));
    }
    say(&text);
    match seconds {
        0 => stop.cancelled().await,
        _ => tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(Duration::from_secs(seconds)) => {}
        },
    }
    Ok(())
}

const INSTANCES: u32 = 4;
