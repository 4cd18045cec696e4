//! Ways in which a configuration can be wrong, and what is said of each. A table, and no code.

/// The line that is replaced, by what, and the one line that is said of it.
pub(super) type WrongFile = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
pub(super) const FILES: &[WrongFile] = &[
    (
        "[DEFAULT]",
        "nodes = n1\n[DEFAULT]",
        "1: stands before the first [section]; the agent drops an object whose file it cannot \
         read",
    ),
    (
        "[expose#0]",
        "[expose#0",
        "8: the section is not closed with ]; the agent drops an object whose file it cannot read",
    ),
    (
        "port = 8080",
        "port",
        "10: is neither [section] nor keyword = value; the agent drops an object whose file it \
         cannot read",
    ),
    (
        "port = 8080",
        "= 8080",
        "10: has no keyword before its value; the agent drops an object whose file it cannot read",
    ),
    (
        "port = 8080",
        "port = 8080\nport = 80",
        "10: expose#0.port: is set again on line 11, which counts",
    ),
    (
        "port = 8080",
        "prot = 8080",
        "10: expose#0.prot: is no keyword of expose, and has no effect; did you mean port?",
    ),
    (
        "port = 8080",
        "port = http",
        "10: expose#0.port: expected a port from 0 to 65535, found \"http\"; the expose is not \
         served",
    ),
    (
        "port = 8080",
        "port = 0",
        "10: expose#0.port: 0 is no port to send traffic to; the expose is not served",
    ),
    (
        "port = 8080",
        "port = 99999",
        "10: expose#0.port: expected a port from 0 to 65535, found 99999; the expose is not \
         served",
    ),
    (
        "port = 8080",
        "port = -1",
        "10: expose#0.port: expected a port from 0 to 65535, found -1; the expose is not served",
    ),
    (
        "port = 8080",
        "port = {env.port}",
        "10: expose#0.port: expected a port from 0 to 65535, found \"{env.port}\"; the expose is \
         not served",
    ),
    (
        "type = envoy",
        "type = nginx",
        "9: expose#0.type: is \"nginx\": the agent knows envoy alone, and refuses the section",
    ),
    (
        "listener_port = 443",
        "listener_prot = 443",
        "11: expose#0.listener_prot: is no keyword of expose, and has no effect; did you mean \
         listener_port?",
    ),
    (
        "listener_port = 443",
        "listener_port = https",
        "11: expose#0.listener_port: is \"https\", which is no number: the agent 2.1 fails on \
         it, refuses the change and cannot evaluate the service any more; 0 asks for a port",
    ),
    (
        "listener_port = 443",
        "listener_port = 70000",
        "11: expose#0.listener_port: expected a port from 0 to 65535, found 70000; the expose is \
         not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nlistener_addr = public",
        "12: expose#0.listener_addr: \"public\" is no IP address; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nprotocol = sctp",
        "12: expose#0.protocol: \"sctp\" is not served, only tcp and udp are; the expose is not \
         served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nprotocol = udp",
        "14: expose#0.vhosts: has no meaning with protocol udp; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\ngateway =",
        "12: expose#0.gateway: is \"\", and this gateway is \"envoy\"; the expose is not served \
         here",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nallow_from = 10.0.0.0/33",
        "12: expose#0.allow_from: \"10.0.0.0/33\" is no network, such as 10.0.0.0/8; the expose \
         is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nallow_from =",
        "12: expose#0.allow_from: is empty, so that nobody could connect; the expose is not \
         served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nconnect_timeout = soon",
        "12: expose#0.connect_timeout: expected a duration such as 5, 0.5, 5s or 250ms, found \
         \"soon\"; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nmax_connections = 0",
        "12: expose#0.max_connections: expected a number from 1, found \"0\"; the expose is not \
         served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nhealth_check = ping",
        "12: expose#0.health_check: \"ping\" is none of tcp, http and none; the expose is not \
         served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nhealth_check_path = healthz",
        "12: expose#0.health_check_path: \"healthz\" is no path: it starts with / and has no \
         space; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nbackend_protocol = http4",
        "12: expose#0.backend_protocol: \"http4\" is neither http1 nor http2; the expose is not \
         served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nhttp3 = maybe",
        "12: expose#0.http3: expected a boolean, found \"maybe\"; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nsend_proxy_protocol = v3",
        "12: expose#0.send_proxy_protocol: \"v3\" is neither v1 nor v2; the expose is not served",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\ncluster_data = {\"a\":",
        "12: expose#0.cluster_data: is no JSON: EOF while parsing a value at line 1 column 5; \
         the expose is served without this data",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\ncluster_data = [1]",
        "12: expose#0.cluster_data: is no JSON object; the expose is served without this data",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\ncluster_data = {\"nope\": 1}",
        "12: expose#0.cluster_data: unrecognized field name 'nope'; the expose is served without \
         this data",
    ),
    (
        "listener_port = 443",
        "listener_port = 443\nfilter_config_data = {\"http_filters\": 1}",
        "12: expose#0.filter_config_data: http_filters: invalid type: integer `1`, expected a \
         list; the expose is not served, as this data protects it",
    ),
    (
        "lb_policy = ring_hash",
        "lb_policy = fastest",
        "12: expose#0.lb_policy: \"fastest\" is no known policy; the expose is not served",
    ),
    (
        "expose = expose#0",
        "expose = expose#0 expose#9",
        "7: ip#0.expose: names \"expose#9\", which is absent or incomplete; nothing is served \
         for it",
    ),
    (
        "expose = expose#0",
        "disable = perhaps\nexpose = expose#0",
        "7: ip#0.disable: \"perhaps\" is no boolean: the agent cannot load the object, and drops \
         it",
    ),
    (
        "vhosts = vhost#0",
        "vhosts = vhost#0 vhost#9",
        "13: expose#0.vhosts: names \"vhost#9\", which is no vhost section; it is left out",
    ),
    (
        "vhosts = vhost#0",
        "vhosts = route#0",
        "13: expose#0.vhosts: names \"route#0\", which is no vhost section; the expose is not \
         served",
    ),
    (
        "domains = www.acme.org",
        "domains = *.acme.*",
        "16: vhost#0.domains: \"*.acme.*\" is no domain; it is left out",
    ),
    (
        "routes = route#0 route#1",
        "routes = route#0 route#1 route#9",
        "17: vhost#0.routes: names \"route#9\", which is no route section; it is left out",
    ),
    (
        "match_prefix = /",
        "match_regex = /(",
        "19: route#0.match_regex: is no regular expression: unclosed group; the route is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nmatch_path = /x",
        "18: route#0: has more than one of match_path, match_prefix and match_regex; the route \
         is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nroute_timeout = bogus",
        "20: route#0.route_timeout: \"bogus\" is no duration such as 15, 15s or 1m30s; it has no \
         effect",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nredirect_https_redirect = maybe",
        "20: route#0.redirect_https_redirect: \"maybe\" is no boolean: the agent cannot load the \
         object, and drops it",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nredirect_response_code = 404",
        "20: route#0.redirect_response_code: \"404\" is none of 301, 302, 303, 307, 308 or their \
         names; the route is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nrate_limit = fast",
        "20: route#0.rate_limit: \"fast\" is no rate such as 100/s, 100/m or 100/h; the route is \
         left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nmatch_methods = G@T",
        "20: route#0.match_methods: \"G@T\" is no method such as GET; the route is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nweighted_exposes = expose#0:90 expose#9:10",
        "20: route#0.weighted_exposes: test/svc/web1.expose#9 is not served; it gets nothing",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nretry_count = 99",
        "20: route#0.retry_count: \"99\" is no number from 0 to 10; it has no effect",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nrequest_headers_add = no colon",
        "20: route#0.request_headers_add: \"no\" is no header such as x-env:prod or \"x-name:two \
         words\"; the route is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\ncors_max_age = 1h",
        "18: route#0.cors_allow_origins: is not set, and the other cors keywords need it; the \
         route is left out",
    ),
    (
        "match_prefix = /",
        "match_prefix = /\nuse_websocket = true",
        "20: route#0.use_websocket: is no keyword of route, and has no effect; did you mean \
         route_use_websocket?",
    ),
    (
        "hash_policies = hashpolicy#0",
        "hash_policies = hashpolicy#9",
        "20: route#0.hash_policies: names \"hashpolicy#9\", which is no hashpolicy section; it \
         is left out",
    ),
    (
        "cookie_name = session",
        "cookie_name = session\ncookie_ttl = forever",
        "25: hashpolicy#0.cookie_ttl: \"forever\" is no duration, which the agent takes for 0",
    ),
    (
        "cookie_name = session",
        "terminal = true",
        "23: hashpolicy#0: has none of cookie_name, header_name and connection_source_ip; the \
         policy is left out",
    ),
    (
        "certificate_secret = front",
        "certificate_secret = other/sec/front",
        "27: certificate#front.certificate_secret: other/sec/front is in another namespace than \
         the service; --allow-secrets-of other would let every service use it; expose#0 is not \
         served",
    ),
    (
        "certificate_secret = front",
        "certificate_secret = a b",
        "27: certificate#front.certificate_secret: \"a b\" is no name of a sec object; expose#0 \
         is not served",
    ),
    (
        "certificate_secret = front",
        "certificate_chain_filename = chain.pem",
        "27: certificate#front.certificate_chain_filename: is no absolute name of a file; \
         expose#0 is not served",
    ),
    (
        "certificate_secret = front",
        "private_key_inline_string = hunter2",
        "25: certificate#front.certificate_chain_filename: is not set, nor is \
         certificate_chain_inline_string: the private key has no certificate; expose#0 is not \
         served",
    ),
    (
        "certificate_secret = front",
        "certificate_chain_inline_string = x\nprivate_key_inline_string = hunter2",
        "27: certificate#front.certificate_chain_inline_string: the section has no certificate \
         in PEM in its certificate chain; expose#0 is not served",
    ),
    (
        "certificate_secret = front",
        "validation_secret = staff",
        "14: expose#0.listener_certificates: names no certificate to present to clients, only \
         what to judge theirs by; expose#0 is not served",
    ),
    (
        "certificate_secret = front",
        "comment = none yet",
        "25: certificate#front.certificate_secret: is not set, nor is any other source of a \
         certificate; expose#0 is not served",
    ),
    (
        "listener_certificates = certificate#front",
        "listener_certificates = certificate#back",
        "14: expose#0.listener_certificates: names \"certificate#back\", which is no certificate \
         section; expose#0 is not served",
    ),
    (
        "domains = www.acme.org",
        "domains = www.acme.org a b*c",
        "16: vhost#0.domains: \"b*c\" is no domain; it is left out",
    ),
    (
        "type = tls",
        "type = ssl",
        "26: certificate#front.type: is \"ssl\": the agent knows tls alone, and refuses the \
         section",
    ),
    (
        "expose = expose#0",
        "expose = expose#0 vhost#0",
        "7: ip#0.expose: names \"vhost#0\", which is no expose; nothing is served for it",
    ),
    (
        "ipname = 10.0.0.1",
        "ipname = 10.0.0.1\nmonitor = maybe",
        "6: ip#0.monitor: \"maybe\" is no boolean: the agent cannot load the object, and drops it",
    ),
    (
        "match_prefix = /",
        "match_prefix = api",
        "19: route#0.match_prefix: begins with no /, so that no request matches it",
    ),
    (
        "expose = expose#0",
        "expose = expose#0\nexposes = expose#1",
        "8: ip#0.exposes: is no keyword of ip, and has no effect; did you mean expose?",
    ),
];
