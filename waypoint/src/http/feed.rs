//! The request's body on its way to the application, kept for another attempt as far as that is cheap.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::downstream::{Downstream, Gone};
use super::messages::Messages;
use crate::limits;
use crate::upstream::{Piece, RequestBody};

/// A request's body.
pub(super) struct Feed {
    has_body: bool,
    declared: Option<u64>,
    invites: bool,
    /// Bytes that there may be.
    bytes_max: u64,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// How much is kept.
    keeps: usize,
    is_too_large: bool,
    /// The client is waited for.
    is_awaited: bool,
    /// Set once the client sent all.
    end: Option<Option<HeaderMap>>,
    /// Bytes that the client sent.
    pub(super) read: u64,
    /// gRPC messages that the client sent.
    pub(super) messages: Messages,
}

/// The way to one attempt's application.
pub(super) struct Pipe {
    sender: Option<mpsc::Sender<Piece>>,
    /// How much of what is kept was sent.
    at: usize,
}

impl Feed {
    /// `declared`: its length if the client said it. `expects`: the client waits to be asked for it.
    pub(super) fn new(downstream: &mut Downstream, declared: Option<u64>, expects: bool) -> Self {
        let has_body = !downstream.is_body_done();
        Self {
            has_body,
            declared,
            invites: expects && has_body,
            bytes_max: u64::MAX,
            kept: Vec::new(),
            kept_bytes: 0,
            keeps: limits::REPLAY_BYTES_MAX,
            is_too_large: false,
            is_awaited: false,
            end: None,
            read: 0,
            messages: Messages::default(),
        }
    }

    /// Bounds it. `Err`: it is larger by what the client says.
    pub(super) fn bound(&mut self, bytes_max: u64) -> Result<(), Gone> {
        self.bytes_max = bytes_max;
        if self.declared.is_some_and(|it| it > bytes_max) { Err(Gone::TooLarge) } else { Ok(()) }
    }

    /// Whether all that was read is still there to be sent again.
    pub(super) fn can_repeat(&self) -> bool {
        !self.is_too_large
    }

    /// Whether there is one.
    pub(super) fn has_body(&self) -> bool {
        self.has_body
    }

    /// All of it, if it was read to its end and kept.
    pub(super) fn whole(&self) -> Option<&[Bytes]> {
        (self.end.is_some() && !self.is_too_large).then_some(&self.kept)
    }

    /// Bytes that the client has sent, if it is the client who is waited for.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.is_awaited.then_some(self.read)
    }

    /// Whether the client has said how long it is.
    pub(super) fn is_measured(&self) -> bool {
        self.declared.is_some()
    }

    /// Reads up to so many bytes before anything is sent, in this time altogether. Whether that is all of the body.
    pub(super) async fn read_ahead(
        &mut self,
        downstream: &mut Downstream,
        bytes: usize,
        within: Duration,
    ) -> Result<bool, Gone> {
        let reading = self.take_ahead(downstream, bytes);
        timeout(within, reading).await.map_err(|_| Gone::Silent)?
    }

    async fn take_ahead(
        &mut self,
        downstream: &mut Downstream,
        bytes: usize,
    ) -> Result<bool, Gone> {
        // What was read has to go on, so that it is kept.
        self.keeps = self.keeps.max(bytes.saturating_add(limits::PIECE_BYTES_MAX));
        while !self.is_read() && self.kept_bytes <= bytes {
            let mut at = self.kept.len();
            let piece = self.next(downstream).await?;
            self.keep(&piece, &mut at);
        }
        Ok(self.is_read() && self.kept_bytes <= bytes)
    }

    /// The beginning of what was read ahead.
    pub(super) fn ahead(&self, bytes: usize) -> Bytes {
        let mut all = self.kept.concat();
        all.truncate(bytes);
        all.into()
    }

    /// The body of a new attempt, from its beginning.
    pub(super) fn begin(&self) -> (Pipe, RequestBody) {
        if !self.has_body {
            return (Pipe { sender: None, at: 0 }, RequestBody::none());
        }
        let (sender, body) = RequestBody::channel(self.declared);
        (Pipe { sender: Some(sender), at: 0 }, body)
    }

    /// Moves the next part. When there is none left, or the application wants no more, waits for the client to go; so
    /// it only ever ends in an error for long. May be dropped while it waits.
    pub(super) async fn step(
        &mut self,
        pipe: &mut Pipe,
        downstream: &mut Downstream,
    ) -> Result<(), Gone> {
        self.is_awaited = false;
        let Some(sender) = &pipe.sender else {
            return match self.is_read() {
                true => Err(downstream.gone().await),
                // Left in the client's hands: flow control stops it.
                false => std::future::pending().await,
            };
        };
        let Ok(permit) = sender.reserve().await else {
            // The application answered early. What it says about it, the response will.
            pipe.sender = None;
            return Ok(());
        };
        if let Some(kept) = self.kept.get(pipe.at) {
            pipe.at += 1;
            permit.send(Piece::Data(kept.clone()));
            return Ok(());
        }
        let piece = match &self.end {
            Some(trailers) => Piece::End(trailers.clone()),
            None => self.next(downstream).await?,
        };
        self.keep(&piece, &mut pipe.at);
        let is_end = matches!(piece, Piece::End(_));
        permit.send(piece);
        if is_end {
            pipe.sender = None;
        }
        Ok(())
    }

    async fn next(&mut self, downstream: &mut Downstream) -> Result<Piece, Gone> {
        if self.invites {
            downstream.invite_body().await?;
            self.invites = false;
        }
        self.is_awaited = true;
        let piece = downstream.read().await;
        self.is_awaited = false;
        let more = match &piece {
            Ok(Piece::Data(data)) => u64::try_from(data.len()).unwrap_or(u64::MAX),
            _ => 0,
        };
        if self.read.saturating_add(more) > self.bytes_max { Err(Gone::TooLarge) } else { piece }
    }

    fn is_read(&self) -> bool {
        !self.has_body || self.end.is_some()
    }

    fn keep(&mut self, piece: &Piece, at: &mut usize) {
        match piece {
            Piece::Data(data) => {
                self.read += u64::try_from(data.len()).unwrap_or(u64::MAX);
                self.messages.pass(data);
                self.kept_bytes += data.len();
                if self.is_too_large || self.kept_bytes > self.keeps {
                    self.is_too_large = true;
                    self.kept.clear();
                    *at = 0;
                } else {
                    self.kept.push(data.clone());
                    *at += 1;
                }
                // An HTTP/1.1 application that has its declared length asks for no more, the end included.
                if self.declared == Some(self.read) && self.end.is_none() {
                    self.end = Some(None);
                }
            }
            Piece::End(trailers) => self.end = Some(trailers.clone()),
        }
    }
}
