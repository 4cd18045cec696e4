//! Options of the command that judges service configurations before the cluster has them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::PortRange;
use crate::inventory::{Kind, ObjectPath};

/// Options of `osvc-igw check`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CheckOptions {
    /// The configurations to check together; `-` is standard input. Without a path an object is
    /// named as its file, and a file of the agent's `namespaces/NAMESPACE/KIND/` after its folders
    #[arg(required = true, value_name = "[PATH=]FILE")]
    pub files: Vec<CheckFile>,

    /// The namespace of the services whose files do not tell theirs
    #[arg(long, value_name = "NAMESPACE", default_value = "root")]
    pub namespace: String,

    /// Only what the gateway of this name would serve [default: every gateway that is named]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub name: Option<String>,

    /// Let this Envoy judge the whole result as well (`envoy --mode validate`)
    #[arg(long, value_name = "PATH")]
    pub envoy: Option<PathBuf>,

    /// How to say what was found
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    pub format: CheckFormat,

    /// Ports to allocate from for `listener_port=0`, as the gateway has it
    #[arg(
        short = 'r',
        long,
        value_name = "MIN-MAX",
        default_value = "1025-65535"
    )]
    pub port_range: PortRange,

    /// Namespaces, separated by commas, whose sec objects services of other namespaces may use,
    /// as the gateway has it [default: none]
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    pub allow_secrets_of: Vec<String>,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum CheckFormat {
    /// A line each, for people and editors: `file:line: what`.
    Text,
    /// One document.
    Json,
    /// SARIF 2.1.0, which code forges and editors read.
    Sarif,
    /// The workflow commands by which GitHub Actions annotates a change.
    Github,
}

/// A file, and the object that it is the configuration of where that was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckFile {
    /// The object, as it was named.
    pub object: Option<ObjectPath>,
    /// The file; `-` is standard input.
    pub file: PathBuf,
}

impl CheckFile {
    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The object that the file is the configuration of. The agent keeps them in
    /// `/etc/opensvc/namespaces/NAMESPACE/KIND/NAME.conf`, services without a namespace in
    /// `/etc/opensvc/NAME.conf`.
    ///
    /// # Errors
    /// One line, where the name of the file is no name of an object.
    pub fn path(&self, namespace: &str) -> Result<ObjectPath, String> {
        if let Some(object) = &self.object {
            return Ok(object.clone());
        }
        let name = self.file.file_stem().and_then(|stem| stem.to_str());
        let name = name.unwrap_or_default();
        let folders = self.file.parent().into_iter().flat_map(Path::iter);
        let folders: Vec<&str> = folders.filter_map(|folder| folder.to_str()).collect();
        let told = match folders[..] {
            [.., "namespaces", namespace, kind] => format!("{namespace}/{kind}/{name}"),
            _ => format!("{namespace}/svc/{name}"),
        };
        told.parse().map_err(|_| {
            let file = self.file.display();
            format!("{file}: {told:?} is no path of an object: name it, as in test/svc/web1={file}")
        })
    }
}

impl FromStr for CheckFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').and_then(|(object, file)| {
            let object: ObjectPath = object.parse().ok()?;
            Some((object, file))
        });
        let (object, file) = match named {
            Some((object, file)) => (Some(object), file),
            None => (None, text),
        };
        match file {
            "" => Err("expected FILE or PATH=FILE".to_owned()),
            "-" if object.is_none() => {
                Err("standard input needs the path of its object, as in test/svc/web1=-".to_owned())
            }
            file => Ok(Self {
                object,
                file: file.into(),
            }),
        }
    }
}

impl CheckOptions {
    /// Checks what the options say together.
    ///
    /// # Errors
    /// One line, where they do not fit together.
    pub(super) fn settled(self) -> Result<Self, String> {
        if self.files.iter().filter(|file| file.is_stdin()).count() > 1 {
            return Err("standard input can be read once".to_owned());
        }
        let probe = format!("{}/svc/probe", self.namespace);
        let namespace = probe.parse().map(|path: ObjectPath| path.kind());
        if namespace != Ok(Kind::Svc) || self.namespace.contains('/') {
            let namespace = &self.namespace;
            return Err(format!(
                "--namespace: {namespace:?} is no name of a namespace"
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let read = text.parse::<CheckFile>();
        let path = read.and_then(|file| file.path("test"));
        let path = path.map(|path| path.to_string());
        match (path, expect) {
            (Ok(path), Ok(expect)) => assert_eq!(path, expect, "{text}"),
            (Err(line), Err(expect)) => assert!(line.contains(expect), "{text}: {line}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn a_file_tells_its_object_by_option_by_folders_or_by_its_own_name() {
        check("shop/svc/web=a.conf", Ok("shop/svc/web"));
        check("web=a.conf", Ok("web"));
        check(
            "/etc/opensvc/namespaces/shop/svc/web.conf",
            Ok("shop/svc/web"),
        );
        check("etc/namespaces/shop/sec/front.conf", Ok("shop/sec/front"));
        check("services/web1.conf", Ok("test/svc/web1"));
        check("test/svc/web1=-", Ok("test/svc/web1"));
    }

    #[test]
    fn a_file_whose_object_is_not_told_is_one_line() {
        check("-", Err("standard input needs the path"));
        check("a/web 1.conf", Err("is no path of an object: name it"));
        check("web=", Err("expected FILE"));
        check("", Err("expected FILE"));
    }
}
