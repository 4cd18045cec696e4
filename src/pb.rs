//! Our own messages and service, generated from `proto/osvc_igw/v1`. Nothing here is written by
//! hand but their descriptors' place.
#![allow(
    clippy::pedantic,
    clippy::nursery,
    clippy::use_self,
    clippy::too_many_lines,
    unused_qualifications,
    missing_docs,
    reason = "generated code"
)]

tonic::include_proto!("osvc_igw.v1");

/// The encoded `FileDescriptorSet` of all of them and what they import.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/osvc-igw-descriptors"));
