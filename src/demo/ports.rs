//! Free ports for the demo and the tests: below the range that the system gives to outgoing
//! connections, so that nothing takes one between the look and the use.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// A TCP port that nobody listens on and that nobody else was given here, in this process or in
/// another that runs now.
///
/// # Errors
/// When there is none.
pub fn free() -> Result<u16, Error> {
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(SPREAD).wrapping_add(step) % PORTS;
        let port = FIRST + offset as u16;
        // Envoys share a port without a word (SO_REUSEPORT), so a look is not enough.
        let Ok(reservation) = UdpSocket::bind((RESERVATIONS, port)) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            RESERVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(reservation);
            return Ok(port);
        }
    }
    Err(Error::io("find a free port")(
        std::io::ErrorKind::AddrInUse.into(),
    ))
}

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Held until the process ends.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
/// A loopback address that nothing else uses.
const RESERVATIONS: Ipv4Addr = Ipv4Addr::new(127, 201, 77, 1);
const FIRST: u16 = 20_000;
/// Up to the 32,768 at which the ephemeral range usually begins.
const PORTS: u32 = 12_000;
/// Processes that start one after the other look at different ports.
const SPREAD: u32 = 61;
