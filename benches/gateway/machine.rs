//! The shape of the machine, without which no figure means much.

/// CPU time in ticks: of the machine, all of it, idle, and taken by the host; of this process and those that it has waited for.
#[derive(Clone, Copy)]
pub(crate) struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
    ours: u64,
}

impl Ticks {
    pub(crate) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let fields = stat.lines().next().unwrap().split_whitespace();
        let machine: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        let ours = fields.skip(11).take(4);
        Ticks {
            // Without the guests', which are in the first two already.
            all: machine[..8].iter().sum(),
            idle: machine[3] + machine[4],
            stolen: machine[7],
            ours: ours.map(|field| field.parse::<u64>().unwrap()).sum(),
        }
    }

    /// What others did with the machine since then.
    pub(crate) fn others_since(self, before: Ticks) -> String {
        let part = |ticks: u64| 100.0 * ticks as f64 / (self.all - before.all).max(1) as f64;
        let idle = self.idle.saturating_sub(before.idle);
        let stolen = self.stolen - before.stolen;
        let known = idle + stolen + (self.ours - before.ours);
        let others = (self.all - before.all).saturating_sub(known);
        format!(
            "other processes and the kernel's own threads took {:.0} % of the machine, its host {:.1} %",
            part(others),
            part(stolen)
        )
    }
}

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
