//! Where the server's binary is.

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
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BUILT.get_or_init(|| match std::env::var_os("ROOMHOOK_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build().map_err(|error| format!("{error:#}")),
    });
    match found {
        Ok(path) if path.is_file() => Ok(path),
        Ok(path) => bail!("ROOMHOOK_BIN is {}, which is no file", path.display()),
        Err(error) => bail!("{error}"),
    }
}

/// Builds with the features that `cargo test --workspace` uses, in the same profile and target folder: usually there is nothing to do.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(project()).args([
        "build",
        "--workspace",
        "--bin",
        "roomhook",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().context("starting cargo to build the roomhook binary")?;
    if !output.status.success() {
        bail!("building the roomhook binary failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's output")?
            && artifact.target.name == "roomhook"
            && let Some(path) = artifact.executable
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no binary named roomhook")
}
