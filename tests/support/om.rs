//! `om` as the documentation shows it, carried out on the simulated daemon. What a page may show
//! is what is here: another action or option is an error, as it is at a typing error.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::{Authority, Identity};

/// Somebody who types `om` in a folder.
pub(crate) struct Om<'a> {
    sim: &'a Sim,
    folder: &'a Path,
    authority: &'a Authority,
    accounts: BTreeMap<String, Identity>,
}

/// The options behind an action, in their order.
type Options = Vec<(String, String)>;

impl<'a> Om<'a> {
    /// `authority` is the cluster's, which signs the certificates of its accounts.
    pub(crate) fn new(sim: &'a Sim, folder: &'a Path, authority: &'a Authority) -> Self {
        Self {
            sim,
            folder,
            authority,
            accounts: BTreeMap::new(),
        }
    }

    /// Types a line. What it prints goes where the line says.
    pub(crate) fn run(&mut self, line: &str) -> Result<(), String> {
        let typed = typed(line)?;
        let told = self
            .act(&typed.words)
            .map_err(|error| format!("{line}: {error}"))?;
        match typed.into_file {
            None => Ok(()),
            Some(name) => {
                let file = self.folder.join(name);
                fs::write(&file, told).map_err(|error| format!("{}: {error}", file.display()))
            }
        }
    }

    fn act(&mut self, words: &[String]) -> Result<String, String> {
        let [om, path, action, rest @ ..] = words else {
            return Err("om takes a selector and an action".to_owned());
        };
        if om != "om" {
            return Err(format!("{om} is not om"));
        }
        let options = options(rest)?;
        match action.as_str() {
            "create" | "deploy" => self.create(path, &options)?,
            "set" => self.set(path, &options)?,
            "add" => self.add(path, &options)?,
            "scale" => {
                let [(_, to)] = only(&options, &["to"])?;
                let to = to.parse().map_err(|_| format!("--to {to} is no number"))?;
                self.sim
                    .scale(path, to)
                    .map_err(|error| error.to_string())?;
            }
            "decode" => return self.decode(path, &options),
            other => return Err(format!("no action {other}")),
        }
        Ok(String::new())
    }

    fn create(&mut self, path: &str, options: &Options) -> Result<(), String> {
        let mut text = String::new();
        let (mut env, mut keywords) = (Vec::new(), Vec::new());
        for (name, value) in options {
            match name.as_str() {
                "config" => {
                    let file = self.folder.join(value);
                    let read = fs::read_to_string(&file);
                    text = read.map_err(|error| format!("{}: {error}", file.display()))?;
                }
                "env" => {
                    let (name, _) = value.split_once('=').ok_or("--env takes NAME=VALUE")?;
                    let (_, body) = text.split_once("[env]\n").ok_or("the file has no [env]")?;
                    let body = body.split("\n[").next().unwrap_or_default();
                    let set = format!("{name} = ");
                    if !body.lines().any(|line| line.starts_with(&set)) {
                        return Err(format!("[env] has no {name}"));
                    }
                    env.push(format!("env.{value}"));
                }
                "kw" => keywords.push(value.clone()),
                other => return Err(format!("create has no --{other}")),
            }
        }
        if let Some(name) = path.strip_prefix("system/usr/") {
            return self.account(name, &keywords);
        }
        let refused = |error: osvc_igw::sim::Refused| error.to_string();
        self.sim.create(path, &text).map_err(refused)?;
        let all: Vec<&str> = env.iter().chain(&keywords).map(String::as_str).collect();
        self.sim.set(path, &all).map_err(refused)?;
        // The agent makes a pair where there is a name, and no other authority is to sign it.
        let named = |name: &str| all.iter().any(|it| it.starts_with(name));
        if path.starts_with("system/sec/") && named("cn=") {
            let pem = self.authority.pem();
            self.sim
                .set_key(path, "certificate_chain", pem)
                .map_err(refused)?;
        }
        Ok(())
    }

    /// An account: what it may do, and the names that make its certificate one of today's.
    fn account(&mut self, name: &str, keywords: &[String]) -> Result<(), String> {
        let value = |keyword: &str| {
            let mut all = keywords.iter().filter_map(|it| it.split_once('='));
            let found = all
                .find(|(name, _)| *name == keyword)
                .map(|(_, value)| value);
            found.ok_or_else(|| format!("the account needs {keyword}"))
        };
        let names: Vec<&str> = value("alt_names")?.split(' ').collect();
        let identity = self.authority.issue(name, &names);
        let identity = identity.map_err(|error| error.to_string())?;
        self.sim.set_user(name, value("grant")?, None);
        self.accounts.insert(format!("system/usr/{name}"), identity);
        Ok(())
    }

    fn set(&self, path: &str, options: &Options) -> Result<(), String> {
        let words: Vec<&str> = options.iter().map(|(_, value)| value.as_str()).collect();
        if let Some((name, _)) = options.iter().find(|(name, _)| name != "kw") {
            return Err(format!("set has no --{name}"));
        }
        if path != "cluster" {
            return self
                .sim
                .set(path, &words)
                .map_err(|error| error.to_string());
        }
        for word in words {
            let named = ["cluster.ca=", "cluster.cert="];
            let object = named.iter().find_map(|it| word.strip_prefix(it));
            let object = object.ok_or_else(|| format!("{word}: no keyword of the cluster"))?;
            self.sim
                .config(object)
                .ok_or_else(|| format!("there is no {object}"))?;
        }
        Ok(())
    }

    fn add(&self, path: &str, options: &Options) -> Result<(), String> {
        let [(_, key), (from, value)] = only(options, &["key", "value from"])?;
        let value = match from.as_str() {
            "from" => {
                let file = self.folder.join(value);
                let read = fs::read_to_string(&file);
                read.map_err(|error| format!("{}: {error}", file.display()))?
            }
            _ => value.clone(),
        };
        self.sim
            .set_key(path, key, &value)
            .map_err(|error| error.to_string())
    }

    fn decode(&self, path: &str, options: &Options) -> Result<String, String> {
        let [(_, key)] = only(options, &["key"])?;
        let of_account = self.accounts.get(path).and_then(|it| match key.as_str() {
            "certificate_chain" => Some(it.chain_pem.clone()),
            "private_key" => Some(it.key_pem.clone()),
            _ => None,
        });
        let found = of_account.or_else(|| self.sim.key(path, key));
        found.ok_or_else(|| format!("{path} has no key {key}"))
    }
}

/// Exactly these options, each with the names that it may have.
fn only<'a, const N: usize>(
    options: &'a Options,
    names: &[&str; N],
) -> Result<[&'a (String, String); N], String> {
    let found: Vec<&(String, String)> = options.iter().collect();
    let wrong = || format!("takes {names:?}, not {options:?}");
    let found: [&(String, String); N] = found.try_into().map_err(|_| wrong())?;
    let fits = |((name, _), known): (&&(String, String), &&str)| {
        known.split(' ').any(|known| known == name)
    };
    match found.iter().zip(names).all(fits) {
        true => Ok(found),
        false => Err(wrong()),
    }
}

fn options(words: &[String]) -> Result<Options, String> {
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] if name.starts_with("--") => {
                Ok((name.trim_start_matches('-').to_owned(), value.clone()))
            }
            other => Err(format!("{other:?} is no option with a value")),
        })
        .collect()
}

/// A line as the shell reads it.
#[derive(Default)]
struct Typed {
    words: Vec<String>,
    into_file: Option<String>,
}

/// Quotes, a comment, and a file to write to; nothing else that a shell knows.
fn typed(line: &str) -> Result<Typed, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '$' | '|' | ';' | '&' | '`') => return Err(format!("{letter} in {line}")),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is open at the end of {line}"));
    }
    words.extend(word);
    match words.iter().position(|it| it == ">") {
        None => Ok(Typed {
            words,
            into_file: None,
        }),
        Some(at) => match words.split_off(at).as_slice() {
            [_, file] => Ok(Typed {
                words,
                into_file: Some(file.clone()),
            }),
            _ => Err(format!("what is behind > in {line} is no file")),
        },
    }
}
