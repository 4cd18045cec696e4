//! The access log: one JSON object a line on Envoy's standard output, for requests and for
//! connections (extensions.access_loggers.stream.v3.StdoutAccessLog).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use prost::Message;

use super::encode::any;

/// A line for each request, when it ended.
pub(super) fn requests() -> AccessLog {
    log(COMMON.iter().chain(REQUEST))
}

/// A line for each connection, when it ended.
pub(super) fn connections() -> AccessLog {
    log(COMMON.iter().chain(CONNECTION))
}

fn log<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> AccessLog {
    let fields = fields.map(|(name, format)| {
        let value = Text {
            string_value: Some((*format).to_owned()),
        };
        ((*name).to_owned(), value)
    });
    let config = Stdout {
        log_format: Some(Format {
            json_format: Some(Fields {
                fields: fields.collect(),
            }),
        }),
    };
    AccessLog {
        name: "envoy.access_loggers.stdout".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(STDOUT, &config))),
        ..AccessLog::default()
    }
}

// The same messages as Envoy's, with the fields that are used and a map that has an order: equal
// gateways have equal bytes.

/// `extensions.access_loggers.stream.v3.StdoutAccessLog`
#[derive(Clone, PartialEq, Message)]
struct Stdout {
    #[prost(message, optional, tag = "1")]
    log_format: Option<Format>,
}

/// `config.core.v3.SubstitutionFormatString`
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(message, optional, tag = "2")]
    json_format: Option<Fields>,
}

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Text>,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, Message)]
struct Text {
    // Optional, as a member of a oneof is: the empty text is written too.
    #[prost(string, optional, tag = "3")]
    string_value: Option<String>,
}

const STDOUT: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";

/// What both have: who, from where, to which instance, how it ended.
const COMMON: &[(&str, &str)] = &[
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("duration_ms", "%DURATION%"),
    ("instance", "%UPSTREAM_HOST%"),
    ("listener", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("server_name", "%REQUESTED_SERVER_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

const REQUEST: &[(&str, &str)] = &[
    ("authority", "%REQ(:AUTHORITY)%"),
    ("forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("route", "%ROUTE_NAME%"),
    ("upstream_attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
];

const CONNECTION: &[(&str, &str)] = &[("termination_details", "%CONNECTION_TERMINATION_DETAILS%")];
