//! PURE: the ways to show an authority that a name is ours (RFC 8555, section 8; RFC 8737;
//! draft-ietf-acme-dns-persist), and which of them fits a name. How each is gone is told in
//! `prove`.

use std::net::IpAddr;

use super::names::is_wildcard;

/// A type of challenge.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// Something is answered over plain HTTP (RFC 8555, section 8.3).
    Http01,
    /// A certificate is shown to who asks for a protocol that nobody speaks (RFC 8737).
    TlsAlpn01,
    /// A record stands in the DNS that changes with every order (RFC 8555, section 8.4).
    Dns01,
    /// A record stands in the DNS that names the account (draft-ietf-acme-dns-persist).
    DnsPersist01,
}

impl Method {
    /// Every one, in the order in which they are tried where nothing else is said.
    pub const ALL: [Self; 4] = [
        Self::Http01,
        Self::TlsAlpn01,
        Self::Dns01,
        Self::DnsPersist01,
    ];

    /// Its name, as authorities have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn of_word(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|method| method.word() == word);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join(", ");
            format!("{word:?} is none of {known}")
        })
    }

    /// Whether a name, which may be a wildcard or an address, can be shown to be ours by it.
    pub fn fits(self, name: &str) -> bool {
        match self {
            Self::Http01 | Self::TlsAlpn01 => !is_wildcard(name),
            Self::Dns01 | Self::DnsPersist01 => name.parse::<IpAddr>().is_err(),
        }
    }

    /// The one to go for a name: those that fit take turns, from one failed try to the next.
    pub fn choose(methods: &[Self], name: &str, failures: u32) -> Option<Self> {
        let fit: Vec<Self> = methods.iter().copied().filter(|m| m.fits(name)).collect();
        let turn = usize::try_from(failures).unwrap_or_default();
        fit.get(turn.checked_rem(fit.len())?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for method in Method::ALL {
            assert_eq!(Method::of_word(method.word()), Ok(method));
        }
        assert!(Method::of_word("http01").unwrap_err().contains("http-01"));
    }

    #[test]
    fn a_wildcard_goes_by_the_dns_and_an_address_does_not() {
        use Method::{Dns01, DnsPersist01, Http01, TlsAlpn01};
        let choose = |name| Method::choose(&[Http01, DnsPersist01], name, 0);
        assert_eq!(choose("a.org"), Some(Http01));
        assert_eq!(choose("*.a.org"), Some(DnsPersist01));
        assert_eq!(choose("192.0.2.1"), Some(Http01));
        assert_eq!(Method::choose(&[Http01, TlsAlpn01], "*.a.org", 0), None);
        assert_eq!(Method::choose(&[Dns01], "2001:db8::1", 0), None);
    }

    #[test]
    fn after_a_failure_the_next_one_has_its_turn() {
        use Method::{Dns01, Http01, TlsAlpn01};
        let methods = [TlsAlpn01, Dns01, Http01];
        let choose = |name, failures| Method::choose(&methods, name, failures);
        assert_eq!(choose("a.org", 0), Some(TlsAlpn01));
        assert_eq!(choose("a.org", 1), Some(Dns01));
        assert_eq!(choose("a.org", 3), Some(TlsAlpn01));
        assert_eq!(choose("*.a.org", 3), Some(Dns01));
    }
}
