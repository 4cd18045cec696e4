//! PURE: what is wrong with what an operator wrote. An output, not an error.

use std::fmt;

use serde::Serialize;

use super::ObjectPath;

/// Why something that an operator wrote is not exposed, or not as written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    /// The object whose configuration is meant.
    pub object: ObjectPath,
    /// The section, such as `expose#0`; empty for the object as a whole.
    pub section: String,
    /// The keyword; empty for the section as a whole.
    pub keyword: String,
    /// What is wrong and what follows from it. Never holds a secret.
    pub reason: String,
}

impl Problem {
    /// The same problem, and what follows from it.
    #[must_use]
    pub fn hence(mut self, consequence: impl fmt::Display) -> Self {
        self.reason = format!("{}; {consequence}", self.reason);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.section.is_empty() {
            write!(f, " {}", self.section.escape_debug())?;
        }
        if !self.keyword.is_empty() {
            write!(f, ".{}", self.keyword.escape_debug())?;
        }
        write!(f, ": {}", self.reason)
    }
}
