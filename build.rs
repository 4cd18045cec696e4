//! Makes the four things of the build that are not Rust: our own messages and service from
//! `proto/`, Envoy's message descriptors, as small as they get, a table of what is always
//! needed of them, and the number that stands for this version of the encoder.
//!
//! Envoy's descriptors come from the locked `envoy-types` package, the same that the typed messages
//! come from, so the two cannot disagree. No `.proto` file of others is read, no `protoc` is run.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]

#[path = "src/xds/wire/layout.rs"]
mod layout;
#[path = "build/table.rs"]
mod table;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use prost::Message;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    for code in CODE {
        println!("cargo::rerun-if-changed={code}");
    }
    println!("cargo::rerun-if-changed=Cargo.lock");

    compile_own(&root.join("proto"), &out)?;
    let package = envoy_types(&root)?;
    let source = package.folder.join("src/generated/types.bin");
    println!("cargo::rerun-if-changed={}", source.display());
    write_descriptors(&source, &out)?;

    let encoder = encoder(&root.join("src/xds"), &package.version)?;
    println!("cargo::rustc-env=OSVC_IGW_ENCODER={encoder}");
    Ok(())
}

/// Generates Rust from our own contract, and its descriptors for reflection and JSON.
fn compile_own(proto: &Path, out: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={}", proto.display());
    let set = protox::compile(["osvc_igw/v1/service.proto"], [proto])?;
    fs::write(out.join("osvc-igw-descriptors"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(set)?;
    Ok(())
}

/// Where cargo put a package, and which version it is.
struct Package {
    version: String,
    folder: PathBuf,
}

/// Asks cargo for the one `envoy-types` of Cargo.lock, wherever it comes from: a registry, a
/// vendored folder, a path.
fn envoy_types(root: &Path) -> Result<Package> {
    // Offline first: what this build compiles is already here. What it does not compile (the
    // dependencies of tests) may not be, and `cargo metadata` wants that too.
    let text = match metadata(root, &["--offline"]) {
        Ok(text) => text,
        Err(offline) => metadata(root, &[]).map_err(|online| {
            format!(
                "cargo metadata cannot say where the package envoy-types is; \
                 `cargo fetch --locked` may help\noffline: {offline}\nonline: {online}"
            )
        })?,
    };
    let value: serde_json::Value = serde_json::from_slice(&text)?;
    let found: Vec<_> = value["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["name"] == "envoy-types")
        .collect();
    let [package] = found[..] else {
        return Err(format!("Cargo.lock must name envoy-types once, not {}", found.len()).into());
    };
    let text = |key: &str| {
        package[key]
            .as_str()
            .ok_or_else(|| format!("cargo metadata without {key}"))
    };
    let mut folder = PathBuf::from(text("manifest_path")?);
    folder.pop();
    Ok(Package {
        version: text("version")?.to_owned(),
        folder,
    })
}

fn metadata(root: &Path, more: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(variable("CARGO")?)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
        ])
        .arg(variable("TARGET")?)
        .args(more)
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(output.stdout)
}

/// Strips and compresses the descriptor set, and writes the table of it. That takes long in a
/// debug build and its input hardly ever changes, so it is done once for each input.
fn write_descriptors(source: &Path, out: &Path) -> Result<()> {
    let full = fs::read(source).map_err(|error| {
        format!(
            "envoy-types has no descriptor set at {}: {error}",
            source.display()
        )
    })?;
    let mut key = Fnv::new();
    key.write(&full);
    for code in CODE {
        key.write(&fs::read(code)?);
    }
    let key = key.0.to_string();
    let key_file = out.join("envoy-descriptors.key");
    if fs::read_to_string(&key_file).is_ok_and(|old| old == key) {
        return Ok(());
    }
    let stripped = strip(&full).ok_or("the descriptor set of envoy-types is not protobuf")?;
    let compressed = miniz_oxide::deflate::compress_to_vec(&stripped, 9);
    fs::write(out.join("envoy-descriptors.deflate"), compressed)?;
    fs::write(out.join("envoy-table"), table::table(&stripped)?)?;
    fs::write(key_file, key)?;
    Ok(())
}

/// All that says what becomes of the descriptor set.
const CODE: [&str; 3] = ["build.rs", "build/table.rs", "src/xds/wire/layout.rs"];

/// Drops `source_code_info` from every file of an encoded `FileDescriptorSet`: it is four fifths
/// of the bytes. Everything else is copied as it is: decoding into prost's own types would lose
/// the custom options, among them the one that says which fields are secret.
fn strip(set: &[u8]) -> Option<Vec<u8>> {
    const FILE: u64 = 1;
    const SOURCE_CODE_INFO: u64 = 9;
    let mut stripped = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let file = take_field(&mut rest)?;
        if file.number != FILE {
            stripped.extend_from_slice(file.whole);
            continue;
        }
        let mut kept = Vec::new();
        let mut fields = file.payload;
        while !fields.is_empty() {
            let field = take_field(&mut fields)?;
            if field.number != SOURCE_CODE_INFO {
                kept.extend_from_slice(field.whole);
            }
        }
        put_varint(&mut stripped, FILE << 3 | 2);
        put_varint(&mut stripped, kept.len() as u64);
        stripped.extend_from_slice(&kept);
    }
    Some(stripped)
}

/// One field of an encoded message: its number, its content, and all its bytes.
struct Field<'a> {
    number: u64,
    payload: &'a [u8],
    whole: &'a [u8],
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *bytes;
    let tag = take_varint(bytes)?;
    let length = match tag & 7 {
        0 => {
            let before = *bytes;
            take_varint(bytes)?;
            let length = before.len() - bytes.len();
            *bytes = before;
            length
        }
        1 => 8,
        2 => usize::try_from(take_varint(bytes)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (payload, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Field {
        number: tag >> 3,
        payload,
        whole: &start[..start.len() - rest.len()],
    })
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A number that changes when what the encoder makes of an equal gateway may change: it is part
/// of every resource's version, so an upgraded controller sends again what it encodes anew.
fn encoder(xds: &Path, envoy_types: &str) -> Result<u64> {
    let mut hash = Fnv::new();
    hash.write(envoy_types.as_bytes());
    if !xds.is_dir() {
        return Ok(hash.0);
    }
    println!("cargo::rerun-if-changed={}", xds.display());
    // What is found wrong is not served, so what finds it counts too.
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [xds.to_owned(), xds.join("preflight"), xds.join("wire")] {
        for entry in fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file)?;
        // Tests stand last in a file of this project.
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        hash.write(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.write(code.as_bytes());
    }
    Ok(hash.0)
}

/// FNV-1a: not strong, but the same on every machine and with every compiler.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The length goes in too: `a` then `bc` is not `ab` then `c`.
    fn write(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).ok_or_else(|| format!("cargo sets {name} for a build script").into())
}
