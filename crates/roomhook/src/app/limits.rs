//! What the operating system allows this process.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use tokio::signal::unix::{SignalKind, signal};

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

/// Makes a write beyond the limit of file sizes (`LimitFSIZE=`, `ulimit -f`) an error like that of a full disk, which is told
/// and after which reads go on. Without this, the first one kills the process without a word.
pub(crate) fn file_size_is_an_error() {
    // A handler that was installed stays when this value goes. Without it all is as it was before: no reason not to start.
    if let Err(error) = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32)) {
        tracing::warn!(%error, "a file that grows too large would end the process");
    }
}
