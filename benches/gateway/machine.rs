//! The shape of the machine, without which no figure means much.

pub(crate) fn shape(versions: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores, {model}, Linux {}; {versions}; spangate {}",
        kernel.trim(),
        env!("CARGO_PKG_VERSION")
    )
}
