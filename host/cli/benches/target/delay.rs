//! A proxy that delays what passes, each byte by the same time, and neither
//! limits how much is under way nor joins or splits anything: each piece that
//! was read is written, in order, when its time has come.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Listens and passes on to `to`, `each_way` later. The connection itself is
/// made at once.
pub fn start(to: SocketAddr, each_way: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for outside in listener.incoming().flatten() {
            // A connection that fails is closed, which its client sees.
            let _ = pass(outside, to, each_way);
        }
    });
    Ok(address)
}

fn pass(outside: TcpStream, to: SocketAddr, each_way: Duration) -> Result<()> {
    let inside = TcpStream::connect(to)?;
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    one_way(outside.try_clone()?, inside.try_clone()?, each_way);
    one_way(inside, outside, each_way);
    Ok(())
}

fn one_way(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let piece = buffer.get(..read).unwrap_or_default().to_vec();
            if sender.send((Instant::now() + delay, piece)).is_err() || read == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if piece.is_empty() || to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
