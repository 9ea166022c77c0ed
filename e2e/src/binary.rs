//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

/// The project's root folder.
#[must_use]
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The binary under test: `ROOMHOOK_BIN` if set, else one that cargo builds now, so that a test never runs against an old one.
///
/// # Errors
/// If the build fails; the text holds the compiler's output.
pub fn roomhook() -> Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let path = once(&FOUND, || match std::env::var_os("ROOMHOOK_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build("roomhook"),
    })?;
    if !path.is_file() {
        bail!("ROOMHOOK_BIN is {}, which is no file", path.display());
    }
    Ok(path)
}

/// The example program that mirrors messages into SQLite.
///
/// # Errors
/// If the build fails; the text holds the compiler's output.
pub fn mirror() -> Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&FOUND, || build("roomhook-example-mirror"))
}

fn once(
    found: &'static OnceLock<Result<PathBuf, String>>,
    find: impl FnOnce() -> Result<PathBuf>,
) -> Result<&'static Path> {
    match found.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

/// Builds with the features that `cargo test --workspace` uses, in the same profile and target folder: usually there is nothing to do.
fn build(name: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(project()).args([
        "build",
        "--workspace",
        "--message-format=json-render-diagnostics",
        "--bin",
        name,
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().with_context(|| format!("starting cargo to build {name}"))?;
    if !output.status.success() {
        bail!("building {name} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's output")?
            && artifact.target.name == name
            && let Some(path) = artifact.executable
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no binary named {name}")
}
