//! PURE: names and what was told of them, one behind the other in one piece of memory: there are
//! dozens for each service, and most are a few letters. What they mean is the business of whoever
//! fills it.

/// Values by name, in the order of the names. To make one anew is the only way to change it.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Pack(Box<[u8]>);

/// The entries of a pack, or those that are left of them.
///
/// Each is the length of its name, the name, the length of its value, and the value. Before all of
/// them stands, with its length, where every so many of them begin, if they are many.
#[derive(Clone, Copy, Default)]
pub(super) struct Entries<'a> {
    stops: &'a [u8],
    left: &'a [u8],
}

impl Pack {
    /// Of two values of one name the later one stays.
    pub(super) fn of<N: AsRef<str>, V: AsRef<[u8]>>(mut entries: Vec<(N, V)>) -> Self {
        if !entries.is_sorted_by(|one, other| one.0.as_ref() < other.0.as_ref()) {
            entries.reverse();
            entries.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
            entries.dedup_by(|later, first| later.0.as_ref() == first.0.as_ref());
        }
        if entries.is_empty() {
            return Self::default();
        }
        let lengths = entries.iter().map(|(name, value)| {
            let (name, value) = (name.as_ref().len(), value.as_ref().len());
            name + value + 2 * LENGTH_BYTES
        });
        let mut packed = Vec::with_capacity(lengths.sum());
        let mut stops = Vec::new();
        for (number, (name, value)) in entries.iter().enumerate() {
            // Where one lies too far away, those before it are where it is looked for.
            if number > 0
                && number % STEP == 0
                && let Ok(place) = u32::try_from(packed.len())
            {
                stops.extend(place.to_le_bytes());
            }
            push(&mut packed, name.as_ref().as_bytes());
            push(&mut packed, value.as_ref());
        }
        let mut all = Vec::with_capacity(LENGTH_BYTES + stops.len() + packed.len());
        push(&mut all, &stops);
        all.append(&mut packed);
        Self(all.into())
    }

    /// All of them.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries::within(&self.0)
    }
}

impl AsRef<[u8]> for Pack {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> Entries<'a> {
    /// Those of a pack that is the value of another.
    pub(super) fn within(packed: &'a [u8]) -> Self {
        let mut left = packed;
        let stops = take(&mut left).unwrap_or_default();
        Self { stops, left }
    }

    /// The value of that name.
    pub(super) fn get(self, name: &str) -> Option<&'a [u8]> {
        let mut entries = self.from(name);
        let (known, value) = entries.entry()?;
        (known == name.as_bytes()).then_some(value)
    }

    /// Those whose names begin so, by name.
    pub(super) fn beginning_with(self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let entries = self.from(prefix);
        entries.take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Those that do not come before a name.
    fn from(mut self, name: &str) -> Self {
        let begins_before = |stop: &[u8; 4]| {
            let mut left = self.at(*stop);
            take(&mut left).is_some_and(|known| known < name.as_bytes())
        };
        let (stops, _) = self.stops.as_chunks();
        let before = stops.partition_point(begins_before).checked_sub(1);
        if let Some(stop) = before.and_then(|last| stops.get(last)) {
            self.left = self.at(*stop);
        }
        loop {
            let mut behind = self;
            match behind.entry() {
                Some((known, _)) if known < name.as_bytes() => self = behind,
                _ => return self,
            }
        }
    }

    fn at(&self, stop: [u8; 4]) -> &'a [u8] {
        let place = usize::try_from(u32::from_le_bytes(stop));
        let left = place.ok().and_then(|place| self.left.get(place..));
        left.unwrap_or_default()
    }

    fn entry(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        Some((take(&mut self.left)?, take(&mut self.left)?))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.entry()?;
        // It was made of a text.
        Some((std::str::from_utf8(name).unwrap_or_default(), value))
    }
}

/// Adds a length, seven bits to a byte and the lowest first, and as many bytes.
fn push(to: &mut Vec<u8>, bytes: &[u8]) {
    let mut left = bytes.len();
    while left > LOW_BITS {
        to.push((left & LOW_BITS) as u8 | MORE);
        left >>= LOW_BITS.count_ones();
    }
    to.push(left as u8);
    to.extend_from_slice(bytes);
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut length, mut place) = (0_usize, 0);
    loop {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        length |= (usize::from(*byte) & LOW_BITS).checked_shl(place)?;
        if byte & MORE == 0 {
            break;
        }
        place += LOW_BITS.count_ones();
    }
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

const LOW_BITS: usize = 0x7f;
/// Marks a byte of a length that is not its last.
const MORE: u8 = 0x80;
/// Those of nearly all of them.
const LENGTH_BYTES: usize = 1;
/// So many are gone through one by one.
const STEP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pack: &Pack) -> Vec<(&str, &[u8])> {
        pack.entries().collect()
    }

    #[test]
    fn the_later_of_two_values_of_one_name_stays_and_names_are_in_order() {
        let pack = Pack::of(vec![("b", "1"), ("a", "2"), ("b", "3"), ("a", "")]);
        assert_eq!(all(&pack), [("a", &b""[..]), ("b", b"3")]);
        assert!(pack == Pack::of(vec![("a", ""), ("b", "3")]));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let pack = Pack::of(vec![("b", "1"), ("d", "2")]);
        let found = ["a", "b", "c", "d", "e", ""].map(|name| pack.entries().get(name));
        assert_eq!(found, [None, Some(&b"1"[..]), None, Some(b"2"), None, None]);
        assert!(Pack::default().entries().get("").is_none());
        assert!(Pack::of(Vec::<(&str, &str)>::new()) == Pack::default());
    }

    #[test]
    fn each_of_thousands_is_found() {
        let names: Vec<String> = (0..3_000)
            .map(|number| format!("n{}", number * 2))
            .collect();
        let pack = Pack::of(names.iter().map(|name| (name, name)).collect());
        for name in &names {
            assert_eq!(pack.entries().get(name), Some(name.as_bytes()));
        }
        let absent = (0..3_000).map(|number| format!("n{}", number * 2 + 1));
        assert!(
            absent
                .into_iter()
                .all(|name| pack.entries().get(&name).is_none())
        );
        let found = pack.entries().beginning_with("n599").map(|(name, _)| name);
        let expected = ["n5990", "n5992", "n5994", "n5996", "n5998"];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_value_of_any_length_comes_back() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 300_000] {
            let (name, value) = ("n".repeat(length), vec![7; length]);
            let pack = Pack::of(vec![(name.as_str(), value.as_slice()), ("o", b"x")]);
            assert_eq!(all(&pack), [(name.as_str(), &value[..]), ("o", b"x")]);
        }
    }

    #[test]
    fn bytes_that_are_no_pack_end_it() {
        for bytes in [
            &b"\0\x05ab"[..],
            b"\0\x01a",
            b"\0\x01a\x02b",
            &[0xff; 12],
            &[0, 0x80],
        ] {
            assert_eq!(Entries::within(bytes).next(), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_pack_within_a_pack_is_one() {
        let inner = Pack::of(vec![("k", "v")]);
        let outer = Pack::of(vec![("s", &inner)]);
        let inner = outer.entries().get("s").map(Entries::within).unwrap();
        assert_eq!(inner.get("k"), Some(&b"v"[..]));
        assert_eq!(Entries::within(b"").count(), 0);
    }
}
