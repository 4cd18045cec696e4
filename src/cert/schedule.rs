//! PURE: when a certificate is renewed, and when something that failed is tried again. Times are
//! seconds since 1970.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use super::leaf::Leaf;

/// When an authority would like a certificate to be renewed (RFC 9773, section 4.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Window {
    /// Not before.
    pub start: i64,
    /// Not after.
    pub end: i64,
}

/// When the certificate is renewed: at a moment of the authority's window where it told one, else
/// when two thirds of its life are over (half, of one that lives ten days or less). Never later
/// than in its last twentieth.
///
/// A certificate is not renewed in its first hours, whatever the authority says.
///
/// The moment is chosen by the serial number: the same in every process, another for each
/// certificate.
pub fn renew_at(leaf: &Leaf, window: Option<&Window>) -> i64 {
    let life = leaf.not_after.saturating_sub(leaf.not_before).max(0);
    let emergency = leaf.not_after.saturating_sub(life / EMERGENCY_PART);
    let share = share(&leaf.serial);
    let told = window.filter(|window| window.start < window.end && window.end <= leaf.not_after);
    let chosen = match told {
        // An authority that wants to renew whatever it makes must not be asked for ever.
        Some(window) => window
            .start
            .saturating_add(part(window.end - window.start, share))
            .max(leaf.not_before.saturating_add(YOUNG_S.min(life / 20))),
        None => {
            let due = match life <= SHORT_LIFE_S {
                true => life / 2,
                false => life / 3 * 2,
            };
            // Two hundredths of its life earlier or later.
            let jitter = part(life / 25, share) - life / 50;
            leaf.not_before.saturating_add(due).saturating_add(jitter)
        }
    };
    chosen.min(emergency)
}

/// How long to wait after so many failures in a row; what the authority says wins.
pub fn retry_after(failures: u32, told_s: Option<u64>) -> i64 {
    if let Some(told) = told_s {
        return i64::try_from(told).unwrap_or(DAY_S).clamp(1, TOLD_MAX_S);
    }
    match failures {
        0 | 1 => 60,
        2 => 600,
        3 => 6_000,
        _ => DAY_S,
    }
}

/// A share of the whole, of `u32::MAX`.
fn share(serial: &str) -> u32 {
    let mut hasher = Fnv::default();
    hasher.write(serial.as_bytes());
    (hasher.finish() >> 32) as u32
}

fn part(whole: i64, share: u32) -> i64 {
    let part = i128::from(whole) * i128::from(share) / i128::from(u32::MAX);
    i64::try_from(part).unwrap_or(whole)
}

/// The same in every build, unlike std's.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        // Spreads what the last bytes did over all bits.
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Of its life the last twentieth is for emergencies.
const EMERGENCY_PART: i64 = 20;
const DAY_S: i64 = 86_400;
const SHORT_LIFE_S: i64 = 10 * DAY_S;
/// What an authority may make us wait.
const TOLD_MAX_S: i64 = 7 * DAY_S;
/// How long a certificate is left alone.
const YOUNG_S: i64 = 6 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(serial: &str, life: i64) -> Leaf {
        Leaf {
            serial: serial.to_owned(),
            not_before: 1_000_000,
            not_after: 1_000_000 + life,
            ..Leaf::default()
        }
    }

    /// Where in its life a certificate is renewed, in thousandths.
    fn place(serial: &str, life_days: i64, window: Option<(i64, i64)>) -> i64 {
        let life = life_days * DAY_S;
        let at = |place: i64| 1_000_000 + life / 1_000 * place;
        let window = window.map(|(start, end)| Window {
            start: at(start),
            end: at(end),
        });
        (renew_at(&leaf(serial, life), window.as_ref()) - 1_000_000) * 1_000 / life
    }

    #[test]
    fn renewal_is_at_two_thirds_and_of_short_lives_at_half() {
        for serial in 0..500 {
            let serial = format!("{serial:x}");
            for days in [11, 45, 90, 365] {
                assert!(
                    (646..=687).contains(&place(&serial, days, None)),
                    "{serial} {days}"
                );
            }
            for days in [1, 6, 10] {
                assert!(
                    (479..=521).contains(&place(&serial, days, None)),
                    "{serial} {days}"
                );
            }
        }
    }

    #[test]
    fn a_window_is_used_all_over_and_one_that_makes_no_sense_is_not() {
        let mut places = Vec::new();
        for serial in 0..500 {
            let serial = format!("{serial:x}");
            let found = place(&serial, 90, Some((300, 400)));
            assert!((299..=400).contains(&found), "{found}");
            assert_eq!(found, place(&serial, 90, Some((300, 400))));
            places.push(found);
            for senseless in [(400, 300), (300, 300), (900, 1_100)] {
                assert!((646..=687).contains(&place(&serial, 90, Some(senseless))));
            }
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 80, "{places:?}");
    }

    #[test]
    fn no_window_leads_into_the_last_twentieth() {
        assert_eq!(place("1", 90, Some((990, 1_000))), 950);
    }

    #[test]
    fn a_window_in_the_past_is_as_soon_as_the_first_hours_are_over() {
        let window = Some(Window {
            start: 0,
            end: 1_000,
        });
        let after = |life| renew_at(&leaf("1", life), window.as_ref()) - 1_000_000;
        assert_eq!(after(90 * DAY_S), YOUNG_S);
        assert_eq!(after(1_000), 50);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_the_authority_wins() {
        let waits = [1, 2, 3, 4, 100].map(|failures| retry_after(failures, None));
        assert_eq!(waits, [60, 600, 6_000, DAY_S, DAY_S]);
        assert_eq!(retry_after(100, Some(30)), 30);
        assert_eq!(retry_after(1, Some(3_600)), 3_600);
        assert_eq!(retry_after(1, Some(u64::MAX)), DAY_S);
        assert_eq!(retry_after(1, Some(0)), 1);
    }
}
