//! The release of outcomes under k-anonymity: in which form one may leave a store's publishers to
//! be one of k, and what to say when there is none.
//!
//! Owns the asking. Never seals and never sends; [`anonymity`](edgelore_pipeline::packet::anonymity)
//! defines the forms.
//!
//! **Invariant:** a form is given only when a store has just shown k publishers in its cell, the
//! asking one counted once whatever keys it had.

use edgelore_model::Outcome;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::anonymity::{Form, RADIUS, forms};
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_routing::{Backend, BackendError, LIMIT_MAX};
use std::collections::BTreeSet;

/// Whether an outcome may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// In this form.
    As(Box<Form>),
    /// Not now.
    Held {
        /// Publishers in the coarsest cell, the asking one included.
        sharing: usize,
        /// The coarsest cell, and how many are needed, for people.
        reason: String,
    },
}

/// The finest form of an outcome that `k` publishers share, `own` being one of them.
///
/// # Errors
/// When the store does not answer.
pub async fn release(
    store: &dyn Backend,
    space: &Space,
    outcome: &Outcome,
    own: [u8; 32],
    k: u32,
) -> Result<Release, BackendError> {
    let (mut sharing, mut cell) = (0, String::new());
    for form in forms(outcome, space) {
        sharing = others(store, space, &form, own).await? + 1;
        if sharing >= k as usize {
            return Ok(Release::As(Box::new(form)));
        }
        cell = form.cell();
    }
    let reason = format!("{sharing} of {k} publishers known in {cell}");
    Ok(Release::Held { sharing, reason })
}

/// How many other publishers have an outcome in a form's cell.
async fn others(
    store: &dyn Backend,
    space: &Space,
    form: &Form,
    own: [u8; 32],
) -> Result<usize, BackendError> {
    let found = store.query(&form.query(), RADIUS, LIMIT_MAX).await?;
    let sharing = form.shared_by(found.iter().map(|found| &*found.opened), space);
    let asked: Vec<[u8; 32]> = sharing.iter().copied().chain([own]).collect();
    let lineage = Lineage::of(&store.statements(&asked).await?);
    let origins: BTreeSet<[u8; 32]> = sharing.iter().map(|one| lineage.origin(one)).collect();
    Ok(origins.into_iter().filter(|origin| *origin != lineage.origin(&own)).count())
}
