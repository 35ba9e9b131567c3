//! All metrics of a process, and the two text formats in which they are read.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::process::ProcessCollector;

/// What runs here, for `istio_build`.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// `ztunnel`, `pilot`, ….
    pub component: String,
    /// Its version.
    pub tag: String,
}

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's older text format, 0.0.4.
    Text,
}

impl Exposition {
    /// What a client with this `Accept` header gets. Prometheus names OpenMetrics whenever it can read it, so
    /// quality values needn't be weighed.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The response's content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The metrics of a process. Filled while the process is put together, then shared for reading.
#[derive(Debug)]
pub struct Registry {
    metrics: prometheus_client::registry::Registry,
}

impl Registry {
    /// With `istio_build` and the process's own gauges.
    pub fn new(build: &Build) -> Self {
        let mut metrics = prometheus_client::registry::Registry::default();
        let family = Family::<Vec<(Cow<'static, str>, String)>, Gauge>::default();
        let labels = vec![
            (Cow::Borrowed("component"), build.component.clone()),
            (Cow::Borrowed("tag"), build.tag.clone()),
        ];
        family.get_or_create(&labels).set(1);
        metrics.register("istio_build", "What runs here", family);
        metrics.register_collector(Box::new(ProcessCollector));
        Self { metrics }
    }

    /// Adds a collector, which is asked at every scrape.
    pub fn collector(&mut self, collector: impl Collector) {
        self.metrics.register_collector(Box::new(collector));
    }

    /// Where a component registers metrics of its own.
    pub fn metrics(&mut self) -> &mut prometheus_client::registry::Registry {
        &mut self.metrics
    }

    /// Everything, as text.
    pub fn encode(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.metrics)?;
        match exposition {
            Exposition::OpenMetrics => {
                text::encode_eof(&mut out)?;
                Ok(out)
            }
            Exposition::Text => Ok(to_text_format(&out)),
        }
    }
}

/// OpenMetrics describes a counter under its name without `_total`; the older format describes the very name that
/// the samples have, and takes a counter described otherwise as one of unknown type.
fn to_text_format(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            help = Some((name, text));
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            if !line.starts_with("# UNIT ") {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        let kind = if kind == "unknown" { "untyped" } else { kind };
        if let Some((_, text)) = help.take().filter(|(described, _)| *described == name) {
            out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
        }
        out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn registry() -> Registry {
        let build = Build { component: "ztunnel".into(), tag: "0.1.0".into() };
        let mut registry = Registry::new(&build);
        registry.metrics().register("some", "Some things", Counter::<u64>::default());
        registry
    }

    #[test]
    fn open_metrics_ends_with_its_mark_and_names_the_family() {
        let text = registry().encode(Exposition::OpenMetrics).unwrap();
        assert!(text.contains("# TYPE some counter\nsome_total 0\n"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn older_text_describes_the_name_that_samples_have() {
        let text = registry().encode(Exposition::Text).unwrap();
        assert!(
            text.contains(
                "# HELP some_total Some things.\n# TYPE some_total counter\nsome_total 0\n"
            )
        );
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn build_and_process_are_always_there() {
        let text = registry().encode(Exposition::Text).unwrap();
        assert!(text.contains(r#"istio_build{component="ztunnel",tag="0.1.0"} 1"#));
        for gauge in ["process_open_fds ", "process_max_fds ", "process_resident_memory_bytes "] {
            let line = text.lines().find(|line| line.starts_with(gauge)).unwrap();
            assert!(!line.ends_with(" 0"), "{line}");
        }
    }

    #[test]
    fn format_follows_what_the_client_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        assert_eq!(Exposition::accepted(Some(prometheus)), Exposition::OpenMetrics);
        assert_eq!(Exposition::accepted(Some("*/*")), Exposition::Text);
        assert_eq!(Exposition::accepted(None), Exposition::Text);
    }
}
