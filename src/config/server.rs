//! The options about a daemon of another machine: where it is, and who this process is there.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::inventory::Sensitive;

/// Options about which daemon is followed.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct DaemonOptions {
    /// The OpenSVC daemon's unix socket; an h2.sock beside it is preferred [default:
    /// $OPENSVC_LSNR_SOCK, else the first that exists of /var/lib/opensvc/lsnr/osvcd.sock,
    /// /var/run/lsnr/lsnr.sock, /var/lib/opensvc/lsnr/lsnr.sock]
    #[arg(
        short = 'S',
        long,
        visible_alias = "sock",
        env = "OSVC_IGW_SOCKET",
        value_name = "PATH"
    )]
    pub socket: Option<PathBuf>,

    /// The daemon of another machine.
    #[command(flatten)]
    pub server: ServerOptions,

    /// What the options say of a daemon of another machine.
    #[arg(skip)]
    pub remote: Option<Remote>,

    /// Where the daemon's socket is by tradition; how `$OPENSVC_LSNR_SOCK` is read.
    #[arg(long, env = "OPENSVC_LSNR_SOCK", hide = true)]
    pub agent_socket: Option<PathBuf>,
}

impl DaemonOptions {
    /// Checks what the options say together; `typed` tells whether a password was an argument.
    ///
    /// # Errors
    /// One line, where they do not fit together.
    pub fn settled(self, typed: bool) -> Result<Self, String> {
        if typed {
            let line = "a password is no argument: use --password-file or $OSVC_IGW_PASSWORD";
            return Err(line.to_owned());
        }
        let remote = self.server.remote()?;
        if remote.is_some() && self.socket.is_some() {
            return Err("--server and --socket exclude each other".to_owned());
        }
        Ok(Self { remote, ..self })
    }
}

/// Options of `osvc-igw run` about reaching the daemon over TLS.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ServerOptions {
    /// Follow the daemon over TLS instead of its socket; several, with commas or by repeating the
    /// option, take over from each other
    #[arg(
        long,
        env = "OSVC_IGW_SERVER",
        value_name = "https://HOST[:1215]",
        value_delimiter = ','
    )]
    pub server: Vec<ServerUrl>,

    /// The certificate of the daemons' authority, PEM
    #[arg(long, env = "OSVC_IGW_CA", value_name = "PATH")]
    pub ca: Option<PathBuf>,

    /// The client certificate to log in with, PEM; this file and those below are read anew for
    /// each connection
    #[arg(long, env = "OSVC_IGW_CLIENT_CERT", value_name = "PATH")]
    pub client_cert: Option<PathBuf>,

    /// The key of the client certificate, PEM
    #[arg(long, env = "OSVC_IGW_CLIENT_KEY", value_name = "PATH")]
    pub client_key: Option<PathBuf>,

    /// The user to log in as; the password is in `--password-file` or in `$OSVC_IGW_PASSWORD`
    #[arg(long, env = "OSVC_IGW_USER", value_name = "NAME")]
    pub user: Option<String>,

    /// The file with the user's password
    #[arg(long, env = "OSVC_IGW_PASSWORD_FILE", value_name = "PATH")]
    pub password_file: Option<PathBuf>,

    /// The file with the OpenID token to log in with
    #[arg(long, env = "OSVC_IGW_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// How `$OSVC_IGW_PASSWORD` is read; as an argument it is refused.
    #[arg(
        long,
        env = "OSVC_IGW_PASSWORD",
        hide = true,
        hide_env_values = true,
        value_parser = sensitive
    )]
    pub password: Option<Sensitive>,
}

/// Where a daemon listens with TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerUrl {
    /// A name or an address.
    pub host: String,
    /// A port.
    pub port: u16,
}

/// How the daemon is reached over TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remote {
    /// The daemons, best first; at least one.
    pub servers: Vec<ServerUrl>,
    /// The certificate of their authority.
    pub ca: PathBuf,
    /// Who this process is there.
    pub login: RemoteLogin,
}

/// Who this process is for a daemon of another machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteLogin {
    /// Who a certificate says: its file, and that of its key.
    Certificate(PathBuf, PathBuf),
    /// A user, and the file with its password.
    PasswordFile(String, PathBuf),
    /// A user, and its password.
    Password(String, Sensitive),
    /// Who the token in a file says.
    Token(PathBuf),
}

impl ServerOptions {
    /// How the daemon is reached; `None` where no server is named.
    ///
    /// # Errors
    /// One line, where the options do not fit together.
    pub fn remote(&self) -> Result<Option<Remote>, String> {
        if self.server.is_empty() {
            return match self.first_without_server() {
                Some(option) => Err(format!("{option} is of no use without --server")),
                None => Ok(None),
            };
        }
        let ca = self.ca.clone();
        let ca = ca.ok_or("--server needs --ca, the certificate of the daemons' authority")?;
        Ok(Some(Remote {
            servers: self.server.clone(),
            ca,
            login: self.login()?,
        }))
    }

    fn first_without_server(&self) -> Option<&'static str> {
        let given = [
            (self.ca.is_some(), "--ca"),
            (self.client_cert.is_some(), "--client-cert"),
            (self.client_key.is_some(), "--client-key"),
            (self.user.is_some(), "--user"),
            (self.password_file.is_some(), "--password-file"),
            (self.token_file.is_some(), "--token-file"),
        ];
        given
            .iter()
            .find(|(given, _)| *given)
            .map(|(_, name)| *name)
    }

    fn login(&self) -> Result<RemoteLogin, String> {
        let by_certificate = self.client_cert.is_some() || self.client_key.is_some();
        let ways = [
            (by_certificate, "--client-cert"),
            (self.user.is_some(), "--user"),
            (self.token_file.is_some(), "--token-file"),
        ];
        let ways: Vec<&str> = ways
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, way)| *way)
            .collect();
        match ways[..] {
            [_] => {}
            [] => return Err("--server needs --client-cert, --user or --token-file".to_owned()),
            _ => return Err(format!("{} exclude each other", ways.join(" and "))),
        }
        if self.password_file.is_some() && self.user.is_none() {
            return Err("--password-file needs --user".to_owned());
        }
        if let Some(file) = &self.token_file {
            return Ok(RemoteLogin::Token(file.clone()));
        }
        let Some(user) = self.user.clone() else {
            return match (self.client_cert.clone(), self.client_key.clone()) {
                (Some(chain), Some(key)) => Ok(RemoteLogin::Certificate(chain, key)),
                (None, _) => Err("--client-key needs --client-cert".to_owned()),
                (_, None) => Err("--client-cert needs --client-key".to_owned()),
            };
        };
        if user.contains(':') {
            return Err("--user has a colon, which no user has".to_owned());
        }
        match (self.password_file.clone(), self.password.clone()) {
            (Some(file), None) => Ok(RemoteLogin::PasswordFile(user, file)),
            (None, Some(password)) => Ok(RemoteLogin::Password(user, password)),
            (None, None) => Err("--user needs --password-file or $OSVC_IGW_PASSWORD".to_owned()),
            _ => Err("--password-file and $OSVC_IGW_PASSWORD exclude each other".to_owned()),
        }
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected https://HOST or https://HOST:PORT".to_owned();
        let place = text.strip_prefix("https://").ok_or_else(expected)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(expected)?;
                match port.strip_prefix(':') {
                    None if !port.is_empty() => return Err(expected()),
                    port => (host, port),
                }
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Ok(DAEMON_PORT), str::parse);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        match port {
            Ok(port @ 1..) if !host.is_empty() && host.bytes().all(is_host) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(expected()),
        }
    }
}

fn sensitive(text: &str) -> Result<Sensitive, String> {
    Ok(Sensitive::new(text.to_owned()))
}

/// Where a daemon listens with TLS by default.
const DAEMON_PORT: u16 = 1_215;

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ServerOptions {
        ServerOptions {
            server: vec!["https://n1".parse().unwrap()],
            ca: Some("ca.pem".into()),
            ..ServerOptions::default()
        }
    }

    #[test]
    fn a_server_has_a_host_and_a_port() {
        for (text, host, port) in [
            ("https://n1", "n1", 1215),
            ("https://n1.example.org:9/", "n1.example.org", 9),
            ("https://10.0.0.1", "10.0.0.1", 1215),
            ("https://[fd00::1]:1216", "fd00::1", 1216),
        ] {
            let host = host.to_owned();
            assert_eq!(text.parse(), Ok(ServerUrl { host, port }));
        }
        for text in [
            "",
            "n1",
            "http://n1",
            "https://",
            "https://n1:0",
            "https://n1:x",
            "https://n1/a",
            "https://[::1",
            "https://u@n1",
            "https://n1:99999",
            "https://[::1]x",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_way_to_log_in_is_one() {
        let certificate = ServerOptions {
            client_cert: Some("c".into()),
            client_key: Some("k".into()),
            ..options()
        };
        let password = ServerOptions {
            user: Some("igw".to_owned()),
            password: Some(Sensitive::new("hunter2".to_owned())),
            ..options()
        };
        let file = ServerOptions {
            user: Some("igw".to_owned()),
            password_file: Some("p".into()),
            ..options()
        };
        let token = ServerOptions {
            token_file: Some("t".into()),
            ..options()
        };
        let user = || "igw".to_owned();
        for (options, login) in [
            (
                certificate,
                RemoteLogin::Certificate("c".into(), "k".into()),
            ),
            (
                password,
                RemoteLogin::Password(user(), Sensitive::new("hunter2".to_owned())),
            ),
            (file, RemoteLogin::PasswordFile(user(), "p".into())),
            (token, RemoteLogin::Token("t".into())),
        ] {
            let remote = options.remote().unwrap().unwrap();
            assert_eq!(remote.login, login);
            assert!(!format!("{options:?}").contains("hunter2"));
        }
        assert_eq!(ServerOptions::default().remote(), Ok(None));
    }
}
