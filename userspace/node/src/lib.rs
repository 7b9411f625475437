//! The running node: configuration, threads, bounded queues, journal, control socket, shutdown.
//!
//! ```text
//! live sources ─► reorder ─► engine (decode, detect) ─► keeper (distil, seal, journal) ─► publisher ─► store
//! files ────────────────────►                                  ▲                              │
//!                                                              │            received ◄─ delivery ◄
//!                                             control socket ──┤ (declare, advise, list)
//!                                 the router's configuration ──┘ (what was changed)
//! ```
//!
//! **Invariant:** nothing here decodes, detects or decides; that is the pipeline's. Nothing here
//! ever changes the router.
#![forbid(unsafe_code)]

pub mod advise;
pub mod api;
pub mod config;
pub mod control;
pub mod delivery;
pub mod doctor;
pub mod egress;
pub mod engine;
pub mod interfaces;
pub mod journal;
pub mod keeper;
pub mod keys;
mod limit;
pub mod live;
pub mod maintenance;
pub mod order;
pub mod pace;
pub mod privacy;
pub mod publisher;
pub mod release;
pub mod reload;
pub mod replay;
pub mod router;
pub mod serve;
pub mod servers;
pub mod sharing;
pub mod similarity;
pub mod site;
pub mod status;
pub mod store;
pub mod trust;
pub mod view;
pub mod watcher;

use config::Config;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use edgelore_capture::Clock;
use edgelore_model::Span;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{Detected, Finding};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::scrub::AllowError;
use edgelore_pipeline::resolve::{Change, Identifiers};
use edgelore_pipeline::topology::{SiteTracker, TopologyConfig};
use edgelore_routing::Backend;
use edgelore_routing::layers::{Cache, CacheBounds, Measured, Metrics, Named};
use engine::{Engine, Output};
use journal::Journal;
use keeper::Keeper;
use sharing::Outlets;
use status::StatusSource;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use trust::{Guard, Trust};

/// What detection told that waits for the keeper.
const DETECTED_QUEUED_MAX: usize = 256;
/// How often distillation learns that time has passed, when nothing else happens.
const KEEPER_TICK: Duration = Duration::from_secs(1);
/// So much older is what distillation takes for watched: what was detected within may be under way.
const KEEPER_LAG: Span = Span(5_000_000_000);

/// What was captured that identifies this network, on its way to the keeper.
type Known = Arc<Mutex<Identifiers>>;

/// Why the node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or socket of the data directory.
    #[error("{operation} {path}: {source}")]
    Data {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The runtime did not start.
    #[error("starting the runtime: {0}")]
    Runtime(std::io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// Distillation's memory.
    #[error(transparent)]
    Keeper(#[from] keeper::KeeperError),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// Capture.
    #[error(transparent)]
    Live(#[from] live::LiveError),
    /// The similarity definition.
    #[error(transparent)]
    Similarity(#[from] similarity::DefinitionError),
    /// The router's own configuration.
    #[error(transparent)]
    Router(#[from] router::RouterError),
    /// The trust book or the audit log.
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
    /// The allow-list.
    #[error("privacy.allow: {0}")]
    Allow(#[from] AllowError),
}

/// Runs the node until SIGTERM or SIGINT; what is open then is measured to its end as far as it
/// was seen, journaled, and the programs are detached. At SIGHUP `file` is read anew: see
/// [`reload`].
///
/// # Errors
/// When anything that the node needs cannot be opened; nothing stays attached then.
pub fn run(config: &Config, file: &Path) -> Result<(), NodeError> {
    let clock = Clock::new();
    let data_dir = &config.node.data_dir;
    make_private(data_dir)?;
    let status = StatusSource::new(clock);
    let context = open(config, clock, &status)?;
    let router = router::RouterWatcher::open(&config.router, clock)?;
    let sources = live::Sources::open(&config.capture, clock, &status)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(NodeError::Runtime)?;
    let pending = Arc::new(Notify::new());
    let socket = start_services(&runtime, &context, &pending, config)?;

    let (found, detected) = bounded(DETECTED_QUEUED_MAX);
    let known = Known::default();
    let keeper = {
        let (keeper, status) = (Arc::clone(&context.keeper), status.clone());
        let known = Arc::clone(&known);
        std::thread::spawn(move || keep_all(&detected, &keeper, &known, clock, &status, &pending))
    };
    let tracker = Arc::new(Mutex::new(SiteTracker::new(TopologyConfig::default())));
    let heard = Arc::clone(&tracker);
    let engine = Engine::start(
        config.node.workers,
        &DecodeConfig::default(),
        config.detect.clone(),
        tell(found, heard, known, status.clone()),
    );
    lock(&context.maintenance).attach(engine.tuning());
    let figures = engine.figures();
    let reloader = reload::Reloader::new(
        file.to_owned(),
        config.clone(),
        sources.changes(),
        engine.tuning(),
        Arc::clone(&context.keeper),
    )
    .maintaining(Arc::clone(&context.maintenance));
    runtime.spawn(reload_when_asked(reloader));
    let siting = site::Siting::of(&config.node);
    let keeper_of_site = Arc::clone(&context.keeper);
    runtime.spawn(site::follow(siting, tracker, keeper_of_site, status.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(stop_when_asked(Arc::clone(&stop)));
    let router = router.map(|router| {
        let keeper = Arc::clone(&context.keeper);
        let named = Arc::clone(&keeper);
        let name = move |known| lock(&named).hide_identifiers(known);
        router.start(Arc::clone(&stop), name, move |change| note(&change, &keeper))
    });
    runtime.spawn(refresh(figures, status.clone()));
    tracing::info!(interfaces = ?config.capture.interfaces, data = %data_dir.display(), "watching");
    let engine = sources.run(engine, &stop, &status);
    stop.store(true, Ordering::Relaxed);
    if let Some(router) = router {
        router.join().expect("the router's watcher never panics");
    }
    let totals = engine.finish();
    status.update().decoded = totals.summary;
    keeper.join().expect("the keeper never panics");
    context.trust.write();
    runtime.shutdown_timeout(Duration::from_secs(2));
    // The socket's file would make the next command wait for a node that has gone.
    let _ = std::fs::remove_file(socket);
    Ok(())
}

fn open(
    config: &Config,
    clock: Clock,
    status: &StatusSource,
) -> Result<control::Context, NodeError> {
    let data_dir = &config.node.data_dir;
    let key_file = config.publish.key.clone().unwrap_or_else(|| data_dir.join("key"));
    let key = keys::load_or_generate(&key_file)?;
    let succession = keys::succession(&key_file)?;
    let space = similarity::load(config.similarity.definition.as_deref())?;
    let trust = Trust::open(data_dir, config.trust.clone(), Arc::new(move || clock.now()))?;
    let (outlets, servers) = open_stores(config, &space, &trust, status)?;
    let receives = config.receive.enabled && !servers.is_empty();
    let packets_max = config.receive.packets_max;
    let received = receives.then(|| store::received(data_dir, &space, packets_max)).transpose()?;
    let journal = Arc::new(Journal::open(data_dir)?);
    let maintenance = maintenance::Board::open(Arc::clone(&journal), config.maintenance.windows())?;
    let privacy = config.privacy.privacy(&config.capture)?;
    let mut keeper = Keeper::new(
        site::Siting::of(&config.node).site(None),
        config.detect.method(),
        config.distil.clone(),
        Arc::clone(&journal),
        key,
        space.clone(),
        privacy,
    )?;
    keeper.succeeds(succession);
    keeper.share(config.sharing.clone());
    Ok(control::Context {
        journal,
        keeper: Arc::new(Mutex::new(keeper)),
        outlets,
        servers,
        received: received.map(Arc::new),
        trust,
        limits: config.advise.clone(),
        space,
        maintenance: Arc::new(Mutex::new(maintenance)),
        status: status.clone(),
        clock,
    })
}

/// Opens what is configured, and gives each server of it as well: every server is counted and timed,
/// and what a store answered is remembered for a while.
fn open_stores(
    config: &Config,
    space: &Space,
    trust: &Arc<Trust>,
    status: &StatusSource,
) -> Result<(Outlets, Vec<Named>), NodeError> {
    let Some(stores) = &config.publish.store else { return Ok(Default::default()) };
    let mut servers: Vec<Named> = Vec::new();
    let mut around = |name: &str, server: Arc<dyn Backend>| -> Arc<dyn Backend> {
        let measured = Measured::default();
        status.measure(name, measured.clone(), Arc::clone(&server));
        let server: Arc<dyn Backend> = Arc::new(Metrics::new(server, measured));
        servers.push((name.to_owned(), Guard::reading(Arc::clone(&server), Arc::clone(trust))));
        server
    };
    let mut stores = store::open_each(stores, &config.publish.access(), space, &mut around)?;
    let lifetime = Duration::from_millis(config.publish.cache_ms.into());
    if !lifetime.is_zero() {
        let (clock, bounds) = (Clock::new(), CacheBounds { lifetime, ..CacheBounds::default() });
        for (_, store) in &mut stores {
            let cached = Cache::new(Arc::clone(store), bounds, Arc::new(move || clock.now()));
            *store = Arc::new(cached);
        }
    }
    Ok((Outlets::new(&stores, &config.sharing, trust), servers))
}

/// The control socket, the publisher and what receives.
fn start_services(
    runtime: &Runtime,
    context: &control::Context,
    pending: &Arc<Notify>,
    config: &Config,
) -> Result<PathBuf, NodeError> {
    let path = config.node.data_dir.join(control::SOCKET);
    let failed = |operation| {
        let path = path.clone();
        move |source| NodeError::Data { operation, path, source }
    };
    // The journal is locked by this process, so a socket that is still there is a dead node's.
    if path.exists() {
        std::fs::remove_file(&path).map_err(failed("removing the stale socket"))?;
    }
    let _guard = runtime.enter();
    let listener = UnixListener::bind(&path).map_err(failed("binding the control socket"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(failed("protecting the control socket"))?;
    let router = control::router(context.clone());
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the control socket has ended");
        }
    });
    runtime.spawn(Arc::clone(&context.trust).keep_written());
    if context.outlets.reading().is_some() {
        let publisher = publisher::Publisher {
            journal: Arc::clone(&context.journal),
            outlets: context.outlets.clone(),
            keeper: Arc::clone(&context.keeper),
            trust: Arc::clone(&context.trust),
            clock: context.clock,
        };
        runtime.spawn(publisher.run(Arc::clone(pending)));
    }
    delivery::start(context, config.receive.radius_milli);
    Ok(path)
}

/// Hands what is detected to the keeper, and measures how soon incidents are told; the network's
/// shape is read off the observations.
fn tell(
    found: Sender<Detected>,
    heard: Arc<Mutex<SiteTracker>>,
    known: Known,
    status: StatusSource,
) -> impl FnMut(Output<'_>) + Send + 'static {
    move |out| {
        let detected = match out {
            Output::Observation(observation) => {
                if privacy::identifies(observation) {
                    privacy::hear(&mut lock(&known), observation);
                }
                return site::hear(&heard, observation);
            }
            Output::Detected(detected) => detected,
        };
        if let Detected::Opened(opened) = &detected {
            status.incident_opened(opened.at);
        }
        // The keeper goes only after the engine.
        let _ = found.send(detected);
    }
}

fn keep_all(
    detected: &Receiver<Detected>,
    keeper: &Mutex<Keeper>,
    known: &Known,
    clock: Clock,
    status: &StatusSource,
    pending: &Notify,
) {
    let keeper = || keeper.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = |kept: Result<Vec<journal::JournaledOutcome>, keeper::KeeperError>| match kept {
        Ok(outcomes) if outcomes.is_empty() => {}
        Ok(outcomes) => {
            status.update().outcomes += outcomes.len() as u64;
            pending.notify_one();
        }
        Err(error) => tracing::error!(%error, "distillation could not keep what it took in"),
    };
    kept(keeper().started(clock.now()).map(|()| Vec::new()));
    loop {
        match detected.recv_timeout(KEEPER_TICK) {
            Ok(Detected::Opened(opened)) => {
                tracing::info!(event = %opened.event, protocol = %opened.protocol, "incident opened");
                kept(keeper().opened(&opened).map(|()| Vec::new()));
            }
            Ok(Detected::Joined(joined)) => {
                tracing::info!(event = %joined.event, "incident is part of another");
                kept(keeper().joined(&joined).map(|()| Vec::new()));
            }
            Ok(Detected::Closed(finding)) => {
                // Interfaces come and are renamed: whatever was ever watched by a name hides it.
                let watched: Vec<String> = status.update().interfaces.keys().cloned().collect();
                keeper().hide(watched);
                keeper().hide_identifiers(std::mem::take(&mut *lock(known)));
                tell_closed(&finding);
                status.update().incidents += 1;
                kept(keeper().keep(&finding));
            }
            Ok(Detected::Settled(settled)) => {
                kept(keeper().settled(*settled).map(|()| Vec::new()));
            }
            Err(RecvTimeoutError::Timeout) => {
                keeper().hide_identifiers(std::mem::take(&mut *lock(known)));
                kept(keeper().advance(clock.now() - KEEPER_LAG));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    kept(keeper().advance(clock.now() - KEEPER_LAG));
}

fn tell_closed(finding: &Finding) {
    let incident = view::IncidentView::from(&finding.incident);
    tracing::info!(
        id = incident.id,
        event = incident.event,
        duration_ms = incident.duration_ms.map(|d| d.estimate),
        prefixes = incident.prefixes,
        "incident closed"
    );
}

/// Takes a change of the router's configuration.
fn note(change: &Change, keeper: &Mutex<Keeper>) {
    let kept = keeper.lock().unwrap_or_else(PoisonError::into_inner).changed(change.clone());
    let (pattern, evidence) = (&change.resolution.pattern, &change.evidence);
    match kept {
        Ok(()) => tracing::info!(pattern, evidence, "the router's configuration was changed"),
        Err(error) => tracing::error!(%error, pattern, "a change could not be kept"),
    }
}

async fn stop_when_asked(stop: Arc<AtomicBool>) {
    serve::asked_to_stop().await;
    stop.store(true, Ordering::Relaxed);
}

/// Reloads at every SIGHUP.
async fn reload_when_asked(mut reloader: reload::Reloader) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        tracing::warn!("SIGHUP cannot be caught, the configuration is read at the start only");
        return;
    };
    while hangups.recv().await.is_some() {
        reloader.reload_and_tell();
    }
}

async fn refresh(figures: engine::Figures, status: StatusSource) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (decoded, overflows) = (figures.summary(), figures.overflows());
        let mut status = status.update();
        (status.decoded, status.overflows) = (decoded, overflows);
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the data directory, for its owner alone.
fn make_private(path: &Path) -> Result<(), NodeError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| {
        NodeError::Data { operation: "making the data directory", path: path.to_owned(), source }
    })
}
