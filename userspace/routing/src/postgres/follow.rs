//! Subscriptions: each reads the packets in the order of arrival, on a connection of its own.
//!
//! A notification only wakes: what is delivered is read from the table, so none that was lost, or
//! came twice, matters.
//!
//! **Invariant:** deliveries come in the order of commits, each once, without gaps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Shared;
use super::connect::{Session, within};
use super::query::{is_withdrawn_by_heirs, withdrawing};
use crate::Cell;
use crate::backend::{BackendError, Cursor, Delivery};
use crate::stepping::{Follower, Step, Steps};

/// Packets that are looked at in one step.
const STEP_ROWS: i64 = 256;
/// How long a silent subscription waits before it looks by itself.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// The packets after $1: their bytes if they lie in one of the cells $2 (all without any) and are
/// of the space $4, and what withdraws them.
const STEP: &str = r#"
SELECT p.arrival, p.id,
    CASE WHEN c.space = $4 AND (cardinality($2::text[]) = 0 OR EXISTS (
        SELECT FROM unnest($2) AS followed (path)
        WHERE starts_with(p.exact || '/', followed.path || '/')
    )) THEN p.bytes END,
    ARRAY(SELECT w.by FROM edgelore.withdrawal w
        WHERE w.publisher = p.publisher AND w.target = p.id ORDER BY w.by LIMIT 4),
    ARRAY(SELECT b.bytes FROM edgelore.withdrawal w JOIN edgelore.packet b ON b.id = w.by
        WHERE w.publisher = p.publisher AND w.target = p.id ORDER BY w.by LIMIT 4)
FROM edgelore.packet p JOIN edgelore.cell c ON c.id = p.cell
WHERE p.arrival > $1 ORDER BY p.arrival LIMIT $3
"#;

/// Where one subscription reads.
pub(super) struct Arrivals {
    shared: Arc<Shared>,
    cells: Vec<Cell>,
    paths: Vec<String>,
    session: Option<Session>,
}

/// Connects, and begins after `after`, or at the end.
pub(super) async fn follow(
    shared: Arc<Shared>,
    cells: &[Cell],
    after: Option<Cursor>,
    place: OwnedSemaphorePermit,
) -> Result<Follower<Arrivals>, BackendError> {
    let session = listen(&shared).await?;
    let last: i64 = session.client.query_one("SELECT edgelore.last()", &[]).await?.get(0);
    let last = Cursor(u64::try_from(last).unwrap_or_default());
    let paths = cells.iter().map(Cell::to_string).collect();
    let arrivals = Arrivals { shared, cells: cells.to_vec(), paths, session: Some(session) };
    Ok(Follower::begin(arrivals, after, last, place))
}

impl Arrivals {
    fn delivery(&self, row: &Row) -> Option<Delivery> {
        let verifier = &self.shared.verifier;
        let bytes: &[u8] = row.get::<_, Option<&[u8]>>(2)?;
        let Ok(id) = row.get::<_, &[u8]>(1).try_into() else {
            verifier.skip("row", &"its id is none");
            return None;
        };
        let packet = verifier.read(&id, bytes)?;
        let counts = verifier.is_followed(&self.cells, &packet)
            && !verifier.is_withdrawn(&packet, &withdrawing(row.get(3), row.get(4)));
        counts.then(|| Delivery { cursor: arrival(row), packet: Arc::unwrap_or_clone(packet) })
    }
}

fn arrival(row: &Row) -> Cursor {
    Cursor(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
}

async fn listen(shared: &Shared) -> Result<Session, BackendError> {
    let session = shared.server.connect().await?;
    session.client.batch_execute("LISTEN edgelore").await?;
    Ok(session)
}

#[async_trait]
impl Steps for Arrivals {
    /// Reads the next rows; when there is none, waits for news instead.
    async fn step(&mut self, read: Cursor) -> Result<Step, BackendError> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            self.session = Some(listen(&self.shared).await?);
        }
        let lost = || BackendError::Unavailable("the connection was closed".into());
        let session = self.session.as_mut().ok_or_else(lost)?;
        // Marked as seen before reading, so that no commit falls between the two.
        session.news.borrow_and_update();
        let from = i64::try_from(read.0).unwrap_or(i64::MAX);
        let space = self.shared.verifier.space.short_id();
        let answer = within(async {
            let parameters: [&(dyn ToSql + Sync); 4] =
                [&from, &self.paths, &STEP_ROWS, &&space[..]];
            session.client.query(STEP, &parameters).await
        });
        let rows = match answer.await {
            Ok(rows) => rows,
            Err(error) => {
                self.session = None;
                return Err(error);
            }
        };
        if let Some(last) = rows.last() {
            self.shared.verifier.keep_up(&*self.shared).await?;
            let client = self.shared.server.reader().await?;
            let mut deliveries = VecDeque::new();
            for delivery in rows.iter().filter_map(|row| self.delivery(row)) {
                if !is_withdrawn_by_heirs(&self.shared, &client, &delivery.packet).await? {
                    deliveries.push_back(delivery);
                }
            }
            return Ok((deliveries, arrival(last)));
        }
        match tokio::time::timeout(LOOK_INTERVAL, session.news.changed()).await {
            Ok(Err(_)) => Err(lost()),
            Ok(Ok(())) | Err(_) => Ok((VecDeque::new(), read)),
        }
    }
}
