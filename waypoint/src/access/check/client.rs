//! Connections to checkers, kept between checks.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::grpc::Call;
use super::{CheckError, CheckOutcome, CheckedRequest, Checker, Protocol, Target, grpc, http1};
use crate::limits::access as limits;

/// How a checker is reached: as any service of the mesh is.
pub trait Dial: Send + Sync {
    /// An open stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// A new stream to one endpoint of `target`. Runs under the check's deadline.
    fn dial(&self, target: &Target) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

pub(super) type GrpcSender = h2::client::SendRequest<Bytes>;
pub(super) type HttpSender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// Asks checkers. One for a process.
#[derive(Debug)]
pub struct CheckClient<D> {
    dial: D,
    kept: Mutex<HashMap<Target, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    grpc: Option<GrpcSender>,
    /// Idle ones, the most recently used last.
    http: Vec<HttpSender>,
}

impl<D: Dial> CheckClient<D> {
    /// Reaches checkers by `dial`.
    pub fn new(dial: D) -> Self {
        Self { dial, kept: Mutex::default() }
    }

    /// Asks `checker` about a request, within its deadline.
    pub async fn check(&self, checker: &Checker, request: &CheckedRequest<'_>) -> CheckOutcome {
        let exchange = async {
            match &checker.protocol {
                Protocol::Grpc => self.check_grpc(checker, request).await,
                Protocol::Http(rules) => {
                    let question = http1::question(checker, rules, request)?;
                    let answer = self.ask_http(checker, question).await?;
                    http1::outcome(rules, answer)
                }
            }
        };
        let outcome = tokio::time::timeout(checker.timeout, Box::pin(exchange)).await;
        match outcome.unwrap_or(Err(CheckError::Timeout(checker.timeout))) {
            Ok(outcome) => outcome,
            Err(error) => checker.failed(error),
        }
    }

    /// Connections to services that aren't checkers any more go.
    pub fn retain(&self, is_used: impl Fn(&Target) -> bool) {
        self.kept.lock().retain(|target, _| is_used(target));
    }

    async fn check_grpc(
        &self,
        checker: &Checker,
        request: &CheckedRequest<'_>,
    ) -> Result<CheckOutcome, CheckError> {
        let call = Call { target: &checker.target, path: grpc::PATH, timeout: checker.timeout };
        grpc::outcome(&self.exchange(call, grpc::question(checker, request)).await?)
    }

    /// Another question over gRPC, within that time: a message without its prefix for one with it.
    pub(crate) async fn call(
        &self,
        target: &Target,
        path: &'static str,
        timeout: Duration,
        question: Bytes,
    ) -> Result<Bytes, CheckError> {
        let exchange = self.exchange(Call { target, path, timeout }, question);
        let outcome = tokio::time::timeout(timeout, Box::pin(exchange)).await;
        outcome.unwrap_or(Err(CheckError::Timeout(timeout)))
    }

    /// A kept connection may end at any moment, which is no answer: then the question, which changes nothing but counts, is
    /// put once more on a new one.
    async fn exchange(&self, call: Call<'_>, question: Bytes) -> Result<Bytes, CheckError> {
        let kept = self.kept.lock().get(call.target).and_then(|kept| kept.grpc.clone());
        if let Some(sender) = kept {
            match grpc::ask(sender, question.clone(), call).await {
                Err(CheckError::Exchange(_)) => self.forget_grpc(call.target),
                outcome => return outcome,
            }
        }
        let sender = grpc::connect(self.dialled(call.target).await?).await?;
        self.kept.lock().entry(call.target.clone()).or_default().grpc = Some(sender.clone());
        let outcome = grpc::ask(sender, question, call).await;
        if matches!(outcome, Err(CheckError::Exchange(_))) {
            self.forget_grpc(call.target);
        }
        outcome
    }

    /// As [`Self::exchange`].
    async fn ask_http(
        &self,
        checker: &Checker,
        question: http::Request<Full<Bytes>>,
    ) -> Result<http1::Answer, CheckError> {
        if let Some(sender) = self.idle(&checker.target) {
            match http1::ask(sender, question.clone()).await {
                Err(CheckError::Exchange(_)) => {}
                outcome => return outcome.map(|answered| self.keep(checker, answered)),
            }
        }
        let sender = http1::connect(self.dialled(&checker.target).await?).await?;
        http1::ask(sender, question).await.map(|answered| self.keep(checker, answered))
    }

    fn forget_grpc(&self, target: &Target) {
        if let Some(kept) = self.kept.lock().get_mut(target) {
            kept.grpc = None;
        }
    }

    /// Keeps the connection, if it can be used again.
    fn keep(
        &self,
        checker: &Checker,
        (answer, sender): (http1::Answer, Option<HttpSender>),
    ) -> http1::Answer {
        if let Some(sender) = sender {
            self.keep_http(&checker.target, sender);
        }
        answer
    }

    async fn dialled(&self, target: &Target) -> Result<D::Stream, CheckError> {
        let stream = self.dial.dial(target).await;
        stream.map_err(|error| CheckError::Connect(error.to_string()))
    }

    fn idle(&self, target: &Target) -> Option<HttpSender> {
        self.kept.lock().get_mut(target)?.http.pop()
    }

    fn keep_http(&self, target: &Target, sender: HttpSender) {
        let mut kept = self.kept.lock();
        let idle = &mut kept.entry(target.clone()).or_default().http;
        if idle.len() < limits::CHECK_IDLE_MAX {
            idle.push(sender);
        }
    }
}
