//! Real requests through a real Envoy, one file for each area of what services write.

mod data;
