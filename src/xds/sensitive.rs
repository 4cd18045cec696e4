//! PURE: whether there is a secret in an encoded message: what Envoy's API marks as sensitive,
//! at any depth, also in what is packed. Nothing of it is read out.

use super::wire::{Message, MessageType, Value};

/// Whether there is a secret in it. What cannot be looked into may hold anything.
pub(super) fn holds_secret(type_url: &str, body: &[u8]) -> bool {
    in_encoded(type_url, body, DEPTH_MAX)
}

fn in_encoded(type_url: &str, body: &[u8], depth: usize) -> bool {
    let of = MessageType::named(type_url);
    let message = of.and_then(|of| Message::read(of, body).ok());
    message.is_none_or(|message| in_message(&message, depth))
}

fn in_message(message: &Message<'_>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return true;
    };
    match message.packed() {
        Some(("", body)) => !body.is_empty(),
        Some((url, body)) => in_encoded(url, body, depth),
        None => message
            .members()
            .any(|(field, value)| field.is_sensitive() || in_value(value, depth)),
    }
}

fn in_value(value: &Value<'_>, depth: usize) -> bool {
    match value {
        Value::Message(message) => in_message(message, depth),
        Value::List(items) => items.iter().any(|item| in_value(item, depth)),
        Value::Map(entries) => entries.values().any(|value| in_value(value, depth)),
        _ => false,
    }
}

/// Messages in messages, packed ones too.
const DEPTH_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::json::{from_json, to_json};
    use super::super::tests::random::{self, Random};
    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
    const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";

    fn holds(name: &str, message: &Json) -> bool {
        holds_secret(name, &from_json(name, message).unwrap())
    }

    #[test]
    fn a_key_is_a_secret_and_its_certificate_is_not() {
        let chain = json!({"inline_string": "CHAIN"});
        let certificate = json!({"name": "a", "tls_certificate": {"certificate_chain": chain}});
        assert!(!holds(SECRET, &certificate));
        let key = json!({"inline_string": "KEY"});
        let both = json!({"certificate_chain": chain, "private_key": key});
        assert!(holds(
            SECRET,
            &json!({"name": "a", "tls_certificate": both})
        ));
    }

    #[test]
    fn a_secret_is_found_in_what_is_packed() {
        let context = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let key = json!({"private_key": {"inline_string": "KEY"}});
        let with = |certificates: Json| {
            json!({"name": "a", "transport_socket": {"name": "tls", "typed_config": {
                "@type": format!("type.googleapis.com/{context}"),
                "common_tls_context": {"tls_certificates": certificates}}}})
        };
        assert!(holds(CLUSTER, &with(json!([key]))));
        assert!(!holds(CLUSTER, &with(json!([{}]))));
    }

    #[test]
    fn what_cannot_be_looked_into_may_hold_a_secret() {
        assert!(holds_secret("no.such.Message", &[]));
        assert!(holds_secret(CLUSTER, &[0xff]));
        assert!(!holds_secret(CLUSTER, &[]));
    }

    #[test]
    fn secrets_are_found_where_the_descriptors_redact_them() {
        fn is_redacted(value: &Json) -> bool {
            match value {
                Json::String(text) => text == "[redacted]",
                Json::Array(values) => values.iter().any(is_redacted),
                Json::Object(members) => members.values().any(is_redacted),
                _ => false,
            }
        }
        let mut random = Random::seeded(3);
        let (mut with, mut without) = (0, 0);
        for message in random::messages() {
            let body = random.encoded(&message);
            let name = message.full_name();
            // A negative duration has no JSON.
            let Ok(json) = to_json(name, &body) else {
                continue;
            };
            let expect = is_redacted(&json);
            assert_eq!(holds_secret(name, &body), expect, "{name}: {json}");
            with += usize::from(expect);
            without += usize::from(!expect);
        }
        assert!(with > 5 && without > 100, "{with} with, {without} without");
    }
}
