//! What was asked for on the command line.

/// Words that choose workloads.
pub(crate) const FILTERS: [&str; 5] = ["requests", "history", "latency", "streams", "memory"];

pub(crate) struct Options {
    /// A few seconds of each.
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    filters: Vec<String>,
}

impl Options {
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            quick: false,
            rounds: 0,
            filters: Vec::new(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {}
                "quick" => options.quick = true,
                "rounds" | "--rounds" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    options.rounds = number
                        .filter(|rounds| *rounds > 0)
                        .ok_or("say how many rounds: rounds 5")?;
                }
                filter if FILTERS.contains(&filter) => options.filters.push(word),
                other => {
                    return Err(format!(
                        "{other:?} is none of: quick, rounds <number>, {}",
                        FILTERS.join(", ")
                    ));
                }
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 2 } else { 5 };
        }
        Ok(options)
    }

    /// Into how many turns a workload is cut in each round.
    pub(crate) fn turns(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    pub(crate) fn wants(&self, workload: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter == workload)
    }
}
