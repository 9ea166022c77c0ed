//! Times as operators write them.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When(pub(super) u64);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, now_ms()).map(Self)
    }
}

fn parse(text: &str, now_ms: u64) -> Result<u64, String> {
    // A bare number of few digits is more likely a mistake than a time in 1970.
    if let Ok(number) = text.parse::<u64>() {
        return match number {
            1_000_000_000_000.. => Ok(number),
            _ => Err("write milliseconds since 1970, or a unit: \"90s\", \"2h\"".to_owned()),
        };
    }
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now_ms.saturating_sub(ms(ago)));
    }
    let at = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write \"2h\" (ago), \"2026-01-01T00:00:00Z\", or Unix milliseconds".to_owned())?;
    Ok(ms(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
}

pub(super) fn now_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_ages_dates_or_milliseconds() {
        let now = 1_767_225_600_000;
        assert_eq!(parse("2h", now), Ok(now - 7_200_000));
        assert_eq!(parse("1767225600000", now), Ok(now));
        assert_eq!(parse("2026-01-01T00:00:00Z", now), Ok(now));
        assert_eq!(parse("2026-01-01 00:00:00", now), Ok(now));
        assert!(parse("90", now).is_err());
        assert!(parse("yesterday", now).is_err());
    }
}
