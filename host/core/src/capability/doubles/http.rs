//! HTTP that answers from a function, or not at all.

use crate::capability::http::{HopPolicy, Http, Request, Response};
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Mutex;

/// Refuses every request.
#[derive(Debug, Default)]
pub struct DenyHttp;

#[async_trait]
impl Http for DenyHttp {
    async fn send(&self, request: &Request, _: &dyn HopPolicy) -> Result<Response, EffectError> {
        Err(EffectError::new(
            ErrorKind::Denied,
            codes::HTTP_DENIED,
            format!(
                "{} {} is refused: there is no HTTP here",
                request.method, request.url
            ),
        ))
    }
}

type Answer = dyn Fn(&Request) -> Result<Response, EffectError> + Send + Sync;

/// Answers from a function and keeps what was asked. The policy is asked as
/// the real one would be; redirects are not followed.
pub struct RecordingHttp {
    answer: Box<Answer>,
    requests: Mutex<Vec<Request>>,
}

impl RecordingHttp {
    /// `answer` is called for each allowed request.
    pub fn new(
        answer: impl Fn(&Request) -> Result<Response, EffectError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            requests: Mutex::default(),
        }
    }

    /// Answers in this order, then with `http.closed`.
    pub fn queue(answers: impl IntoIterator<Item = Result<Response, EffectError>>) -> Self {
        let answers: Mutex<VecDeque<_>> = Mutex::new(answers.into_iter().collect());
        Self::new(move |request| {
            let mut answers = answers.lock().unwrap_or_else(|e| e.into_inner());
            answers.pop_front().unwrap_or_else(|| {
                Err(EffectError::new(
                    ErrorKind::Unavailable,
                    codes::HTTP_CLOSED,
                    format!(
                        "no recorded answer is left for {} {}",
                        request.method, request.url
                    ),
                ))
            })
        })
    }

    /// What was asked, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }
}

impl Debug for RecordingHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingHttp").finish_non_exhaustive()
    }
}

#[async_trait]
impl Http for RecordingHttp {
    async fn send(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
    ) -> Result<Response, EffectError> {
        policy.allows(&request.method, &request.url)?;
        self.requests
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(request.clone());
        (self.answer)(request)
    }
}
