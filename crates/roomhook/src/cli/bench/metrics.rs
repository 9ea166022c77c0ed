//! What a server under load says about itself at `/metrics`.

use anyhow::Context as _;

use super::load::{Connection, Target};

/// One reading, as Prometheus would take it.
#[derive(Debug)]
pub(super) struct Metrics(String);

impl Metrics {
    /// # Errors
    /// When there is no server of ours at the address.
    pub(super) async fn of(target: &Target) -> anyhow::Result<Self> {
        let mut connection = Connection::open(target).await.context("connect to the server's metrics")?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
        let answer = connection.exchange(request.as_bytes()).await.context("read the server's metrics")?;
        Ok(Self(String::from_utf8(answer.to_vec()).context("metrics are no text")?))
    }

    /// The sum over all labels of one metric; 0 when there is none of that name.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.sum_with(name, "")
    }

    /// The sum over those with a label, e.g. `app="7"`.
    pub(super) fn sum_with(&self, name: &str, label: &str) -> f64 {
        let of_name = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.contains(label))?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        self.0.lines().filter_map(of_name).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn one_metric_is_summed_over_its_labels_and_no_other_with_a_longer_name() {
        let text = "# TYPE a gauge\na{x=\"1\"} 2\na{x=\"2 3\"} 40\na_total 1000\na 0.5\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.sum_with("a", "x=\"2 3\""), 40.0);
        assert_eq!((metrics.sum("a"), metrics.sum("a_total"), metrics.sum("b")), (42.5, 1000.0, 0.0));
    }
}
