//! A wire to the cloud's SSH gateway that can be cut.

use anyhow::Result;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes connections on to the gateway until they are cut.
#[derive(Debug)]
pub struct Wire {
    /// Where it is reached: `HOST:PORT`.
    pub address: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// A wire to `gateway`. It lasts as long as the test binary.
    pub fn to(gateway: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (gateway, kept) = (gateway.to_owned(), open.clone());
        thread::spawn(move || {
            for outside in listener.incoming().flatten() {
                if let Err(error) = connect(outside, &gateway, &kept) {
                    eprintln!("the wire: {error:#}");
                }
            }
        });
        Ok(Self { address, open })
    }

    /// Cuts every connection; says how many there were.
    pub fn cut(&self) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = |stream: &TcpStream| stream.shutdown(Shutdown::Both).is_ok();
        open.drain(..).filter(cut).count()
    }
}

fn connect(outside: TcpStream, gateway: &str, open: &Mutex<Vec<TcpStream>>) -> Result<()> {
    let inside = TcpStream::connect(gateway)?;
    for stream in [&outside, &inside] {
        stream.set_nodelay(true)?;
    }
    let ways = [
        (outside.try_clone()?, inside.try_clone()?),
        (inside, outside.try_clone()?),
    ];
    open.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(outside);
    for (mut from, mut to) in ways {
        thread::spawn(move || {
            // Either side may go away at any time.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
