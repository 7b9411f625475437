//! Identity and neighbourhood of what happened.
//!
//! Two things that are easily confused and kept apart here:
//! - the **fingerprint** ([`outcome_hash`]): same problem, same answer → same 32 bytes;
//! - the **address** ([`address`]) and the distance ([`Space`]): derived from the situation alone,
//!   so that one can ask without knowing the answer, and near situations lie near.
//!
//! Never does I/O, never uses floating point.
//!
//! **Invariant:** every value here is the same on every machine.

pub mod address;
mod cells;
mod core;
mod definition;
mod embedding;
mod explain;
mod index;
mod json;
mod logarithm;
mod nearest;
pub mod reference;
mod runs;
#[cfg(test)]
mod samples;
mod similarity;
mod taxonomy;

pub use self::address::{Address, Cell, CellError};
pub use self::cells::{CELLS_NEAR_MAX, Grain, NearCell, TooManyCells};
pub use self::core::{Core, Hasher, canonical, outcome_hash, outcome_hashes};
pub use self::definition::SpaceError;
pub use self::embedding::UNLISTED_DIMENSIONS;
pub use self::explain::FieldDistance;
pub use self::index::SituationIndex;
pub use self::nearest::Nearest;
pub use self::runs::Order;
pub use self::similarity::{Aim, Point, RADIUS_DEFAULT, Space, UNIT};
