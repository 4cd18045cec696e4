//! Seeded randomness for tests, and random damage to JSON.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use serde_json::{Value, json};

/// A seeded generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Changes, removes or adds something somewhere in the value.
    pub(crate) fn mutate(&mut self, value: &mut Value) {
        let descend = self.below(8) != 0;
        match value {
            Value::Object(map) if descend && !map.is_empty() => {
                let key = map.keys().nth(self.below(map.len())).unwrap().clone();
                match self.below(12) {
                    0 => drop(map.remove(&key)),
                    1 => {
                        let value = map.remove(&key).unwrap();
                        map.insert(self.word(), value);
                    }
                    2 => drop(map.insert(self.word(), self.junk())),
                    _ => self.mutate(&mut map[&key]),
                }
            }
            Value::Array(list) if descend && !list.is_empty() => {
                let index = self.below(list.len());
                match self.below(12) {
                    0 => drop(list.remove(index)),
                    1 => list.insert(index, self.junk()),
                    2 => list.push(list[index].clone()),
                    _ => self.mutate(&mut list[index]),
                }
            }
            value => *value = self.junk(),
        }
    }

    fn junk(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(u64::MAX),
            3 => json!(i64::MIN),
            4 => json!(1e308),
            5 => json!([]),
            6 => json!({}),
            7 => (0..100).fold(json!("deep"), |value, _| json!([value])),
            8 => (0..100).fold(json!("deep"), |value, _| json!({"monitor": value})),
            9 => json!(self.below(3)),
            _ => json!(self.word()),
        }
    }

    fn word(&mut self) -> String {
        let words = [
            "",
            "monitor",
            "nodes",
            "services",
            "status",
            "config",
            "vm",
            "n1",
            "init",
            "up",
            "test/svc/l4",
            "test/sec/a",
            "a/b/c/d",
            "cluster",
            "ip#1",
            "resources",
            "avail",
            "\u{0}",
            "\u{202e}\u{1f4a9}",
            "../..",
            "type",
            "info",
            "kind",
            "csum",
        ];
        words[self.below(words.len())].to_owned()
    }
}
