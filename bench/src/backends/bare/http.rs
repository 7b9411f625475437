//! The bare client of the HTTP API.

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use edgelore_routing::http::wire::QueryRequest;
use reqwest::header::ACCEPT;

use super::super::LIMIT;
use super::{Asked, Bare, Offered};

/// Packets one after the other (RFC 8742), or JSON from a server that does not have them so.
const ACCEPTED: &str = "application/cbor-seq, application/json;q=0.5";

/// The same requests, whose answers are read and not looked at.
pub(crate) struct BareHttp {
    client: reqwest::Client,
    base: String,
}

impl BareHttp {
    pub(crate) fn new(base: &str) -> Result<Self> {
        edgelore_routing::http::use_ring();
        let client = reqwest::Client::builder().no_proxy().build().context("make a client")?;
        Ok(Self { client, base: base.to_owned() })
    }
}

#[async_trait]
impl Bare for BareHttp {
    async fn store(&mut self, offered: &Offered) -> Result<()> {
        let packet = &offered.packet;
        let path = format!("{}/v1/packets/{}", self.base, hex::encode(packet.id));
        let answer = self.client.put(path).body(packet.bytes.clone()).send().await?;
        ensure!(answer.status().is_success(), "the server answers {}", answer.status());
        answer.bytes().await?;
        Ok(())
    }

    async fn prepare(&mut self, _: &Asked) -> Result<()> {
        Ok(())
    }

    async fn fetch(&mut self, asked: &Asked) -> Result<usize> {
        let request = QueryRequest {
            query: asked.query.clone(),
            radius: None,
            radius_milli: Some(asked.radius),
            limit: Some(LIMIT),
        };
        let post = self.client.post(format!("{}/v1/query", self.base));
        let answer = post.header(ACCEPT, ACCEPTED).json(&request).send().await?;
        ensure!(answer.status().is_success(), "the server answers {}", answer.status());
        Ok(answer.bytes().await?.len())
    }
}
