//! What is found wrong and how it is told; and that it is what the descriptors themselves say.

mod oracle;

use prost::Message as _;
use serde_json::{Value as Json, json};

use super::super::api::api;
use super::super::json::{ANY, from_json};
use super::super::tests::random::{self, Random};
use super::*;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const HTTP: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

#[track_caller]
fn check_json(name: &str, value: Json, expect: &[&str]) {
    let body = from_json(name, &value).unwrap();
    check_same(name, &body);
    let found = check(name, &body).unwrap().into_iter();
    let found: Vec<_> = found.map(|v| format!("{} {}", v.path, v.reason)).collect();
    assert_eq!(found, expect);
}

/// The table finds what the descriptors find, or both say that the bytes are no such message.
/// Returns how much was found.
#[track_caller]
fn check_same(name: &str, body: &[u8]) -> Option<usize> {
    let found = check(name, body).ok();
    assert_eq!(found, oracle::check(name, body), "{name}: {body:?}");
    found.map(|found| found.len())
}

fn cluster(more: Json) -> Json {
    let mut cluster = json!({"name": "a", "connect_timeout": "1s"});
    let more = more.as_object().unwrap().clone();
    cluster.as_object_mut().unwrap().extend(more);
    cluster
}

#[test]
fn a_good_message_passes() {
    let streams = json!({"max_concurrent_streams": 100});
    let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": streams}}});
    let good = cluster(json!({"typed_extension_protocol_options": options}));
    check_json(CLUSTER, good, &[]);
}

#[test]
fn numbers_out_of_range_are_found_in_packed_messages_too() {
    let streams = json!({"max_concurrent_streams": 0});
    let options = json!({"x": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": streams}}});
    let bad = cluster(json!({"typed_extension_protocol_options": options}));
    let place = "typed_extension_protocol_options[\"x\"].explicit_http_config.\
                 http2_protocol_options.max_concurrent_streams may not be below 1";
    check_json(CLUSTER, bad, &[place]);
}

#[test]
fn durations_that_envoy_cannot_take_are_found() {
    let bad = cluster(json!({"connect_timeout": "-1s", "cleanup_interval": "0s",
        "common_lb_config": {"update_merge_window": "-2s"}}));
    check_json(
        CLUSTER,
        bad,
        &[
            "connect_timeout may not be negative",
            "cleanup_interval must be above 0ns",
            "common_lb_config.update_merge_window may not be negative",
        ],
    );
}

#[test]
fn what_is_required_and_not_there_is_found() {
    let check = json!({"interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1});
    let bad = cluster(json!({"name": "", "health_checks": [check]}));
    check_json(
        CLUSTER,
        bad,
        &[
            "name is required",
            "health_checks[0] needs one of http_health_check, tcp_health_check, \
             grpc_health_check, custom_health_check",
            "health_checks[0].timeout is required",
        ],
    );
}

#[test]
fn lists_that_are_too_short_are_found() {
    let routes = json!({"virtual_hosts": [{"name": "a"}]});
    let place = "virtual_hosts[0].domains needs at least 1 items";
    check_json(ROUTES, routes, &[place]);
}

#[test]
fn texts_that_no_header_can_have_are_found() {
    let remove = json!(["x-good", "x\nbad"]);
    let routes = json!({"request_headers_to_remove": remove});
    let place = "request_headers_to_remove[1] has characters that no header can have";
    check_json(ROUTES, routes, &[place]);
}

#[test]
fn a_number_that_no_enum_has_is_found() {
    let bad = json!({"stat_prefix": "a", "codec_type": 9, "rds": {
        "route_config_name": "a", "config_source": {"ads": {}}}});
    check_json(HTTP, bad, &["codec_type may not be 9"]);
}

#[test]
fn a_route_without_an_action_is_found() {
    let route = json!({"match": {"prefix": "/"}});
    let host = json!({"name": "a", "domains": ["*"], "routes": [route]});
    let missing = "virtual_hosts[0].routes[0] needs one of route, redirect, direct_response, \
                   filter_action, non_forwarding_action";
    check_json(ROUTES, json!({"virtual_hosts": [host]}), &[missing]);
}

#[test]
fn the_table_has_kept_the_rules() {
    let fields = api().unwrap().pool.all_messages();
    let fields = fields.flat_map(|it| it.fields().collect::<Vec<_>>());
    let mut with_rules = 0;
    for field in fields {
        let message = MessageType::named(field.parent_message().full_name()).unwrap();
        let read = message.field(field.number()).unwrap();
        let expect = oracle::RULES.fields.get(field.full_name());
        assert_eq!(read.rules(), expect, "{}", field.full_name());
        with_rules += usize::from(expect.is_some());
    }
    assert!(with_rules > 1_000);
}

#[test]
fn every_message_is_found_by_its_name_and_no_other() {
    for message in api().unwrap().pool.all_messages() {
        let found = MessageType::named(message.full_name());
        assert_eq!(found.map(MessageType::name), Some(message.full_name()));
    }
    for name in ["", "a", "envoy.config.cluster.v3.Clusters", "zzz"] {
        assert!(MessageType::named(name).is_none());
        let url = format!("type.googleapis.com/{name}");
        let error = check(&url, &[]).unwrap_err().to_string();
        assert_eq!(error, format!("Envoy has no message {url:?}"));
    }
}

#[test]
fn random_messages_break_the_rules_that_the_descriptors_have() {
    let mut random = Random::seeded(1);
    let messages = random::messages();
    let (mut found, mut good) = (0, 0);
    for _ in 0..ROUNDS {
        for message in &messages {
            let body = random.encoded(message);
            match check_same(message.full_name(), &body) {
                Some(0) => good += 1,
                violations => found += violations.unwrap_or_default(),
            }
        }
    }
    // Or this would show nothing.
    assert!(found > 1_000 && good > 100, "{found} found, {good} good");
}

#[test]
fn damaged_messages_are_told_from_whole_ones_as_the_descriptors_do() {
    let mut random = Random::seeded(2);
    let messages = random::messages();
    let (mut damaged, mut whole) = (0, 0);
    for message in messages.iter().cycle().take(DAMAGES) {
        let mut body = random.encoded(message);
        random.damage(&mut body);
        match check_same(message.full_name(), &body) {
            None => damaged += 1,
            Some(_) => whole += 1,
        }
    }
    assert!(damaged > 100 && whole > 100, "{damaged} of {whole}");
    let error = check(CLUSTER, &[0xff]).unwrap_err().to_string();
    assert_eq!(error, format!("not an encoded {CLUSTER}"));
}

#[test]
fn messages_are_read_as_deep_as_prost_reads_them() {
    let name = "google.protobuf.ListValue";
    let nested = |levels: usize| {
        let mut body = Vec::new();
        for level in 0..levels {
            // A list's values are its field 1; a value that is a list is its field 6.
            let mut outer = Vec::new();
            let number = if level % 2 == 0 { 6 } else { 1 };
            prost::encoding::bytes::encode(number, &body, &mut outer);
            body = outer;
        }
        body
    };
    let reads = |levels| check_same(name, &nested(levels)).is_some();
    assert!(reads(100) && !reads(102));
    for levels in 90..110 {
        check_same(name, &nested(levels));
    }
}

#[test]
fn parts_of_a_message_are_put_together() {
    let part = |part: Json| from_json(CLUSTER, &part).unwrap();
    let first = part(json!({"name": "a", "connect_timeout": "1s"}));
    let second = part(json!({"connect_timeout": "-0.5s"}));
    assert_eq!(check_same(CLUSTER, &second), Some(2));
    assert_eq!(check_same(CLUSTER, &[first, second].concat()), Some(0));
}

#[test]
fn of_a_oneof_the_last_one_counts() {
    let part = |part: Json| from_json("envoy.config.route.v3.RouteMatch", &part).unwrap();
    let (prefix, regex) = (json!({"prefix": "/"}), json!({"safe_regex": {"regex": ""}}));
    let (prefix, regex) = (part(prefix), part(regex));
    let found = |body: &[u8]| check_same("envoy.config.route.v3.RouteMatch", body);
    assert_eq!(found(&[&regex[..], &prefix].concat()), Some(0));
    assert_eq!(found(&[&prefix[..], &regex].concat()), Some(1));
}

#[test]
fn of_the_entries_of_a_key_the_last_one_counts() {
    let with = |streams: u32| {
        let streams = json!({"max_concurrent_streams": streams});
        let options = json!({"x": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": streams}}});
        let options = cluster(json!({"typed_extension_protocol_options": options}));
        from_json(CLUSTER, &options).unwrap()
    };
    let (bad, good) = (with(0), with(100));
    assert_eq!(check_same(CLUSTER, &[&bad[..], &good].concat()), Some(0));
    assert_eq!(check_same(CLUSTER, &[&good[..], &bad].concat()), Some(1));
}

#[test]
fn lists_of_numbers_are_read_in_both_ways() {
    let name = "envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig";
    let Ok(message) = api().unwrap().message(name) else {
        panic!("no {name}");
    };
    let field = message
        .get_field_by_name("uncompressible_response_codes")
        .unwrap();
    let (mut packed, mut single) = (Vec::new(), Vec::new());
    let codes = [200, 200, 7];
    prost::encoding::uint32::encode_packed(field.number(), &codes, &mut packed);
    prost::encoding::uint32::encode_repeated(field.number(), &codes, &mut single);
    assert_eq!(check_same(name, &packed), check_same(name, &single));
    assert!(check_same(name, &[packed, single].concat()).is_some_and(|found| found > 1));
}

#[test]
fn what_is_packed_and_damaged_is_no_message() {
    let any = |url: &str, value: &[u8]| {
        let any = envoy_types::pb::google::protobuf::Any {
            type_url: url.to_owned(),
            value: value.to_owned(),
        };
        any.encode_to_vec()
    };
    for (url, value, reason) in [
        (
            CLUSTER,
            &[0xff][..],
            "holds no message \"envoy.config.cluster.v3.Cluster\"",
        ),
        ("x/y", &[], "holds no message \"x/y\""),
        (CLUSTER, &[], "name is required"),
    ] {
        let body = any(url, value);
        check_same(ANY, &body);
        let found = check(ANY, &body).unwrap();
        assert_eq!(found[0].to_string(), reason);
    }
}

const ROUNDS: usize = 5;
const DAMAGES: usize = 2_000;
