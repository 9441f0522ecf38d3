//! A wire to an SSH server that can be cut.

use crate::outcome::Ran;
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes connections on to the server until they are cut.
#[derive(Debug)]
pub struct Wire {
    /// Where it is reached: `HOST:PORT`.
    pub address: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// A wire to `HOST:PORT`. It lasts as long as the test binary.
    pub fn to(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (server, kept) = (server.to_owned(), open.clone());
        thread::spawn(move || {
            for outside in listener.incoming().flatten() {
                if let Err(error) = connect(outside, &server, &kept) {
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

    /// Runs a deploy with `--json` over this wire and cuts it twice in each
    /// command of npm: when it begins, and when it prints its first line. What
    /// came of it, and how many connections were cut.
    pub fn cut_in_each_build(&self, deploy: &mut Command) -> Result<(Ran, usize)> {
        let mut child = deploy
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (mut text, mut cut, mut silent) = (String::new(), 0, false);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            let word = |key: &str| event.get(key).and_then(|v| v.as_str()).unwrap_or_default();
            match word("type") {
                "call-started" => {
                    silent = word("action").starts_with("ssh npm ");
                    if silent {
                        cut += self.cut();
                    }
                }
                "output" if silent => {
                    silent = false;
                    cut += self.cut();
                }
                _ => {}
            }
            text.push_str(&line);
            text.push('\n');
        }
        let ran = Ran {
            code: child.wait()?.code().unwrap_or(-1),
            stdout: text,
            stderr: String::new(),
        };
        Ok((ran, cut))
    }
}

fn connect(outside: TcpStream, server: &str, open: &Mutex<Vec<TcpStream>>) -> Result<()> {
    let inside = TcpStream::connect(server)?;
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
