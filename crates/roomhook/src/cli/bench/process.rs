//! The server under test: a process of its own, and what `/proc` says about it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Deserialize;

use super::super::ready::Ready;

/// How long a start may take before it counts as failed; replaying a large store takes part of it.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A server this bench started. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    pub(crate) ready: Ready,
    /// From the start of the process until it was ready.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts this same program as a server with the given configuration, and waits until it is ready. `folder` takes
    /// the configuration, the ready file and the log.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with the end of its log.
    pub(crate) async fn start(folder: &Path, config: &str) -> anyhow::Result<Self> {
        let (config_file, ready_file, log) =
            (folder.join("roomhook.toml"), folder.join("ready.json"), folder.join("server.log"));
        std::fs::write(&config_file, config).with_context(|| format!("write {}", config_file.display()))?;
        let program = std::env::current_exe().context("find this program")?;
        let began = Instant::now();
        let mut child = Command::new(program)
            .args(["serve".as_ref(), "--config".as_ref(), config_file.as_os_str()])
            .args(["--ready-file".as_ref(), ready_file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?)
            .spawn()
            .context("start the server")?;
        loop {
            if let Some(ready) = Ready::read(&ready_file)? {
                return Ok(Self { child, log, ready, started_in: began.elapsed() });
            }
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the server ended with {status}:\n{}", end_of(&log));
            }
            if began.elapsed() > START_DEADLINE {
                let _gone = child.kill();
                anyhow::bail!("the server was not ready after {START_DEADLINE:?}:\n{}", end_of(&log));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as an operator would, and tells how it ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).context("stop the server")?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", end_of(&self.log));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("the server did not stop:\n{}", end_of(&self.log))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Resident memory of the server, in megabytes (10^6 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Memory {
    pub(crate) start_mb: f64,
    pub(crate) peak_mb: f64,
}

/// Reads one process in `/proc`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) pid: u32,
}

impl Probe {
    /// User and system time since the process started. `None` when it is gone.
    pub(crate) fn cpu(self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let ticks_per_s = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten()?;
        cpu_ticks(&stat).map(|ticks| Duration::from_secs_f64(ticks as f64 / ticks_per_s as f64))
    }

    /// Resident megabytes now. `None` when it is gone.
    pub(crate) fn rss_mb(self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        rss_kib(&status).map(|kib| kib as f64 * 1024.0 / 1e6)
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, counted after the name, which may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut after_name = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = after_name.next()?.parse().ok()?;
    let system: u64 = after_name.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Samples the server's memory every 50 ms until the future of the load is done.
pub(crate) async fn peak_rss_mb(probe: Probe, load: impl Future<Output = ()>) -> f64 {
    tokio::pin!(load);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut peak: f64 = 0.0;
    loop {
        tokio::select! {
            () = &mut load => return peak.max(probe.rss_mb().unwrap_or(0.0)),
            _ = ticks.tick() => peak = peak.max(probe.rss_mb().unwrap_or(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(rss_kib("VmPeak:\t 9 kB\nVmRSS:\t   1234 kB\n"), Some(1234));
        let own = Probe { pid: std::process::id() };
        assert!(own.cpu().is_some() && own.rss_mb().is_some_and(|mb| mb > 1.0));
        assert!(Probe { pid: u32::MAX }.cpu().is_none(), "a process that is gone is no zero");
    }
}
