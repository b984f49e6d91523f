//! Attributes for the identity of a request: customer, thread, session, metadata.

use super::{AttributeEncoder, AttributeName, ValueRef, key};
use crate::identity::Identity;

/// Emits the identity under the names of respan-sdk 2.9.0 (`otlp_constants`), each key at most once.
pub(crate) fn attributes(identity: &Identity, out: &mut impl AttributeEncoder) {
    emit(identity, identity.agent_name.as_ref(), out);
}

/// The same without the agent's name, for spans of a whole run.
pub(crate) fn attributes_of_run(identity: &Identity, out: &mut impl AttributeEncoder) {
    emit(identity, None, out);
}

fn emit(identity: &Identity, agent: Option<&String>, out: &mut impl AttributeEncoder) {
    let texts = [
        (
            key::CUSTOMER_IDENTIFIER,
            identity.customer.identifier.as_ref(),
        ),
        (key::CUSTOMER_EMAIL, identity.customer.email.as_ref()),
        (key::CUSTOMER_NAME, identity.customer.name.as_ref()),
        (key::THREAD_IDENTIFIER, identity.thread.as_ref()),
        (key::SESSION_IDENTIFIER, identity.session.as_ref()),
        (key::TRACE_GROUP_IDENTIFIER, identity.trace_group.as_ref()),
        (key::CUSTOM_IDENTIFIER, identity.custom.as_ref()),
        (key::ENVIRONMENT, identity.environment.as_ref()),
        (key::WORKFLOW_NAME, identity.workflow_name.as_ref()),
        (key::AGENT_NAME, agent),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            out.put(AttributeName::Fixed(key), ValueRef::Text(text));
        }
    }
    for (name, text) in &identity.metadata {
        let name = AttributeName::Prefixed(key::METADATA_PREFIX, name);
        out.put(name, ValueRef::Text(text));
    }
}
