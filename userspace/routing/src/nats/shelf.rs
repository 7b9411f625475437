//! What stands beside the packets, as messages of the same stream.
//!
//! A server looks at all that it keeps to find the few of these, so it is asked only when the stream has
//! gone on since it was last asked, and only for what came then.
//!
//! Owns the subjects `beside.KIND.ID`. Never checks a message.
//!
//! **Invariant:** messages are read in the order of the stream.

use std::sync::PoisonError;

use async_trait::async_trait;
use edgelore_pipeline::packet;

use super::Shared;
use super::read::{self, Read};
use super::store::put;
use super::sweep::delete;
use crate::backend::BackendError;
use crate::beside::Import;
use crate::shelf::{Entry, Kind, Shelf};

/// Messages that are read before they are taken in.
const MESSAGES_AT_ONCE: usize = 4_096;

#[async_trait]
impl Shelf for Shared {
    async fn after(&self, number: u64) -> Result<Vec<Entry>, BackendError> {
        let link = self.server.link().await?;
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, there) = read::state(&link, looked).await?;
        let looked = looked.filter(|_| there).map_or(0, |mark| mark.sequence);
        let (last, start) = (state.last_sequence, looked.max(number) + 1);
        if looked == last {
            return Ok(Vec::new());
        }
        let (mut entries, filter) = (Vec::new(), self.subjects.all_beside());
        let mut each = |message: Read| {
            let kind = self.subjects.kind(&message.subject);
            let content = kind.map(|kind| (kind, message.payload.to_vec()));
            entries.push(Entry { number: message.sequence, content });
        };
        read::some(self, &link, &filter, start, MESSAGES_AT_ONCE, &mut each).await?;
        if entries.len() < MESSAGES_AT_ONCE {
            let looked = read::at(&link, last).await?.map(|message| message.mark());
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
        }
        Ok(entries)
    }

    async fn append(&self, kind: Kind, bytes: Vec<u8>) -> Result<(), BackendError> {
        let link = self.server.link().await?;
        let id = match kind {
            Kind::Statement => packet::id(&bytes),
            Kind::Import => Import::decode(&bytes).map_err(BackendError::Request)?.id,
        };
        // Only a genuine entry does not give way.
        let gives_way = |there: &[u8]| match kind {
            Kind::Statement => packet::id(there) != id,
            Kind::Import => Import::decode(there).map_or(true, |import| import.id != id),
        };
        put(&link, &self.subjects.beside(kind, &id), &bytes, None, gives_way).await.map(drop)
    }

    async fn remove(&self, number: u64) -> Result<(), BackendError> {
        let link = self.server.link().await?;
        delete(&link, number).await
    }
}
