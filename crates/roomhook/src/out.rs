//! What the commands tell a person, on standard output. Logs go to standard error (see [`crate::telemetry`]).

use std::{fmt, io::Write};

/// Writes one line. A reader that went away (`roomhook … | head`) is no reason to fail.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _gone = stdout.write_fmt(text).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
}

/// `say!("text {}", value)`: one line to standard output.
macro_rules! say {
    ($($argument:tt)*) => { $crate::out::line(format_args!($($argument)*)) };
}
pub(crate) use say;
