//! Who asked, as attributes of spans.

use super::{Attributes, Name, ValueRef, key};
use crate::identity::Identity;

/// Emits what Respan knows by name, each key at most once (respan-sdk 2.9.0, `otlp_constants`).
pub fn attributes(identity: &Identity, out: &mut impl Attributes) {
    attributes_but(identity, &[], out);
}

/// The same without the name of one agent: for every span of the run that this began.
pub fn attributes_of_run(identity: &Identity, out: &mut impl Attributes) {
    attributes_but(identity, &[key::AGENT_NAME], out);
}

fn attributes_but(identity: &Identity, unwanted: &[&str], out: &mut impl Attributes) {
    let texts = [
        (key::CUSTOMER_IDENTIFIER, &identity.customer.identifier),
        (key::CUSTOMER_EMAIL, &identity.customer.email),
        (key::CUSTOMER_NAME, &identity.customer.name),
        (key::THREAD_IDENTIFIER, &identity.thread),
        (key::SESSION_IDENTIFIER, &identity.session),
        (key::TRACE_GROUP_IDENTIFIER, &identity.trace_group),
        (key::CUSTOM_IDENTIFIER, &identity.custom),
        (key::ENVIRONMENT, &identity.environment),
        (key::WORKFLOW_NAME, &identity.workflow_name),
        (key::AGENT_NAME, &identity.agent_name),
    ];
    for (key, text) in texts {
        if let Some(text) = text
            && !unwanted.contains(&key)
        {
            out.put(Name::Fixed(key), ValueRef::Text(text));
        }
    }
    for (name, text) in &identity.metadata {
        let name = Name::Prefixed(key::METADATA_PREFIX, name);
        out.put(name, ValueRef::Text(text));
    }
}
