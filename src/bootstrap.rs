//! PURE: the bootstrap that an Envoy needs to become a client of this controller, as YAML.
//!
//! It names the controller and little else: all that a gateway serves comes over xDS. The values
//! are data here; `config` decides them, and Envoy's own `--mode validate` judges the result.

use std::net::{IpAddr, SocketAddr};

/// What differs from one Envoy to the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bootstrap {
    /// The name that this Envoy gives itself in every request; one per process.
    pub node_id: String,
    /// The name of the gateway that it belongs to.
    pub node_cluster: String,
    /// Where the controller listens.
    pub xds: XdsAddress,
    /// Where Envoy's admin interface listens. Whoever reaches it commands this Envoy.
    pub admin: SocketAddr,
}

/// An address that the controller serves xDS on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum XdsAddress {
    /// A host, by name or address, and a port.
    Tcp {
        /// A name, which Envoy keeps resolving, or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(String),
}

/// Renders the bootstrap as YAML that Envoy 1.40 accepts, whatever the strings hold.
pub fn yaml(bootstrap: &Bootstrap) -> String {
    let Bootstrap {
        node_id,
        node_cluster,
        xds,
        admin,
    } = bootstrap;
    let (discovery, address) = match xds {
        XdsAddress::Tcp { host, port } => tcp(host, *port),
        XdsAddress::Unix(path) => ("STATIC", format!("pipe: {{path: {}}}", quote(path))),
    };
    format!(
        "\
# Start with a bound on how long a removed listener keeps its connections (default 600 s):
#   envoy -c <this file> --drain-time-s 60
node:
  id: {id}
  cluster: {cluster}
admin:
  address:
    socket_address: {{address: {admin_host}, port_value: {admin_port}}}
  # Under a flood of connections, somebody must be able to look.
  ignore_global_conn_limit: true
{DYNAMIC_RESOURCES}
{RUNTIME}
static_resources:
  clusters:
  - name: xds_cluster
    type: {discovery}
    connect_timeout: 1s
    load_assignment:
      cluster_name: xds_cluster
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{{address}}}}}
{XDS_PROTOCOL}
{OVERLOAD_MANAGER}",
        id = quote(node_id),
        cluster = quote(node_cluster),
        admin_host = quote(&admin.ip().to_string()),
        admin_port = admin.port(),
    )
}

/// How Envoy finds a host, and the address in Envoy's words.
fn tcp(host: &str, port: u16) -> (&'static str, String) {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let discovery = if host.parse::<IpAddr>().is_ok() {
        "STATIC"
    } else {
        "STRICT_DNS"
    };
    let host = quote(host);
    (
        discovery,
        format!("socket_address: {{address: {host}, port_value: {port}}}"),
    )
}

/// A double-quoted YAML scalar; all but printable ASCII is escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(character))),
        }
    }
    quoted.push('"');
    quoted
}

/// One stream for everything, with quick reconnects: Envoy's own backoff goes up to 30 s.
///
/// No initial fetch timeout for listeners and clusters: an Envoy that starts while the controller
/// is away is not ready, instead of ready with nothing to serve.
const DYNAMIC_RESOURCES: &str = "\
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc:
        cluster_name: xds_cluster
        retry_policy:
          retry_back_off: {base_interval: 0.05s, max_interval: 1s}
  cds_config:
    ads: {}
    resource_api_version: V3
    initial_fetch_timeout: 0s
  lds_config:
    ads: {}
    resource_api_version: V3
    initial_fetch_timeout: 0s";

/// Envoy's own limit for a regular expression of a route is 100 steps, which `[a-z]{1,99}` exceeds;
/// what exceeds it would block every route of its listener. Layers that are named replace the
/// default one, which is `admin`.
const RUNTIME: &str = "\
layered_runtime:
  layers:
  - name: static
    static_layer: {re2.max_program_size.error_level: 10000}
  - name: admin
    admin_layer: {}";

/// A controller that vanished without a FIN is noticed within 15 s.
const XDS_PROTOCOL: &str = "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http2_protocol_options:
            connection_keepalive: {interval: 10s, timeout: 5s}";

/// The limit that Envoy's guide for edge proxies asks for, with its value: without one a flood of
/// connections takes every file descriptor, the controller's and the backends' too.
const OVERLOAD_MANAGER: &str = "\
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      \"@type\": type.googleapis.com/envoy.extensions.resource_monitors.\
downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 50000
";

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(xds: XdsAddress) -> String {
        yaml(&Bootstrap {
            node_id: "edge \"1\"\n: {".into(),
            node_cluster: "envoy".into(),
            xds,
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
        })
    }

    fn tcp(host: &str) -> String {
        rendered(XdsAddress::Tcp {
            host: host.into(),
            port: 50051,
        })
    }

    #[test]
    fn address_is_static_and_a_name_is_resolved() {
        assert!(tcp("127.0.0.1").contains("type: STATIC"));
        assert!(tcp("[::1]").contains("socket_address: {address: \"::1\", port_value: 50051}"));
        assert!(tcp("igw.example").contains("type: STRICT_DNS"));
    }

    #[test]
    fn unix_socket_is_a_pipe() {
        let yaml = rendered(XdsAddress::Unix("/var/run/xds/xds.sock".into()));
        assert!(yaml.contains("endpoint: {address: {pipe: {path: \"/var/run/xds/xds.sock\"}}}"));
    }

    #[test]
    fn strings_cannot_leave_their_quotes() {
        assert!(tcp("h").contains("\n  id: \"edge \\\"1\\\"\\U0000000a: {\"\n"));
    }
}
