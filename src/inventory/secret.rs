//! The one type that holds a secret's text. It compares and hashes, and never prints:
//! `Debug` and `Serialize` both write `[redacted]`.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// The value of a key of a `sec` object. Wiped from memory when dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Sensitive(Zeroizing<String>);

impl Sensitive {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: only for the body of an SDS resource and for parsing a certificate.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Hash for Sensitive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Sensitive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// What every rendering shows in place of a secret.
pub const REDACTED: &str = "[redacted]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Sensitive::new("hunter2".to_owned());
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert_eq!(shown, "[redacted] \"[redacted]\"");
    }
}
