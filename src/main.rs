//! The binary: reads the command line, starts logging and the runtime, and turns what comes of
//! it into an exit code. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use mimalloc::MiMalloc;
use osvc_igw::config::{self, Command};
use osvc_igw::start;

/// An event takes some 150 pieces of memory, nearly all of them small and gone with it: this
/// allocator takes a quarter less of a processor for an event than that of the C library, and
/// gives back to the system what a moment took.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let command = match config::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(usage) => return say(&usage.text, usage.exit_code),
    };
    // Before anything can use TLS; nothing else installs one.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return say("osvc-igw: a TLS provider is installed already\n", 1);
    }
    let result = match command {
        Command::Acme(action, options) => {
            return told(start::acme(action, &options));
        }
        Command::Check(options) => {
            return match start::check(options) {
                Ok((text, false)) => say(&text, 0),
                Ok((text, true)) => {
                    say(&text, 0);
                    ExitCode::from(2)
                }
                Err(error) => say(&format!("osvc-igw: {error}\n"), 1),
            };
        }
        Command::Diff(options) => {
            return match start::diff(&options) {
                Ok(differs) => ExitCode::from(if differs { 2 } else { 0 }),
                Err(error) => say(&format!("osvc-igw: {error}\n"), 1),
            };
        }
        Command::Completion(options) => return say(&config::completion(options.shell), 0),
        Command::Man(options) => return told(start::man(&options)),
        Command::Bootstrap(options) => return told(start::bootstrap(&options)),
        Command::Run(options) => start::run(*options),
        Command::Health(options) => start::health(options),
        Command::Status(options) => start::status(options),
        Command::Demo(options) => start::demo(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(start::Error::Logged) => ExitCode::FAILURE,
        Err(error) => say(&format!("osvc-igw: {error}\n"), 1),
    }
}

/// Prints what came of a command that is a text.
fn told(result: Result<String, start::Error>) -> ExitCode {
    match result {
        Ok(text) => say(&text, 0),
        Err(error) => say(&format!("osvc-igw: {error}\n"), 1),
    }
}

/// Prints; nobody is left to tell if that fails.
fn say(text: &str, exit_code: u8) -> ExitCode {
    let _ = match exit_code {
        0 => std::io::stdout().write_all(text.as_bytes()),
        _ => std::io::stderr().write_all(text.as_bytes()),
    };
    ExitCode::from(exit_code)
}
