//! Database servers and the DHT as stores, as far as this binary was built with them.
//!
//! Owns which scheme is which server's. Never connects: the backends do when they are first used;
//! a node of the DHT begins when it is opened.
//!
//! **Invariant:** no error text holds a URL, for it may hold a password.

use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::{Backend, BackendError};
use std::sync::Arc;

/// Why a database server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The backend is not in this binary.
    #[error(
        "a store at {scheme}:// needs an edgelore that was built with the feature `{feature}`; \
         `cargo xtask build` builds it with all of them"
    )]
    NotBuilt {
        /// The URL's scheme.
        scheme: &'static str,
        /// The missing feature.
        feature: &'static str,
    },
    /// The backend refuses the URL.
    #[error("a store at {scheme}://: {source}")]
    Backend {
        /// The URL's scheme.
        scheme: &'static str,
        /// Why.
        source: BackendError,
    },
}

/// A scheme, and the feature that brings its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    name: &'static str,
    feature: &'static str,
}

const SCHEMES: [Scheme; 8] = [
    Scheme { name: "nats", feature: "nats" },
    Scheme { name: "tls", feature: "nats" },
    Scheme { name: "pgvector", feature: "pgvector" },
    Scheme { name: "redis", feature: "redis" },
    Scheme { name: "rediss", feature: "redis" },
    Scheme { name: "postgres", feature: "postgres" },
    Scheme { name: "postgresql", feature: "postgres" },
    Scheme { name: "dht", feature: "dht" },
];

/// The scheme of a database server's URL.
pub(crate) fn scheme(url: &str) -> Option<Scheme> {
    let (name, _) = url.split_once("://")?;
    SCHEMES.into_iter().find(|scheme| scheme.name == name)
}

/// Opens a database server, to measure with `space`; `password` replaces the URL's.
pub(crate) fn open(
    scheme: Scheme,
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Result<Arc<dyn Backend>, ServerError> {
    let refused = |source| ServerError::Backend { scheme: scheme.name, source };
    let missing = ServerError::NotBuilt { scheme: scheme.name, feature: scheme.feature };
    built(scheme.feature, url, password, space).ok_or(missing)?.map_err(refused)
}

/// `None` when this binary was built without the feature.
fn built(
    feature: &str,
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Option<Result<Arc<dyn Backend>, BackendError>> {
    match feature {
        #[cfg(feature = "nats")]
        "nats" => Some(nats(url, password, space)),
        #[cfg(feature = "redis")]
        "redis" => Some(redis(url, password, space)),
        #[cfg(feature = "postgres")]
        "postgres" => Some(postgres(url, password, space)),
        #[cfg(feature = "pgvector")]
        "pgvector" => Some(pgvector(url, password, space)),
        // What keeps strangers out is the pre-shared key that its URL names.
        #[cfg(feature = "dht")]
        "dht" => Some(dht(url, space)),
        _ => {
            drop((url, password, space));
            None
        }
    }
}

#[cfg(feature = "nats")]
fn nats(
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Result<Arc<dyn Backend>, BackendError> {
    use edgelore_routing::nats::{Nats, NatsConfig};
    let space = space.clone();
    Ok(crate::store::patient(Nats::new(NatsConfig { password, space, ..NatsConfig::at(url) })?))
}

#[cfg(feature = "redis")]
fn redis(
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Result<Arc<dyn Backend>, BackendError> {
    use edgelore_routing::redis::{Redis, RedisConfig};
    let space = space.clone();
    Ok(crate::store::patient(Redis::new(RedisConfig { password, space, ..RedisConfig::at(url) })?))
}

#[cfg(feature = "postgres")]
fn postgres(
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Result<Arc<dyn Backend>, BackendError> {
    use edgelore_routing::postgres::{Postgres, PostgresConfig};
    let space = space.clone();
    let config = PostgresConfig { password, space, ..PostgresConfig::at(url) };
    Ok(crate::store::patient(Postgres::new(config)?))
}

#[cfg(feature = "pgvector")]
fn pgvector(
    url: &str,
    password: Option<String>,
    space: &Space,
) -> Result<Arc<dyn Backend>, BackendError> {
    use edgelore_routing::{pgvector::Pgvector, postgres::PostgresConfig};
    let space = space.clone();
    let config = PostgresConfig { password, space, ..PostgresConfig::at(url) };
    Ok(crate::store::patient(Pgvector::new(config)?))
}

#[cfg(feature = "dht")]
fn dht(url: &str, space: &Space) -> Result<Arc<dyn Backend>, BackendError> {
    use edgelore_routing::dht::{Dht, DhtConfig};
    let space = space.clone();
    Ok(crate::store::patient(Dht::open(DhtConfig { space, ..DhtConfig::from_url(url)? })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_opens_or_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let dht = format!("dht://{}", directory.path().display());
        for (url, built) in [
            ("nats://a:secret@localhost", cfg!(feature = "nats")),
            ("tls://a:secret@localhost", cfg!(feature = "nats")),
            ("pgvector://a:secret@localhost/b", cfg!(feature = "pgvector")),
            (dht.as_str(), cfg!(feature = "dht")),
            ("redis://:secret@localhost", cfg!(feature = "redis")),
            ("rediss://:secret@localhost", cfg!(feature = "redis")),
            ("postgres://a:secret@localhost/b", cfg!(feature = "postgres")),
            ("postgresql://a:secret@localhost/b", cfg!(feature = "postgres")),
        ] {
            match open(scheme(url).unwrap(), url, None, &Space::default_definition()) {
                Ok(backend) => assert!(built && !backend.capability().name.is_empty()),
                Err(error @ ServerError::NotBuilt { .. }) => {
                    assert!(!built && error.to_string().contains("feature"), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(scheme("http://localhost"), None);
        assert_eq!(scheme("redis:localhost"), None);
    }

    #[test]
    fn a_password_is_in_no_error() {
        for url in [
            "nats://a:secret@localhost?color=red",
            "redis://:secret@localhost/x",
            "postgres://a:secret@localhost/b?sslmode=maybe",
        ] {
            let error = open(scheme(url).unwrap(), url, None, &Space::default_definition()).err();
            let text = error.expect("it is refused").to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
