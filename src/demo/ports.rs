//! Free ports for the demo and the tests: below the range that the system gives to outgoing
//! connections, so that nothing takes one between the look and the use.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;

/// A TCP port that nobody listens on and that this process was not given before.
///
/// # Errors
/// When there is none.
pub fn free() -> Result<u16, Error> {
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(SPREAD).wrapping_add(step) % PORTS;
        let port = FIRST + offset as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::io("find a free port")(
        std::io::ErrorKind::AddrInUse.into(),
    ))
}

static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST: u16 = 20_000;
/// Up to the 32,768 at which the ephemeral range usually begins.
const PORTS: u32 = 12_000;
/// Processes that start one after the other look at different ports.
const SPREAD: u32 = 61;
