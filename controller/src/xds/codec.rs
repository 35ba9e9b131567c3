//! Puts responses on the wire without encoding resources again.
//!
//! The generated code would encode every resource for every client. Here a response is a small head, encoded as
//! usual, followed by frames from the log, copied as they are.

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// A response ready to be sent.
#[derive(Debug)]
pub(super) struct PreparedResponse {
    /// All but the resources.
    pub(super) head: DeltaDiscoveryResponse,
    /// Encoded `resources` fields.
    pub(super) frames: Vec<Bytes>,
}

/// Writes [`PreparedResponse`]s, reads requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeltaCodec;

impl Codec for DeltaCodec {
    type Encode = PreparedResponse;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self
    }
}

impl Encoder for DeltaCodec {
    type Item = PreparedResponse;
    type Error = Status;

    fn encode(
        &mut self,
        response: PreparedResponse,
        buffer: &mut EncodeBuf<'_>,
    ) -> Result<(), Status> {
        let frames: usize = response.frames.iter().map(Bytes::len).sum();
        buffer.reserve(response.head.encoded_len() + frames);
        response.head.encode(buffer).map_err(|error| Status::internal(error.to_string()))?;
        for frame in &response.frames {
            buffer.put_slice(frame);
        }
        Ok(())
    }
}

impl Decoder for DeltaCodec {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(
        &mut self,
        buffer: &mut DecodeBuf<'_>,
    ) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        DeltaDiscoveryRequest::decode(buffer)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("no discovery request: {error}")))
    }
}
