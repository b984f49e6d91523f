//! `spangate replay`: a running gateway is asked to send spans that would not leave by themselves.

use crate::admin::{REPLAY_KEPT, REPLAY_REFUSED};
use crate::cli;
use crate::config::Config;
use crate::tail::Problem;
use crate::tail::address::Address;
use crate::tail::client::Client;

/// Asks the gateway, and gives a line for each kind of spans that says how many are sent.
///
/// # Errors
/// When an address is wrong, the gateway does not answer, lets nobody in or has no key to send them with.
pub async fn run(config: &Config, words: &cli::ReplayArgs) -> Result<String, Problem> {
    let address = Address::choose(words.admin.as_deref(), config).map_err(Problem::wrong)?;
    let token = config.server.admin_token.as_ref();
    let client = Client::new(address, token, Vec::new());
    let mut lines = Vec::new();
    for (wanted, path, kind) in [
        (words.refused, REPLAY_REFUSED, "that Respan refused"),
        (words.kept, REPLAY_KEPT, "that were made without a key"),
    ] {
        if !wanted {
            continue;
        }
        let replayed = client.replay(path).await;
        let spans = match replayed.map_err(|failure| failure.into_problem(client.address()))? {
            1 => "1 span".to_owned(),
            spans => format!("{spans} spans"),
        };
        lines.push(format!("{spans} {kind}: on the way to Respan"));
    }
    Ok(lines.join("\n"))
}
