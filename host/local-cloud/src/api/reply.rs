//! Error answers of the REST API, in the observed formats of the platform.
//!
//! Not every error is JSON there: a malformed id or body gets plain text, a bad key the bare text of
//! the status.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::error::LocalError;

#[derive(Debug)]
pub(crate) enum ApiError {
    /// Text without a content type.
    Bare(StatusCode, String),
    /// `text/plain`.
    Text(StatusCode, String),
    /// `{"error": ..., "success": false}`.
    Json(StatusCode, String),
    /// What branching a VM answers: `{"vms": [], "error": ...}`.
    Branch(StatusCode, String),
}

impl ApiError {
    /// The answer to a delete of something that is not there or not yours.
    pub(crate) fn forbidden() -> ApiError {
        ApiError::Json(StatusCode::FORBIDDEN, "Forbidden".into())
    }

    /// The answer to a missing or wrong key.
    pub(crate) fn bad_key() -> ApiError {
        ApiError::Bare(StatusCode::FORBIDDEN, "403 Forbidden".into())
    }

    /// Turns an error into the shape that branching answers.
    pub(crate) fn for_branch(self) -> ApiError {
        match self {
            ApiError::Json(status, error) => ApiError::Branch(status, error),
            other => other,
        }
    }
}

impl From<LocalError> for ApiError {
    fn from(error: LocalError) -> ApiError {
        let (status, text) = match &error {
            LocalError::NoSuchVm(_) => (StatusCode::NOT_FOUND, "not found".into()),
            LocalError::NoSuchCommit(_) => (StatusCode::NOT_FOUND, "commit not found".into()),
            LocalError::CommitExists(_) | LocalError::CommitInUse { .. } => {
                (StatusCode::CONFLICT, error.to_string())
            }
            _ => {
                tracing::error!(%error, "a request to the local cloud failed");
                (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        };
        ApiError::Json(status, text)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            ApiError::Bare(status, text) => {
                let mut response = Response::new(Body::from(text));
                *response.status_mut() = status;
                response
            }
            ApiError::Text(status, text) => (status, text).into_response(),
            ApiError::Json(status, error) => (
                status,
                axum::Json(json!({"error": error, "success": false})),
            )
                .into_response(),
            ApiError::Branch(status, error) => {
                (status, axum::Json(json!({"vms": [], "error": error}))).into_response()
            }
        }
    }
}

/// Reads an id from a path.
pub(crate) fn path_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|error| {
        let text = format!("Invalid URL: UUID parsing failed: {error}");
        ApiError::Bare(StatusCode::BAD_REQUEST, text)
    })
}

/// Reads a JSON body: 400 when it is not JSON, 422 when the values do not fit.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            let text = format!("Failed to deserialize the JSON body into the target type: {error}");
            ApiError::Text(StatusCode::UNPROCESSABLE_ENTITY, text)
        } else {
            not_json(&error)
        }
    })
}

/// Like [`body`], where no body at all means the default.
pub(crate) fn optional_body<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    body(bytes)
}

/// The answer to a body that cannot be understood.
pub(crate) fn not_json(reason: &dyn std::fmt::Display) -> ApiError {
    let text = format!("Failed to parse the request body as JSON: {reason}");
    ApiError::Text(StatusCode::BAD_REQUEST, text)
}
