//! The API's server: HTTPS on this machine's loopback, keys, and the faults
//! that are set for an account.

use super::calls::{Asked, answer};
use super::cloud::Cloud;
use super::fault::How;
use super::reply::Reply;
use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

/// Serves the API; the port.
pub fn open(runtime: &Handle, cloud: Arc<Cloud>, tls: Arc<ServerConfig>) -> Result<u16> {
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let acceptor = TlsAcceptor::from(tls);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, cloud) = (acceptor.clone(), cloud.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| serve(cloud.clone(), request));
                // An error is a connection that a fault cuts off.
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(served);
            });
        }
    });
    Ok(port)
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("dropped by a fault")]
struct Dropped;

async fn serve(
    cloud: Arc<Cloud>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    match read(&cloud, request).await {
        Ok(asked) => perform(cloud, asked).await.map(Reply::into_response),
        Err(refusal) => Ok(refusal.into_response()),
    }
}

/// What is asked, by whom.
async fn read(cloud: &Cloud, request: Request<Incoming>) -> Result<Asked, Reply> {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return Err(Reply::text(200, "ok", true));
    }
    let Some(path) = path.strip_prefix("/api/v1/") else {
        return Err(Reply::empty(404));
    };
    let header = request.headers().get(AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.strip_prefix("Bearer "));
    let key = key.unwrap_or_default().to_owned();
    let owner = cloud
        .state()
        .accounts
        .get(&key)
        .map(|account| account.owner);
    // As it was observed: text, and no word on its type.
    let owner = owner.ok_or_else(|| Reply::text(403, "403 Forbidden", false))?;
    let query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    let method = request.method().to_string();
    let path = path.split('/').map(str::to_owned).collect();
    let body = request.into_body().collect().await;
    let body = body.map_err(|_| Reply::empty(400))?.to_bytes();
    Ok(Asked {
        method,
        path,
        query,
        body: String::from_utf8_lossy(&body).into_owned(),
        key,
        owner,
    })
}

async fn perform(cloud: Arc<Cloud>, asked: Asked) -> Result<Reply, Dropped> {
    let (fault, anew) = {
        let mut state = cloud.state();
        let account = state.accounts.get_mut(&asked.key);
        account.map_or((None, None), |account| {
            let call = asked.call();
            let met = account.faults.meet(call, &asked.path.join("/"));
            account.calls.push((call, met));
            (met, Some(account.faults.anew()))
        })
    };
    match fault {
        Some(How::Status(status)) => return Ok(Reply::page(status)),
        Some(How::TooMany(seconds)) => return Ok(Reply::too_many(seconds)),
        Some(How::DroppedBefore) => return Err(Dropped),
        // Until the client goes away.
        Some(How::Unanswered) => return std::future::pending().await,
        _ => {}
    }
    // Done to the end even when the client goes away meanwhile.
    let done = tokio::task::spawn_blocking(move || answer(&cloud, &asked)).await;
    let reply = done.unwrap_or_else(|_| Reply::error(500, "the call panicked"));
    match fault {
        Some(How::Slow(time)) => tokio::time::sleep(time).await,
        Some(How::DroppedAfter) => return Err(Dropped),
        Some(How::UnansweredAfter) => return std::future::pending().await,
        Some(How::StatusAfter(status)) => return Ok(Reply::page(status)),
        Some(How::Held | How::HeldThenDropped) => {
            if let Some(mut anew) = anew {
                // An error is an account that was closed.
                drop(anew.changed().await);
            }
            if fault == Some(How::HeldThenDropped) {
                return Err(Dropped);
            }
        }
        _ => {}
    }
    Ok(reply)
}
