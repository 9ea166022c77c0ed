//! What was measured, and how it is told: a table for people, one JSON line for scripts (fields: design §8).

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::out::say;

/// Latencies in microseconds, to three digits, up to a minute.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    const MICROS_MAX: u64 = 60_000_000;

    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, Self::MICROS_MAX, 3)?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(Self::MICROS_MAX).max(1));
    }

    pub(crate) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `share` (0 to 1) of all stayed below or at, in milliseconds; 0 when nothing was measured.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { rounded(self.0.value_at_quantile(share) as f64 / 1000.0) }
    }

    pub(crate) fn max_ms(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { rounded(self.0.max() as f64 / 1000.0) }
    }
}

/// Three decimals: what a histogram of microseconds knows.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Seconds of CPU time that ten thousand took, when `count` took `cpu`; nothing when there was none.
pub(crate) fn cpu_s_per_10k(cpu: Option<Duration>, count: f64) -> Option<f64> {
    cpu.filter(|_| count > 0.0).map(|cpu| cpu.as_secs_f64() * 1e4 / count)
}

/// A report: named values in order, and remarks that only the table shows.
#[derive(Debug)]
pub(crate) struct Report {
    bench: &'static str,
    fields: Vec<(&'static str, serde_json::Value)>,
    remarks: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self { bench, fields: Vec::new(), remarks: Vec::new() }
    }

    pub(crate) fn field(&mut self, name: &'static str, value: impl Into<serde_json::Value>) {
        self.fields.push((name, value.into()));
    }

    pub(crate) fn fields<const N: usize>(&mut self, fields: [(&'static str, impl Into<serde_json::Value>); N]) {
        fields.into_iter().for_each(|(name, value)| self.field(name, value));
    }

    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// The fields that every bench has, in the order of design §8.
    pub(crate) fn common(&mut self, errors: u64, latencies: &Latencies, memory: Option<super::process::Memory>) {
        self.field("errors", errors);
        self.field("p50_ms", latencies.ms(0.5));
        self.field("p99_ms", latencies.ms(0.99));
        self.field("p999_ms", latencies.ms(0.999));
        self.field("rss_mb_start", memory.map(|memory| rounded(memory.start_mb)));
        self.field("rss_mb_peak", memory.map(|memory| rounded(memory.peak_mb)));
    }

    /// One line of JSON, without line break.
    pub(crate) fn json(&self) -> String {
        let pairs = self.fields.iter().map(|(name, value)| format!("{name:?}: {value}"));
        let all: Vec<_> = std::iter::once(format!("\"bench\": {:?}", self.bench)).chain(pairs).collect();
        format!("{{{}}}", all.join(", "))
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            return say!("{}", self.json());
        }
        say!("bench {}", self.bench);
        for (name, value) in &self.fields {
            let shown = if value.is_null() { "not measured".to_owned() } else { value.to_string() };
            say!("  {name:<18} {shown}");
        }
        for remark in &self.remarks {
            say!("  {remark}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_json_in_the_order_it_was_told() {
        let mut latencies = Latencies::new().expect("a histogram");
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let mut report = Report::new("send");
        report.field("rooms", 64);
        report.common(0, &latencies, None);
        let json = report.json();
        assert!(json.starts_with(r#"{"bench": "send", "rooms": 64, "errors": 0, "p50_ms": 500"#), "{json}");
        assert!(!json.contains('\n'));
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("valid JSON");
        assert!(parsed["rss_mb_peak"].is_null());
    }
}
