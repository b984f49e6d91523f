//! `spangate replay`: has a running gateway send spans that would not leave by themselves.

use crate::admin::{REPLAY_KEPT, REPLAY_REFUSED};
use crate::cli;
use crate::config::Config;
use crate::tail::CommandError;
use crate::tail::address::AdminAddress;
use crate::tail::client::AdminClient;

/// Calls the gateway. Returns a line for each kind of spans with the number that is sent.
///
/// # Errors
/// When the address is wrong, or when the gateway does not answer, asks for another token or has no key of Respan's.
pub async fn run(config: &Config, args: &cli::ReplayArgs) -> Result<String, CommandError> {
    let address =
        AdminAddress::choose(args.admin.as_deref(), config).map_err(CommandError::configuration)?;
    let token = config.server.admin_token.as_ref();
    let client = AdminClient::new(address, token, Vec::new());
    let mut lines = Vec::new();
    for (wanted, path, kind) in [
        (args.refused, REPLAY_REFUSED, "that Respan refused"),
        (args.kept, REPLAY_KEPT, "that were made without a key"),
    ] {
        if !wanted {
            continue;
        }
        let replayed = client.replay(path).await;
        let spans = match replayed.map_err(|error| error.into_command_error(client.address()))? {
            1 => "1 span".to_owned(),
            spans => format!("{spans} spans"),
        };
        lines.push(format!("{spans} {kind}: on the way to Respan"));
    }
    Ok(lines.join("\n"))
}
