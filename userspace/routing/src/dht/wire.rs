//! What nodes ask each other, as one request and one answer on a stream of their own.
//!
//! Both are postcard, cut at [`FRAME_BYTES_MAX`] before anything is decoded. The gossip carries
//! packets and statements alone, as they are.
//!
//! Versions: a node speaks the newest protocol that both know. What came with a later one
//! ([`Ask::since`]) is not sent to a node that only knows an earlier one: it is asked for nothing, and what
//! it says to that passes for [`Response::Unknown`]. A question of a kind that is not known is answered
//! with [`Response::Unknown`] and held against nobody, so that later kinds need no later protocol.
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
use crate::embedded::sums::Sum;

/// The protocols of one similarity definition: nodes of another one are strangers, for they could
/// keep nothing for each other.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    /// Requests, of the first version.
    pub(super) requests: StreamProtocol,
    /// Those of the second, with the statements about keys.
    pub(super) statements: StreamProtocol,
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
            statements: named(format!("/edgelore/{space}/outcomes/2")),
            kademlia: named(format!("/edgelore/{space}/kad/1")),
        }
    }
}

/// Bytes of a request or an answer.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 10;
/// Packets or statements in one request or answer.
pub(super) const PACKETS_MAX: usize = 64;
/// Ids in one request or answer.
pub(super) const IDS_MAX: usize = 1_024;

/// Publishers in one request.
pub(super) const PUBLISHERS_MAX: usize = 256;
/// Kinds of question that are known here.
const KINDS: u32 = 9;

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
    /// Keep these statements about keys; answered by [`Response::Kept`].
    Declare(Vec<Vec<u8>>),
    /// The ids after one, in order, of the statements in those parts whose sums differ from these;
    /// answered by [`Response::Ids`].
    Compare { sums: Vec<Sum>, after: Option<PacketId> },
    /// The ids of the statements about some publishers, revocations first; answered by
    /// [`Response::Ids`].
    About(Vec<[u8; 32]>),
    /// These statements, as far as they are there; answered by [`Response::Packets`].
    Statements(Vec<PacketId>),
    /// What came was no question. It is passed on as one, for libp2p tells nobody of a request
    /// that cannot be read, and its sender is to be blamed.
    #[serde(skip)]
    Rubbish,
    /// A question of a later version.
    #[serde(skip)]
    Unknown,
}

/// What a question counts for, beside being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) packets: usize,
    pub(super) statements: usize,
}

impl Ask {
    pub(super) const fn cost(&self) -> Cost {
        match self {
            Self::Keep(packets) => Cost { packets: packets.len(), statements: 0 },
            Self::Declare(statements) => Cost { packets: 0, statements: statements.len() },
            Self::Compare { .. } => Cost { packets: 0, statements: 1 },
            _ => Cost { packets: 0, statements: 0 },
        }
    }

    /// The version of the protocol that it came with.
    const fn since(&self) -> u32 {
        match self {
            Self::Declare(_) | Self::Compare { .. } | Self::About(_) | Self::Statements(_) => 2,
            _ => 1,
        }
    }
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
    /// The request is of a kind that is not known here.
    Unknown,
}

/// Postcard in bounded frames. Each request and its answer have one of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec {
    /// The question was not sent, for the other does not know its kind.
    withheld: bool,
}

#[async_trait]
impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let none = |ask| Ok(Request { space: [0; 8], ask });
        let bytes = match frame(io).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return none(Ask::Rubbish),
            frame => frame?,
        };
        decode(&bytes).or_else(|error| {
            tracing::debug!(%error, "a request that is none");
            none(if is_later(&bytes) { Ask::Unknown } else { Ask::Rubbish })
        })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = frame(io).await?;
        if self.withheld { Ok(Response::Unknown) } else { decode(&bytes) }
    }

    async fn write_request<T>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.withheld = request.ask.since() > 1 && protocol.as_ref().ends_with("/1");
        if self.withheld {
            // A stream that ends before a question would be held against this node.
            let nothing = Request { ask: Ask::Fetch(Vec::new()), ..request };
            return write(io, &nothing).await;
        }
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

/// All that a stream holds.
async fn frame(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = io.take(FRAME_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    if read > FRAME_BYTES_MAX {
        return Err(invalid(format!("a frame exceeds {FRAME_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn decode<M: DeserializeOwned>(bytes: &[u8]) -> io::Result<M> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("a frame goes on after its message".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// Whether a request that cannot be read is of a kind that later versions know.
fn is_later(bytes: &[u8]) -> bool {
    let kind = postcard::take_from_bytes::<([u8; 8], u32)>(bytes);
    kind.is_ok_and(|((_, kind), _)| kind >= KINDS)
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
        Protocols::of(&Space::default_definition()).statements
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
            packets.clone().prop_map(Ask::Keep),
            ids.clone().prop_map(Ask::Offer),
            (proptest::collection::vec(".{0,9}", 0..5), any::<u64>())
                .prop_map(|(cells, after)| Ask::Since { cells, after }),
            packets.prop_map(Ask::Declare),
            (proptest::collection::vec(any::<Sum>(), 0..9), any::<Option<[u8; 32]>>())
                .prop_map(|(sums, after)| Ask::Compare { sums, after }),
            ids.clone().prop_map(Ask::About),
            ids.prop_map(Ask::Statements),
        ];
        (any::<[u8; 8]>(), ask).prop_map(|(space, ask)| Request { space, ask })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(request in requests()) {
            let mut bytes = Cursor::new(Vec::new());
            block_on(Codec::default().write_request(&protocol(), &mut bytes, request.clone())).unwrap();
            bytes.set_position(0);
            prop_assert_eq!(block_on(Codec::default().read_request(&protocol(), &mut bytes)).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = block_on(Codec::default().read_request(&protocol(), &mut Cursor::new(&bytes)));
            let _ = block_on(Codec::default().read_response(&protocol(), &mut Cursor::new(&bytes)));
        }
    }

    fn read_back(bytes: &[u8]) -> Ask {
        block_on(Codec::default().read_request(&protocol(), &mut Cursor::new(bytes))).unwrap().ask
    }

    #[test]
    fn what_a_later_version_asks_is_told_from_rubbish() {
        let statements = Request { space: [7; 8], ask: Ask::Statements(Vec::new()) };
        let mut bytes = postcard::to_stdvec(&statements).unwrap();
        assert_eq!(u32::from(bytes[8]), KINDS - 1, "it is the last kind");
        bytes[8] += 1;
        assert_eq!(read_back(&bytes), Ask::Unknown);
        bytes.extend([1, 2, 3]);
        assert_eq!(read_back(&bytes), Ask::Unknown, "whatever it holds");
        bytes[8] = 1;
        assert_eq!(read_back(&bytes), Ask::Rubbish);
        assert_eq!(read_back(&[0; 5]), Ask::Rubbish);
    }

    #[test]
    fn what_an_earlier_version_does_not_know_is_not_sent_to_it() {
        let first = Protocols::of(&Space::default_definition()).requests;
        let nothing = Ask::Fetch(Vec::new());
        let answer = postcard::to_stdvec(&Response::Packets(Vec::new())).unwrap();
        let unknown = (nothing.clone(), Response::Unknown);
        let known = (nothing.clone(), Response::Packets(Vec::new()));
        for (ask, expected) in [(Ask::About(vec![[1; 32]]), unknown), (nothing, known)] {
            let (mut codec, mut bytes) = (Codec::default(), Cursor::new(Vec::new()));
            let request = Request { space: [7; 8], ask };
            block_on(codec.write_request(&first, &mut bytes, request)).unwrap();
            let response = block_on(codec.read_response(&first, &mut Cursor::new(&answer)));
            assert_eq!((read_back(bytes.get_ref()), response.unwrap()), expected);
        }
    }

    #[test]
    fn a_frame_has_a_bound() {
        let mut endless = libp2p::futures::io::repeat(0);
        let error =
            block_on(Codec::default().read_response(&protocol(), &mut endless)).unwrap_err();
        assert!(error.to_string().contains("exceeds"), "{error}");
        // The longest answer fits.
        let ids = Response::Ids(vec![[255; 32]; IDS_MAX]);
        let packets = Response::Packets(vec![vec![255; 512]; PACKETS_MAX]);
        for longest in [ids, packets] {
            let mut bytes = Cursor::new(Vec::new());
            block_on(Codec::default().write_response(&protocol(), &mut bytes, longest.clone()))
                .unwrap();
            bytes.set_position(0);
            assert_eq!(
                block_on(Codec::default().read_response(&protocol(), &mut bytes)).unwrap(),
                longest
            );
        }
    }
}
