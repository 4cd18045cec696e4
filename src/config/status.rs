//! Options of the command that shows what a running controller knows.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// Options of `osvc-igw status`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct StatusOptions {
    /// Where the controller serves xDS
    #[arg(
        long,
        env = "OSVC_IGW_ADDRESS",
        value_name = "HOST:PORT|unix://PATH",
        default_value = "127.0.0.1:50051"
    )]
    pub address: Address,

    /// Show it again whenever it has changed
    #[arg(long, short = 'w')]
    pub watch: bool,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    pub format: StatusFormat,

    /// Only the Envoys with this node id
    #[arg(long, value_name = "ID", default_value = "")]
    pub node: String,

    /// List the resources as well that an Envoy has as they should be
    #[arg(long)]
    pub synced_resources: bool,
}

/// How a status is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    Text,
    /// The document of the admin page `/status`.
    Json,
}

/// Where a controller answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A host and its port.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "expected HOST:PORT, or unix:///absolute/path".to_owned();
        let path = text.strip_prefix("unix://");
        match path.or_else(|| text.strip_prefix("unix:")) {
            Some(path) if path.starts_with('/') => return Ok(Self::Unix(path.into())),
            Some(_) => return Err(wanted()),
            None => {}
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port: u16 = port.parse().map_err(|_| wanted())?;
        // An IPv6 address has brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || port == 0 || (bare.contains(':') && bare == host) {
            return Err(wanted());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_socket() {
        for text in ["localhost:1", "10.0.0.1:50051", "[::1]:50051"] {
            assert_eq!(text.parse(), Ok(Address::Tcp(text.to_owned())));
        }
        for text in ["unix:///run/x.sock", "unix:/run/x.sock"] {
            assert_eq!(text.parse(), Ok(Address::Unix("/run/x.sock".into())));
        }
        let wrong = [
            "",
            "x",
            ":1",
            "x:0",
            "x:99999",
            "::1:50051",
            "unix:x",
            "unix://",
        ];
        for text in wrong {
            let error = text.parse::<Address>();
            assert!(
                error.is_err_and(|line| line.starts_with("expected HOST:PORT")),
                "{text}"
            );
        }
    }
}
