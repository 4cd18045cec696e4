//! Options of the command that tells what would change.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::RunOptions;
use crate::inventory::ObjectPath;

/// Options of `osvc-igw diff`, beside those of `run`: both have to mean the same gateway.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct DiffOptions {
    /// The options of `run`.
    #[command(flatten)]
    pub run: RunOptions,

    /// What it is told from and to, and how.
    #[command(flatten)]
    pub sides: Sides,
}

/// What is compared with what.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "What is compared")]
pub struct Sides {
    /// Compare with what this Envoy runs with, in the place of what the Envoys of the controller
    /// at --admin-address acknowledged last
    #[arg(long, value_name = "http://HOST:PORT", conflicts_with = "from")]
    pub envoy: Option<EnvoyUrl>,

    /// Compare with what would be served for this daemon status, saved as `om daemon status
    /// --format json` prints it
    #[arg(long, value_name = "STATUS.json")]
    pub from: Option<PathBuf>,

    /// Compare what would be served for this saved status, in the place of the daemon's now
    #[arg(long, value_name = "STATUS.json")]
    pub to: Option<PathBuf>,

    /// Show what applying these configuration files would do; the service is what the file is
    /// called, in the namespace that its folders say (NAMESPACE/svc/NAME.conf)
    #[arg(long, value_name = "FILE.conf", value_delimiter = ',')]
    pub with: Vec<PathBuf>,

    /// The namespace of the services of --with
    #[arg(long, value_name = "NAME", requires = "with")]
    pub namespace: Option<String>,

    /// Tell only of what comes from this object
    #[arg(long, value_name = "PATH")]
    pub only: Option<ObjectPath>,

    /// Ask only for the Envoys with this node id
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "envoy"])]
    pub node: Option<String>,

    /// How to tell it
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    pub format: DiffFormat,

    /// Whether the text has colours; `auto`: on a terminal, unless $NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto", value_enum)]
    pub color: ColorWhen,

    /// Whether anything is set for <https://no-color.org>.
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
}

impl Sides {
    /// Whether to paint what goes to a terminal or not.
    pub fn paints(&self, terminal: bool) -> bool {
        let refused = self.no_color.as_ref().is_some_and(|word| !word.is_empty());
        match self.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !refused,
        }
    }
}

/// How a difference is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// The document `Diff` of `proto/osvc_igw/v1/diff.proto`, one for each state of an Envoy.
    Json,
    /// For a pull request.
    Markdown,
}

/// Whether a text has colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// Where an Envoy's admin pages are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvoyUrl(pub String);

impl FromStr for EnvoyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "expected http://HOST:PORT of an Envoy's admin pages".to_owned();
        let place = text.strip_prefix("http://").ok_or_else(wanted)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = place.rsplit_once(':').ok_or_else(wanted)?;
        let number: u16 = port.parse().map_err(|_| wanted())?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if number == 0 || host.is_empty() || !host.bytes().all(is_host) {
            return Err(wanted());
        }
        Ok(Self(format!("http://{place}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_is_a_host_and_a_port() {
        for text in ["http://127.0.0.1:9901", "http://[::1]:9901/", "http://e:1"] {
            assert!(text.parse::<EnvoyUrl>().is_ok(), "{text}");
        }
        for text in [
            "127.0.0.1:9901",
            "https://e:1",
            "http://e",
            "http://e:0",
            "http://e/x:1",
        ] {
            assert!(text.parse::<EnvoyUrl>().is_err(), "{text}");
        }
    }
}
