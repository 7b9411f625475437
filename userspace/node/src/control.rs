//! The control socket: how the operator's commands reach the running node.
//!
//! HTTP with JSON over a Unix socket in the data directory that only its owner may open.
//!
//! **Invariant:** nothing here is reachable from the network, and no request changes the router.

use crate::advise::seek;
use crate::api::{self, Policy, Stopping};
use crate::config::AdviseConfig;
use crate::journal::{Journal, JournalError, JournaledAdvice, JournaledOutcome};
use crate::keeper::{Keeper, KeeperError};
use crate::maintenance::{Board, Request, WindowView};
use crate::sharing::Outlets;
use crate::site;
use crate::status::{Status, StatusSource};
use crate::trust::{Guard, Trust};
use crate::view::{self, IncidentView, NoIncident, OutcomeView};
use axum::extract::{Path as UrlPath, Query as UrlQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use edgelore_capture::Clock;
use edgelore_model::{Advice, Interval, Query, Scope, Situation, Span};
use edgelore_pipeline::detect::Finding;
use edgelore_pipeline::distil::Site;
use edgelore_pipeline::explain::Account;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::resolve::{WordError, declared};
use edgelore_routing::embedded::Embedded;
use edgelore_routing::layers::{Mirror, Named};
use edgelore_routing::{Backend, BackendError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The socket's name in the data directory.
pub const SOCKET: &str = "edgelore.sock";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the control socket gives access to.
#[derive(Clone)]
pub struct Context {
    /// The node's journal.
    pub journal: Arc<Journal>,
    /// Distillation.
    pub keeper: Arc<Mutex<Keeper>>,
    /// The stores, as far as some are configured.
    pub outlets: Outlets,
    /// Each server of them, guarded.
    pub servers: Vec<Named>,
    /// What was received of others; `None` when nothing is.
    pub received: Option<Arc<Embedded>>,
    /// Whose packets count.
    pub trust: Arc<Trust>,
    /// How advice is sought.
    pub limits: AdviseConfig,
    /// How alike situations are.
    pub space: Space,
    /// Maintenance windows.
    pub maintenance: Arc<Mutex<Board>>,
    /// Live figures.
    pub status: StatusSource,
    /// The node's clock.
    pub clock: Clock,
}

/// Advice and what was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdviceReport {
    /// The situation asked about.
    pub query: Query,
    /// Ranked resolutions.
    pub advice: Vec<Advice>,
}

/// The operator's word on what was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declare {
    /// What was changed, for example `dampening`.
    pub pattern: String,
    /// What was done, a sentence a step.
    #[serde(default)]
    pub steps: Vec<String>,
    /// How long ago it was done, in seconds; now without it.
    #[serde(default)]
    pub ago_s: u32,
    /// Where; without it, it may concern every incident.
    #[serde(default)]
    pub on: Option<Scope>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AdviseRequest {
    /// `latest` or an incident's id.
    incident: String,
    radius_milli: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Problem {
    error: String,
}

/// Why a request failed, on the node's side.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error("asking the store: {0}")]
    Store(#[from] BackendError),
    #[error("no store is configured: set publish.store")]
    NoStore,
    #[error(transparent)]
    NoIncident(#[from] NoIncident),
    #[error(transparent)]
    Word(#[from] WordError),
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoStore | Self::NoIncident(_) => StatusCode::NOT_FOUND,
            Self::Word(_) => StatusCode::BAD_REQUEST,
            Self::Store(_) => StatusCode::BAD_GATEWAY,
            Self::Journal(_) | Self::Keeper(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(Problem { error: self.to_string() })).into_response()
    }
}

impl Context {
    /// Where advice comes from: the store and what was received from it, so that it is there while
    /// the store is not.
    fn advisors(&self) -> Option<Arc<dyn Backend>> {
        let store = self.outlets.reading()?;
        let received = self.received.as_ref().map(|received| {
            let received = Arc::<Embedded>::clone(received);
            let guarded: Arc<dyn Backend> = Guard::reading(received, Arc::clone(&self.trust));
            ("received".to_owned(), guarded)
        });
        let both = [("store".to_owned(), Arc::clone(store))].into_iter().chain(received);
        Some(Arc::new(Mirror::new(both.collect())?))
    }
}

/// The routes of the control socket. What was received has below `/received` the API that
/// `edgelore serve` has, its events among it.
pub fn router(context: Context) -> Router {
    let received = context.received.as_ref().map(|received| {
        let store: Arc<dyn Backend> = Arc::<Embedded>::clone(received);
        api::router(store, Policy::default(), Stopping::new().1)
    });
    Router::new()
        .nest_service("/received", received.unwrap_or_default())
        .route("/v1/incidents", get(incidents))
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/outcomes", get(outcomes))
        .route("/v1/status", get(status))
        .route("/v1/declare", post(declare))
        .route("/v1/advise", post(advise))
        .route("/v1/maintenance", get(windows).post(maintain))
        .with_state(context)
}

async fn incidents(
    State(context): State<Context>,
) -> Result<Json<Vec<IncidentView>>, RequestError> {
    let findings = context.journal.findings()?;
    Ok(Json(findings.iter().map(|(_, finding)| (&finding.incident).into()).collect()))
}

/// How much of an incident is told.
#[derive(Debug, Deserialize)]
struct Detail {
    #[serde(default = "prefixes_default")]
    prefixes: usize,
}

const fn prefixes_default() -> usize {
    view::PREFIXES_DEFAULT
}

async fn incident(
    State(context): State<Context>,
    UrlPath(named): UrlPath<String>,
    UrlQuery(detail): UrlQuery<Detail>,
) -> Result<Json<Account>, RequestError> {
    let id = view::identify(&named, &context.journal.incidents()?)?;
    let finding = context.journal.finding(id)?.ok_or(NoIncident::Unknown(named))?;
    let outcomes = context.journal.outcomes()?;
    let told = view::resting_on(id, outcomes.into_iter().map(|(_, outcome)| outcome));
    Ok(Json(Account::new(&finding.incident, &finding.settings, told, detail.prefixes)))
}

async fn outcomes(State(context): State<Context>) -> Result<Json<Vec<OutcomeView>>, RequestError> {
    let outcomes = context.journal.outcomes()?;
    let keeper = context.keeper.lock().unwrap_or_else(PoisonError::into_inner);
    let view = |outcome: &JournaledOutcome| OutcomeView {
        changed: keeper.changes(&outcome.distilled.outcome),
        ..OutcomeView::from(outcome)
    };
    Ok(Json(outcomes.iter().map(|(_, outcome)| view(outcome)).collect()))
}

async fn status(State(context): State<Context>) -> Json<Status> {
    let mut trust = context.trust.counts();
    let skipped = context.outlets.reading().map_or(0, |store| store.skipped());
    trust.insert("left_out_of_stores".to_owned(), skipped);
    Json(Status { trust, ..context.status.now() })
}

async fn declare(
    State(context): State<Context>,
    Json(told): Json<Declare>,
) -> Result<StatusCode, RequestError> {
    let ago = Span::from_millis(i64::from(told.ago_s) * 1_000);
    let at = Interval::exactly(context.clock.now() - ago);
    let change = declared(&told.pattern, &told.steps, at, told.on)?;
    context.keeper.lock().unwrap_or_else(PoisonError::into_inner).changed(change)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn advise(
    State(context): State<Context>,
    Json(request): Json<AdviseRequest>,
) -> Result<Json<AdviceReport>, RequestError> {
    let store = context.advisors().ok_or(RequestError::NoStore)?;
    let id = view::identify(&request.incident, &context.journal.incidents()?)?;
    let finding = context.journal.finding(id)?.ok_or(NoIncident::Unknown(request.incident))?;
    let site = context.keeper.lock().unwrap_or_else(PoisonError::into_inner).site().clone();
    let situation = situation(&finding, &site);
    let query = site::ask(Query::from(&situation));
    let mut limits = context.limits.clone();
    limits.radius_milli = request.radius_milli.unwrap_or(limits.radius_milli);
    let policy = context.trust.policy();
    let advice = seek(store.as_ref(), &context.space, &query, &limits, policy).await?;
    context.journal.advised(&JournaledAdvice {
        at: context.clock.now(),
        event_type: situation.event_type,
        protocol: situation.protocol,
        patterns: advice.iter().map(|one| (one.pattern.clone(), spoke_for(one))).collect(),
    })?;
    Ok(Json(AdviceReport { query, advice }))
}

async fn windows(State(context): State<Context>) -> Json<Vec<WindowView>> {
    let board = context.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
    Json(board.list(context.clock.now()))
}

async fn maintain(
    State(context): State<Context>,
    Json(request): Json<Request>,
) -> Result<Json<Vec<WindowView>>, RequestError> {
    let now = context.clock.now();
    let mut board = context.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
    board.take(now, &request)?;
    Ok(Json(board.list(now)))
}

/// The packets that voted for an advice, nearest first.
fn spoke_for(advice: &Advice) -> Vec<String> {
    advice.evidence.iter().filter(|e| e.votes).map(|e| e.packet.clone()).collect()
}

fn situation(finding: &Finding, site: &Site) -> Situation {
    Situation {
        topology_class: site.topology_class.clone(),
        protocol: finding.incident.protocol.term().to_owned(),
        event_type: finding.incident.event.term().to_owned(),
        severity: finding.incident.severity,
        affected_prefixes: finding.incident.prefixes.len() as u64,
        node_count: site.node_count,
    }
}

/// Why the node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No node runs with this data directory.
    #[error("no node is running on {socket}: start it with `edgelore run`")]
    NotRunning {
        /// The socket that is not there.
        socket: PathBuf,
    },
    /// The request did not get through.
    #[error("asking the node on {socket}: {source}")]
    Request {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// The node refused.
    #[error("the node says: {0}")]
    Refused(String),
}

/// The operator's side of the control socket.
#[derive(Debug)]
pub struct Control {
    client: reqwest::Client,
    socket: PathBuf,
}

impl Control {
    /// Addresses the node that runs with this data directory.
    ///
    /// # Errors
    /// When no node runs there.
    pub fn connect(data_dir: &Path) -> Result<Self, ControlError> {
        let socket = data_dir.join(SOCKET);
        if !socket.exists() {
            return Err(ControlError::NotRunning { socket });
        }
        edgelore_routing::http::use_ring();
        let client = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|source| ControlError::Request { socket: socket.clone(), source })?;
        Ok(Self { client, socket })
    }

    /// The incidents measured so far, oldest first.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn incidents(&self) -> Result<Vec<IncidentView>, ControlError> {
        self.get("incidents").await
    }

    /// Everything known of one incident (`latest`, an id or its beginning), with at most so many
    /// of its prefixes.
    ///
    /// # Errors
    /// When the node cannot be reached, or knows no such incident or several.
    pub async fn incident(&self, named: &str, prefixes: usize) -> Result<Account, ControlError> {
        // Only what an id can be made of goes into the address.
        let named: String =
            named.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '?' }).collect();
        let named = named.replace('?', "%3F");
        self.get(&format!("incidents/{named}?prefixes={prefixes}")).await
    }

    /// The outcomes distilled so far, oldest first.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn outcomes(&self) -> Result<Vec<OutcomeView>, ControlError> {
        self.get("outcomes").await
    }

    /// Live figures.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.get("status").await
    }

    /// Tells the node what was changed.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn declare(&self, told: &Declare) -> Result<(), ControlError> {
        let request = self.client.post(url("declare")).json(told);
        self.send(request).await.map(drop)
    }

    /// The maintenance windows, those of the configuration first.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn windows(&self) -> Result<Vec<WindowView>, ControlError> {
        self.get("maintenance").await
    }

    /// Begins or ends maintenance; gives the windows that there are then.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn maintain(&self, request: &Request) -> Result<Vec<WindowView>, ControlError> {
        let answer = self.send(self.client.post(url("maintenance")).json(request)).await?;
        answer.json().await.map_err(|source| self.failed(source))
    }

    /// Asks for advice on an incident (`latest` or an id).
    ///
    /// # Errors
    /// When the node cannot be reached, knows no such incident, or its store does not answer.
    pub async fn advise(
        &self,
        incident: &str,
        radius_milli: Option<u32>,
    ) -> Result<AdviceReport, ControlError> {
        let request = AdviseRequest { incident: incident.to_owned(), radius_milli };
        let answer = self.send(self.client.post(url("advise")).json(&request)).await?;
        answer.json().await.map_err(|source| self.failed(source))
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, ControlError> {
        let answer = self.send(self.client.get(url(what))).await?;
        answer.json().await.map_err(|source| self.failed(source))
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ControlError> {
        let answer = request.send().await.map_err(|source| {
            if source.is_connect() {
                return ControlError::NotRunning { socket: self.socket.clone() };
            }
            self.failed(source)
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let problem = answer.json::<Problem>().await;
        Err(ControlError::Refused(problem.map_or_else(|_| status.to_string(), |p| p.error)))
    }

    fn failed(&self, source: reqwest::Error) -> ControlError {
        ControlError::Request { socket: self.socket.clone(), source }
    }
}

/// The host is a formality of HTTP; the socket decides who answers.
fn url(what: &str) -> String {
    format!("http://node/v1/{what}")
}
