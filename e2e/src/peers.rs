//! What was installed from PyPI and npm, and Python itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

use crate::binary::project;
use crate::{KEY, SDKAPPID};

/// The UserSig that PyPI's `tls-sig-api-v2` makes for `user`.
///
/// # Errors
/// If the package cannot be installed or run.
pub fn usersig_from_pypi(user: &str) -> Result<String> {
    let mut command = Command::new(python()?);
    command.arg(script("usersig.py")).args([&SDKAPPID.to_string(), KEY, user]);
    line(command)
}

/// The UserSig that npm's `tls-sig-api-v2` makes for `user`.
///
/// # Errors
/// If the package cannot be installed or run.
pub fn usersig_from_npm(user: &str) -> Result<String> {
    let package = packages()?.join("node_modules/tls-sig-api-v2");
    let mut command = Command::new(node()?);
    command.arg(script("usersig.js")).arg(package).args([&SDKAPPID.to_string(), KEY, user]);
    line(command)
}

/// A Python interpreter.
///
/// # Errors
/// If it cannot be installed.
pub fn python() -> Result<PathBuf> {
    Ok(tools()?.join("python/bin/python"))
}

/// Node.js: the same on every machine, never the machine's own.
///
/// # Errors
/// If it cannot be installed.
pub fn node() -> Result<PathBuf> {
    Ok(tools()?.join("node/bin/node"))
}

/// The folder whose `node_modules` has the packages from npm.
///
/// # Errors
/// If they cannot be installed.
pub fn packages() -> Result<PathBuf> {
    Ok(tools()?.join("node"))
}

/// A script of `e2e/peers`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    project().join("e2e/peers").join(name)
}

/// The folder with the installed peers; installs them the first time, for whoever runs plain `cargo test` on a fresh clone.
fn tools() -> Result<&'static Path> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let output = Command::new(script("install")).output().map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() {
            Ok(project().join(".tools"))
        } else {
            Err(String::from_utf8_lossy(&said).into_owned())
        }
    });
    match installed {
        Ok(path) => Ok(path),
        Err(error) => bail!("cannot install the peers of this test (run scripts/test, which says more): {error}"),
    }
}

fn line(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
