//! HTTP that answers from a function.

use crate::capability::EffectError;
use crate::capability::http::{HopPolicy, Http, Request, Response};
use async_trait::async_trait;
use std::fmt::{self, Debug};
use std::sync::Mutex;

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
