//! How far an outcome may go.

use serde::{Deserialize, Serialize};

/// The scope of an outcome, and of a store: a store of a scope is readable by whoever the scope
/// names. The order is that of reach.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// This network alone.
    Private,
    /// A group of networks that know each other.
    Group,
    /// Everybody.
    #[default]
    Public,
}

impl Sharing {
    /// All scopes, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Private, Self::Group, Self::Public];

    /// The word in configurations and logs.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Group => "group",
            Self::Public => "public",
        }
    }

    /// Whether an outcome of this scope may be written to a store of that scope: nobody may read it
    /// there who may not read it.
    #[must_use]
    pub fn may_enter(self, store: Self) -> bool {
        store <= self
    }
}

impl std::fmt::Display for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.term())
    }
}

#[cfg(test)]
mod tests {
    use super::Sharing::{Group, Private, Public};

    #[test]
    fn an_outcome_enters_no_store_that_others_than_its_own_may_read() {
        for (outcome, enters) in [
            (Private, [true, false, false]),
            (Group, [true, true, false]),
            (Public, [true, true, true]),
        ] {
            assert_eq!([Private, Group, Public].map(|store| outcome.may_enter(store)), enters);
        }
    }
}
