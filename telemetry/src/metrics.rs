//! One recorder of metrics a process, rendered in Prometheus's text format.

use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;

/// How often histograms are folded together: between two foldings they keep every sample.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of everything that ends in `_seconds`.
const BUCKETS_S: [f64; 14] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0,
];

/// Why nothing is counted.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// A second recorder.
    #[error("the metrics recorder can't be installed")]
    Install(#[source] BuildError),
    /// The system gives no thread.
    #[error("the thread that folds the metrics can't be started")]
    Thread(#[source] std::io::Error),
}

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder that the `metrics` crate's macros write to, once a process.
    ///
    /// # Errors
    /// There is one already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_S)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(MetricsError::Install)?;
        let upkeep = handle.clone();
        // It runs as long as the process: there is nothing to stop it for.
        let _thread = thread::Builder::new()
            .name("metrics-upkeep".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(UPKEEP);
                    upkeep.run_upkeep();
                }
            })
            .map_err(MetricsError::Thread)?;
        Ok(Self(handle))
    }

    /// Everything so far, in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::install().unwrap();
        metrics::counter!("orders_total", "status" => "placed").increment(2);
        metrics::histogram!("http_request_seconds").record(0.003);
        let text = metrics.render();
        assert!(text.contains("orders_total{status=\"placed\"} 2"), "{text}");
        assert!(
            text.contains("http_request_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
        assert!(Metrics::install().is_err());
    }
}
