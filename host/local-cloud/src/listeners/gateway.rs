//! The gateway: TLS with the VM chosen by SNI, then SSH or any other protocol.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::core::Core;
use crate::listeners::peek::{Replay, Speaks, peek, vm_of_host};
use crate::listeners::router;
use crate::ssh::server;
use crate::vm::Vm;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A client that is silent for so long waits for the greeting of an SSH server.
const SILENCE: Duration = Duration::from_millis(500);

pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    core: Arc<Core>,
    stop: watch::Receiver<bool>,
) {
    accept_all(listener, stop.clone(), |tcp| {
        let (acceptor, core, stop) = (acceptor.clone(), Arc::clone(&core), stop.clone());
        async move {
            let (vm, mut stream) = match handshake(&acceptor, &core, tcp).await? {
                (Some(vm), stream) => (vm, stream),
                (None, _) => return Err(io::Error::other("no such VM")),
            };
            let (speaks, bytes) = peek(&mut stream, SILENCE).await?;
            let stream = Replay::new(bytes, stream, cut_off(&vm, stop));
            match speaks {
                Speaks::Ssh if core.is_running(vm.id) => server::serve(core, vm, stream).await,
                Speaks::Ssh => Err(io::Error::other("the VM is not running")),
                Speaks::Other => router::pass_on(&core, &vm, stream).await,
            }
        }
    })
    .await;
}

/// Serves each connection on its own task until told to stop; then ends them all.
pub(crate) async fn accept_all<F>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let connection = serve(tcp);
                    connections.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection to the local cloud ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the local cloud could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Waits until the watch turns true or its owner is gone.
pub(crate) async fn told(watch: &mut watch::Receiver<bool>) {
    // An error means that the owner was dropped.
    let _ = watch.wait_for(|told| *told).await;
}

/// Waits until a VM becomes unreachable, or the cloud stops.
pub(crate) fn cut_off(
    vm: &Vm,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    let mut gone = vm.cut.subscribe();
    async move {
        tokio::select! {
            () = told(&mut gone) => {}
            () = told(&mut stop) => {}
        }
    }
}

/// Does the TLS handshake and finds the VM that the client asked for.
pub(crate) async fn handshake(
    acceptor: &TlsAcceptor,
    core: &Core,
    tcp: TcpStream,
) -> io::Result<(Option<Arc<Vm>>, TlsStream<TcpStream>)> {
    tcp.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await??;
    let vm = stream
        .get_ref()
        .1
        .server_name()
        .and_then(vm_of_host)
        .and_then(|id| core.vm(id).ok());
    Ok((vm, stream))
}
