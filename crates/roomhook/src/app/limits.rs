//! What the operating system allows this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as it goes without privileges, and returns it. Failing is no reason not to
/// start: `doctor` tells when it is too low.
pub(crate) fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// The limit as it is.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}
