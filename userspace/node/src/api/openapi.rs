//! The description of the API for programs (OpenAPI 3.1), made from the handlers and the types that
//! they read and write.
//!
//! `openapi.json` beside the crate's manifest is this document, for those who write clients.
//! **Invariant:** the committed document is the served one.

use axum::Json;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use super::{beside, events, handlers};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Edgelore",
        description = "Where outcome packets are stored and found. Every answer that is not a \
            success has a JSON body with the reason. Within /v1 fields are added, never renamed."
    ),
    paths(
        handlers::post_packet,
        handlers::put_packet,
        handlers::get_packet,
        handlers::query,
        events::get,
        events::post,
        beside::declare,
        beside::page,
        beside::about,
        beside::import,
        beside::query,
        handlers::capability,
        handlers::health,
        handlers::ready,
    ),
    tags(
        (name = "packets", description = "Storing and reading packets"),
        (name = "query", description = "What is near a situation"),
        (name = "delivery", description = "What is new in cells"),
        (name = "keys", description = "What publishers say of their keys"),
        (name = "reference", description = "The reference's unsigned JSON form"),
        (name = "server", description = "The server itself"),
    ),
    modifiers(&Authentication),
    security(("bearer" = [])),
)]
struct Document;

/// The two ways in which a caller is known.
struct Authentication;

impl Modify for Authentication {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let description = Some("Asked for during the TLS handshake".to_owned());
        components.add_security_scheme(
            "certificate",
            SecurityScheme::MutualTls { description, extensions: None },
        );
    }
}

/// The document.
#[must_use]
pub fn document() -> OpenApi {
    Document::openapi()
}

/// `GET /v1/openapi.json`.
pub(super) async fn serve() -> Json<OpenApi> {
    Json(document())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `EDGELORE_REGENERATE=1 cargo test -p edgelore-node openapi` writes the document anew.
    #[test]
    fn the_committed_document_is_the_served_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let made = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("EDGELORE_REGENERATE").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == made, "openapi.json is not what is served; regenerate it");
        assert!(made.starts_with("{\n  \"openapi\": \"3.1."), "{}", &made[..40]);
    }
}
