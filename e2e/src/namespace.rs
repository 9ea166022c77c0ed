//! Mounts that only those see who are to see them, and that nothing is left of when a test dies.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

/// Says that all is mounted, and holds a mount namespace until its standard input ends.
pub(crate) const HOLD: &str = "echo mounted && exec cat >/dev/null";

/// What this machine lacks for mounts of our own with these devices and programs (each with arguments that must work), if anything.
pub(crate) fn lacking(devices: &[&str], programs: &[(&str, &[&str])]) -> Option<String> {
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        return Some("root".to_owned());
    }
    let is_missing = |device: &&&str| fs::File::options().read(true).write(true).open(device).is_err();
    if let Some(device) = devices.iter().find(is_missing) {
        return Some((*device).to_owned());
    }
    let works = |program: &str, args: &[&str]| {
        let ran = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    };
    let unshare: (&str, &[&str]) = ("unshare", &["--mount", "true"]);
    [unshare]
        .into_iter()
        .chain(programs.iter().copied())
        .find(|(program, args)| !works(program, args))
        .map(|(program, _)| format!("a working {program}"))
}
