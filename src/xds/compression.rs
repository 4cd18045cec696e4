//! Compression of answers: one filter for each encoding (extensions.filters.http.compressor.v3),
//! which is off until a route turns it on. Envoy takes the encoding that the client likes best.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use envoy_types::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::{
    Compressor, CompressorOverrides, CompressorPerRoute, ResponseDirectionOverrides,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};

use super::encode::any;
use crate::gateway::Encoding;

/// The filters, none of which touches anything by itself.
pub(super) fn filters() -> impl Iterator<Item = HttpFilter> {
    ALL.into_iter().map(|encoding| HttpFilter {
        name: name(encoding).to_owned(),
        disabled: true,
        config_type: Some(http_filter::ConfigType::TypedConfig(any(
            COMPRESSOR,
            &compressor(encoding),
        ))),
        ..HttpFilter::default()
    })
}

/// What a route tells them, by the filter's name.
pub(super) fn per_route(
    encodings: &BTreeSet<Encoding>,
) -> impl Iterator<Item = (&'static str, Any)> {
    let on = CompressorPerRoute {
        r#override: Some(Override::Overrides(CompressorOverrides {
            response_direction_config: Some(ResponseDirectionOverrides::default()),
            ..CompressorOverrides::default()
        })),
    };
    let on = any(COMPRESSOR_PER_ROUTE, &on);
    let encodings = encodings.iter();
    encodings.map(move |encoding| (name(*encoding), on.clone()))
}

/// What Envoy compresses by itself is text: HTML, CSS, scripts, JSON, XML, SVG.
fn compressor(encoding: Encoding) -> Compressor {
    let library = match encoding {
        Encoding::Brotli => any(BROTLI, &Brotli::default()),
        Encoding::Gzip => any(GZIP, &Gzip::default()),
        Encoding::Zstd => any(ZSTD, &Zstd::default()),
    };
    Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: "library".to_owned(),
            typed_config: Some(library),
        }),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(CommonDirectionConfig {
                min_content_length: Some(UInt32Value {
                    value: CONTENT_BYTES_MIN,
                }),
                ..CommonDirectionConfig::default()
            }),
            // A client's copy can still be found to be the newest.
            weaken_etag_on_compress: true,
            ..ResponseDirectionConfig::default()
        }),
        // Of what a client likes as well, this is the smallest.
        choose_first: encoding == Encoding::Brotli,
        ..Compressor::default()
    }
}

fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Brotli => "envoy.filters.http.compressor.brotli",
        Encoding::Gzip => "envoy.filters.http.compressor.gzip",
        Encoding::Zstd => "envoy.filters.http.compressor.zstd",
    }
}

const ALL: [Encoding; 3] = [Encoding::Brotli, Encoding::Gzip, Encoding::Zstd];
/// Less fits in one packet as it is.
const CONTENT_BYTES_MIN: u32 = 1_024;
const BROTLI: &str = "envoy.extensions.compression.brotli.compressor.v3.Brotli";
const COMPRESSOR: &str = "envoy.extensions.filters.http.compressor.v3.Compressor";
const COMPRESSOR_PER_ROUTE: &str = "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute";
const GZIP: &str = "envoy.extensions.compression.gzip.compressor.v3.Gzip";
const ZSTD: &str = "envoy.extensions.compression.zstd.compressor.v3.Zstd";
