//! Servers that keep packets for many, each started for one case.

use super::*;
#[cfg(any(feature = "pgvector", feature = "postgres"))]
use edgelore_routing::postgres::PostgresConfig;
use edgelore_testkit::server::PASSWORD;
#[cfg(any(feature = "pgvector", feature = "postgres"))]
use edgelore_testkit::server::PostgresServer;

/// A kind of server and its client.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The server, which ends with this.
    type Server: Send + Sync;
    fn start() -> Self::Server;
    /// A client by the case's clock.
    fn client(server: &Self::Server, now: Now) -> Arc<dyn Backend>;
}

pub(crate) struct On<E: Engine> {
    gate: Gate,
    backend: Arc<Guard>,
    _server: E::Server,
}

#[async_trait]
impl<E: Engine> Target for On<E> {
    async fn start() -> Self {
        let (gate, server) = (Gate::new(), E::start());
        let clock = gate.clock.clone();
        let client = E::client(&server, Arc::new(move || clock.now()));
        let backend = Guard::serving(client, Arc::clone(&gate.trust));
        Self { gate, backend, _server: server }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }
}

#[cfg(any(feature = "pgvector", feature = "postgres"))]
fn database(scheme: &str, server: &PostgresServer, now: Now) -> PostgresConfig {
    let url = format!("{scheme}://edgelore:{PASSWORD}@127.0.0.1:{}/postgres", server.port());
    PostgresConfig { now, ..PostgresConfig::at(&url) }
}

#[cfg(feature = "nats")]
mod nats {
    use super::*;
    use edgelore_routing::nats::{Nats, NatsConfig};
    use edgelore_testkit::server::NatsServer;

    pub(crate) struct JetStream;

    impl Engine for JetStream {
        type Server = NatsServer;

        fn start() -> NatsServer {
            NatsServer::start().unwrap()
        }

        fn client(server: &NatsServer, now: Now) -> Arc<dyn Backend> {
            let url = format!("nats://edgelore:{PASSWORD}@127.0.0.1:{}", server.port());
            Arc::new(Nats::new(NatsConfig { now, ..NatsConfig::at(&url) }).unwrap())
        }
    }

    attacked!(live_attacks_on_nats, live live_attacks_on_nats On<JetStream>);
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use edgelore_routing::postgres::Postgres;

    pub(crate) struct Plain;

    impl Engine for Plain {
        type Server = PostgresServer;

        fn start() -> PostgresServer {
            PostgresServer::start().unwrap()
        }

        fn client(server: &PostgresServer, now: Now) -> Arc<dyn Backend> {
            Arc::new(Postgres::new(database("postgres", server, now)).unwrap())
        }
    }

    attacked!(live_attacks_on_postgres, live live_attacks_on_postgres On<Plain>);
}

#[cfg(feature = "pgvector")]
mod pgvector {
    use super::*;
    use edgelore_routing::pgvector::Pgvector;

    pub(crate) struct Vectors;

    impl Engine for Vectors {
        type Server = PostgresServer;

        fn start() -> PostgresServer {
            PostgresServer::start_with_pgvector().unwrap()
        }

        fn client(server: &PostgresServer, now: Now) -> Arc<dyn Backend> {
            Arc::new(Pgvector::new(database("pgvector", server, now)).unwrap())
        }
    }

    attacked!(live_attacks_on_pgvector, live live_attacks_on_pgvector On<Vectors>);
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use edgelore_routing::redis::{Redis, RedisConfig};
    use edgelore_testkit::server::RedisServer;

    pub(crate) struct Streams;

    impl Engine for Streams {
        type Server = RedisServer;

        fn start() -> RedisServer {
            RedisServer::start(&[]).unwrap()
        }

        fn client(server: &RedisServer, now: Now) -> Arc<dyn Backend> {
            let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port());
            Arc::new(Redis::new(RedisConfig { now, ..RedisConfig::at(&url) }).unwrap())
        }
    }

    attacked!(live_attacks_on_redis, live live_attacks_on_redis On<Streams>);
}
