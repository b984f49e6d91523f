//! tmp
pub mod otlp;
pub mod respan;
