//! EDGE: the demo.
use tokio_util::sync::CancellationToken;

use crate::config::DemoOptions;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Runs it.
///
/// # Errors
/// None yet.
pub async fn demo(_: DemoOptions, _: CancellationToken) -> Result<(), Error> {
    Ok(())
}
