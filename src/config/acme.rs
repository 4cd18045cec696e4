//! The options that are about certificates of ACME authorities (RFC 8555).

use clap::Args;

/// Where authorities and this gateway meet.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DoorOptions {
    /// The port where certificate authorities ask whether a name is served here (HTTP-01)
    #[arg(
        long,
        env = "OSVC_IGW_ACME_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 80,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub acme_http_port: u16,
}
