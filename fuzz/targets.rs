//! What is fuzzed, as plain functions: each takes any bytes, and fails by panicking. The program's
//! own tests run them over the recorded traffic, on a stable toolchain.

use osvc_igw::gateway::{self, Policy};
use osvc_igw::inventory::{Config, Event, Inventory, ObjectPath};
use osvc_igw::opensvc::frames::Frames;
use osvc_igw::opensvc::json_delta;
use osvc_igw::opensvc::mirror::Mirror;
use osvc_igw::opensvc::sse::Sse;
use osvc_igw::xds::{self, Snapshot, json};
use serde_json::Value;

/// The raw socket: `n`, the sizes of `n` reads, and the bytes that are read. However they are cut,
/// each frame that ended comes out, in order, and what is left is counted.
pub(super) fn frames(data: &[u8]) {
    let (sizes, stream) = split_sizes(data);
    let mut expected: Vec<&[u8]> = stream.split(|byte| *byte == 0).collect();
    let torn = expected.pop().unwrap_or_default();
    expected.retain(|frame| !frame.is_empty());
    for sizes in [&[][..], &[1], sizes] {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for read in reads(stream, sizes) {
            frames.push(read);
            while let Some(frame) = frames.next_frame() {
                seen.push(frame.to_vec());
            }
        }
        assert_eq!(seen, expected);
        assert_eq!(frames.waiting(), torn.len());
        assert!(frames.next_frame().is_none());
    }
}

/// An event stream, in the form that [`frames`] has: however it is cut, the same data comes out
/// as by a plain reading of the whole.
pub(super) fn sse(data: &[u8]) {
    let (sizes, stream) = split_sizes(data);
    let expected = plain_sse(stream);
    let mut left = None;
    for sizes in [&[][..], &[1], sizes] {
        let mut sse = Sse::default();
        let mut seen = Vec::new();
        for read in reads(stream, sizes) {
            sse.push(read);
            seen.extend(std::iter::from_fn(|| sse.next_data()));
        }
        assert_eq!(seen, expected);
        assert_eq!(*left.get_or_insert_with(|| sse.waiting()), sse.waiting());
        assert_eq!(sse.next_data(), None);
    }
}

/// Messages of an event stream, one a line: a mirror that goes on after an error is made whole by
/// a status, whatever came before.
pub(super) fn message(data: &[u8]) {
    let mut mirror = Mirror::default();
    let mut inventory = Inventory::default();
    for line in data.split(|byte| *byte == b'\n' || *byte == 0) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let before = mirror.tree();
        match mirror.apply(message) {
            Ok(events) => take(&mut inventory, events),
            Err(_) => {
                let events = mirror.refresh(before.clone());
                take(&mut inventory, events);
                assert_eq!(mirror.tree(), before);
            }
        }
    }
}

/// A tree, and stanzas that are applied to it: `[tree, stanza, ...]`.
pub(super) fn json_delta(data: &[u8]) {
    let Ok(Value::Array(mut parts)) = serde_json::from_slice(data) else {
        return;
    };
    if parts.is_empty() {
        return;
    }
    let mut tree = parts.remove(0);
    let count = parts.len();
    let failed = json_delta::apply(&mut tree, parts);
    assert!(failed.len() <= count);
}

/// A full status: equal statuses make equal reports, and none is told twice.
pub(super) fn status(data: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut mirror = Mirror::default();
    let events = mirror.reset(status.clone());
    assert_eq!(Mirror::default().reset(status.clone()), events);
    if !events.is_empty() {
        assert_eq!(mirror.check(status), []);
        assert!(!mirror.is_suspicious());
    }
    take(&mut Inventory::default(), events);
}

/// A raw configuration, read and evaluated: a value has a bound, and is the same each time.
pub(super) fn config(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let read = Config::from_json(&value);
    assert_eq!(read, Config::from_json(&value));
    let (Some(config), Ok(object)) = (read, "test/svc/web1".parse::<ObjectPath>()) else {
        return;
    };
    for section in config.sections() {
        let keywords = value.get(section).and_then(Value::as_object);
        for keyword in keywords.into_iter().flatten().map(|(name, _)| name).take(8) {
            let evaluated = config.keyword(&object, "n1", section, keyword);
            let again = config.keyword(&object, "n1", section, keyword);
            assert_eq!(evaluated, again);
            assert!(evaluated.is_none_or(|text| text.len() <= 128 * 1024 + data.len()));
        }
    }
}

/// A full status all the way to Envoy's resources: what is compiled and encoded twice is equal,
/// and nothing is left to encode of what is encoded.
pub(super) fn gateway(data: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut inventory = Inventory::default();
    take(&mut inventory, Mirror::default().reset(status));
    let compiled = gateway::compile(&inventory, &Policy::default());
    let again = gateway::compile(&inventory, &Policy::default());
    assert_eq!(compiled.gateway, again.gateway);
    assert_eq!(compiled.problems, again.problems);
    let (snapshot, problems) = xds::encode(&compiled.gateway, &Snapshot::default());
    assert_eq!(xds::encode(&again.gateway, &snapshot).1, problems);
}

/// Envoy JSON as a service may write it: what is taken can be shown again, and shows the same.
pub(super) fn envoy_json(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let cluster = "envoy.config.cluster.v3.Cluster";
    let Ok(body) = json::from_json(cluster, &value) else {
        return;
    };
    let type_url = format!("type.googleapis.com/{cluster}");
    let Ok(shown) = json::to_json(&type_url, &body) else {
        return;
    };
    // A message that was shown as a word, as it is secret, is not taken.
    if let Ok(body) = json::from_json(cluster, &shown) {
        assert_eq!(json::to_json(&type_url, &body).ok(), Some(shown));
    }
}

fn take(inventory: &mut Inventory, events: Vec<Event>) {
    for event in events {
        inventory.apply(event);
    }
}

/// `n`, `n` sizes, and the rest.
fn split_sizes(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return (&[], &[]);
    };
    rest.split_at(rest.len().min(usize::from(*count)))
}

/// The stream in reads of these sizes, over and over; at once where all of them are zero.
fn reads<'a>(mut stream: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let endless = sizes.iter().any(|size| *size > 0);
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = match sizes.next() {
            Some(size) if endless => usize::from(*size),
            _ => stream.len(),
        };
        let (read, rest) = stream.split_at(size.min(stream.len()));
        let done = stream.is_empty();
        stream = rest;
        (!done).then_some(read)
    })
}

/// The data of the events, by the rules of the HTML standard, chapter "Server-sent events", as a
/// whole that is all there.
fn plain_sse(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut previous = 0;
    for byte in stream {
        match (byte, &mut lines[..]) {
            (b'\n', _) if previous == b'\r' => {}
            (b'\n' | b'\r', _) => lines.push(Vec::new()),
            (byte, [.., line]) => line.push(*byte),
            (_, []) => {}
        }
        previous = *byte;
    }
    lines.pop();
    if let Some(first) = lines.first_mut()
        && first.starts_with("\u{feff}".as_bytes())
    {
        first.drain(..3);
    }
    let (mut events, mut data) = (Vec::new(), Vec::<Vec<u8>>::new());
    for line in lines {
        if line.is_empty() {
            let parts = std::mem::take(&mut data);
            events.extend((!parts.is_empty()).then(|| parts.join(&b'\n')));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        if field == b"data" {
            data.push(value.strip_prefix(b" ").unwrap_or(value).to_vec());
        }
    }
    events
}
