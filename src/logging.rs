//! The log: to stderr, as text or JSON, never bodies or secrets.

use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Starts logging for the whole process.
///
/// # Errors
/// When logging was started before.
pub fn start(log: &LogSection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log.level))
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}

/// Libraries log connections and frames, of which an operator needs only the failures.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,hyper=error,rustls=error,spangate={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_that_of_the_gateway_alone() {
        for (level, directive) in [
            (Level::ERROR, "spangate=error"),
            (Level::WARN, "spangate=warn"),
            (Level::INFO, "spangate=info"),
            (Level::DEBUG, "spangate=debug"),
            (Level::TRACE, "spangate=trace"),
        ] {
            let filter = filter(level).to_string();
            let directives: Vec<_> = filter.split(',').collect();
            assert!(directives.contains(&directive), "{filter}");
            assert!(directives.contains(&"hyper=error"), "{filter}");
        }
    }
}
