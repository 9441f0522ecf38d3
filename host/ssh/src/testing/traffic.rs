//! Counts the traffic between a client and a server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Counts of all connections together.
#[derive(Default)]
pub struct Traffic {
    sent: AtomicUsize,
    turns: AtomicUsize,
    clients_turn: AtomicBool,
}

impl Traffic {
    /// Bytes that clients sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How often a client began to speak after the server had spoken: round
    /// trips, where each question waits for its answer.
    pub fn turns(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }

    /// Both ways until one side ends.
    pub(super) async fn pass_on(&self, outside: TlsStream<TcpStream>, inside: TcpStream) {
        let (mut from_outside, mut to_outside) = tokio::io::split(outside);
        let (mut from_inside, mut to_inside) = tokio::io::split(inside);
        let inwards = async {
            let mut bytes = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = from_outside.read(&mut bytes).await {
                self.sent.fetch_add(count, Ordering::SeqCst);
                if !self.clients_turn.swap(true, Ordering::SeqCst) {
                    self.turns.fetch_add(1, Ordering::SeqCst);
                }
                if to_inside.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
        };
        let outwards = async {
            let mut bytes = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = from_inside.read(&mut bytes).await {
                self.clients_turn.store(false, Ordering::SeqCst);
                let bytes = &bytes[..count];
                // TLS keeps a part back until it is flushed.
                if to_outside.write_all(bytes).await.is_err() || to_outside.flush().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = inwards => {}
            () = outwards => {}
        }
    }
}
