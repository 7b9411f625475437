//! What nodes ask each other, as one request and one answer on a stream of their own.
//!
//! Both are postcard, cut at [`FRAME_BYTES_MAX`] before anything is decoded. The gossip carries
//! packets alone, as they are.
//!
//! Owns the forms and their bounds. Never believes what they say.
//!
//! **Invariant:** no more than a frame of what a peer sends is ever in memory, per stream.

use std::io;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::request_response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::PacketId;

/// The protocols of one similarity definition: nodes of another one are strangers, for they could
/// keep nothing for each other.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    /// Requests.
    pub(super) requests: StreamProtocol,
    /// Kademlia.
    pub(super) kademlia: StreamProtocol,
}

impl Protocols {
    pub(super) fn of(space: &Space) -> Self {
        let space = hex::encode(space.short_id());
        let named = |name: String| {
            StreamProtocol::try_from_owned(name).expect("a protocol's name begins with a slash")
        };
        Self {
            requests: named(format!("/edgelore/{space}/outcomes/1")),
            kademlia: named(format!("/edgelore/{space}/kad/1")),
        }
    }
}

/// Bytes of a request or an answer.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 10;
/// Packets in one request or answer.
pub(super) const PACKETS_MAX: usize = 64;
/// Ids in one request or answer.
pub(super) const IDS_MAX: usize = 1_024;

/// A question about packets of one similarity definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) space: [u8; 8],
    pub(super) ask: Ask,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// The ids of the nearest packets in force; answered by [`Response::Ids`].
    Near { query: Query, radius: u32, limit: u32 },
    /// These packets, as far as they are there; answered by [`Response::Packets`].
    Fetch(Vec<PacketId>),
    /// Keep these packets; answered by [`Response::Kept`].
    Keep(Vec<Vec<u8>>),
    /// Which of these are wanted; answered by [`Response::Ids`].
    Offer(Vec<PacketId>),
    /// What came into some cells after a place in the answering node's order of arrival; answered by
    /// [`Response::Page`].
    Since { cells: Vec<String>, after: u64 },
    /// What came was no question. It is passed on as one, for libp2p tells nobody of a request
    /// that cannot be read, and its sender is to be blamed.
    #[serde(skip)]
    Rubbish,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Response {
    Ids(Vec<PacketId>),
    Packets(Vec<Vec<u8>>),
    /// How many of the packets are kept now.
    Kept(u32),
    Page {
        ids: Vec<PacketId>,
        next: u64,
        at_end: bool,
    },
    /// Asked too often, or too much is asked by all together.
    Busy,
    /// The request is none.
    Refused,
}

/// Postcard in bounded frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec;

#[async_trait]
impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read(io).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::debug!(%error, "a request that is none");
                Ok(Request { space: [0; 8], ask: Ask::Rubbish })
            }
            read => read,
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response).await
    }
}

async fn read<M: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<M> {
    let mut bytes = Vec::new();
    let read = io.take(FRAME_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    if read > FRAME_BYTES_MAX {
        return Err(invalid(format!("a frame exceeds {FRAME_BYTES_MAX} bytes")));
    }
    match postcard::take_from_bytes(&bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("a frame goes on after its message".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

async fn write<M: Serialize>(
    io: &mut (impl AsyncWrite + Unpin + Send),
    message: &M,
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(|error| invalid(error.to_string()))?;
    io.write_all(&bytes).await?;
    io.close().await
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::futures::executor::block_on;
    use libp2p::futures::io::Cursor;
    use proptest::prelude::*;
    use request_response::Codec as _;

    fn protocol() -> StreamProtocol {
        Protocols::of(&Space::default_definition()).requests
    }

    fn requests() -> impl Strategy<Value = Request> {
        let ids = proptest::collection::vec(any::<[u8; 32]>(), 0..9);
        let packets =
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..99), 0..9);
        let word = proptest::option::of(".{0,9}");
        let near = (word, any::<Option<u64>>(), any::<u32>(), any::<u32>());
        let ask = prop_oneof![
            near.prop_map(|(protocol, severity, radius, limit)| Ask::Near {
                query: Query { protocol, severity, ..Query::default() },
                radius,
                limit
            }),
            ids.clone().prop_map(Ask::Fetch),
            packets.prop_map(Ask::Keep),
            ids.prop_map(Ask::Offer),
            (proptest::collection::vec(".{0,9}", 0..5), any::<u64>())
                .prop_map(|(cells, after)| Ask::Since { cells, after }),
        ];
        (any::<[u8; 8]>(), ask).prop_map(|(space, ask)| Request { space, ask })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(request in requests()) {
            let mut bytes = Cursor::new(Vec::new());
            block_on(Codec.write_request(&protocol(), &mut bytes, request.clone())).unwrap();
            bytes.set_position(0);
            prop_assert_eq!(block_on(Codec.read_request(&protocol(), &mut bytes)).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = block_on(Codec.read_request(&protocol(), &mut Cursor::new(&bytes)));
            let _ = block_on(Codec.read_response(&protocol(), &mut Cursor::new(&bytes)));
        }
    }

    #[test]
    fn a_frame_has_a_bound() {
        let mut endless = libp2p::futures::io::repeat(0);
        let error = block_on(Codec.read_response(&protocol(), &mut endless)).unwrap_err();
        assert!(error.to_string().contains("exceeds"), "{error}");
        // The longest answer fits.
        let ids = Response::Ids(vec![[255; 32]; IDS_MAX]);
        let packets = Response::Packets(vec![vec![255; 512]; PACKETS_MAX]);
        for longest in [ids, packets] {
            let mut bytes = Cursor::new(Vec::new());
            block_on(Codec.write_response(&protocol(), &mut bytes, longest.clone())).unwrap();
            bytes.set_position(0);
            assert_eq!(block_on(Codec.read_response(&protocol(), &mut bytes)).unwrap(), longest);
        }
    }
}
