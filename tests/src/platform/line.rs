//! A line to a port of this machine's loopback that can be bad: connections on
//! it are cut, die without a word, get no answer, or are slow. Knows bytes and
//! connections, and nothing of what is spoken.

use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The largest piece that is passed on at once.
const PIECE: usize = 16 * 1024;

/// How well a line passes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pace {
    /// At once.
    #[default]
    Good,
    /// Each piece is held back for 200 to 500 ms.
    Slow,
    /// One byte at a time, each as a piece of its own.
    Bytewise,
}

/// What holds for the whole line.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    pace: Pace,
    /// Nothing passes, on old connections and new ones; nobody is told.
    hole: bool,
    /// Connections with a smaller number are dead, and nobody is told.
    first_alive: u64,
    /// Connections with a smaller number are cut.
    first_whole: u64,
    /// The next number.
    next: u64,
    /// Those with a smaller number are broken when something comes back.
    at_output: Option<(Break, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Break {
    Cut,
    Silent,
}

impl State {
    fn strike(&mut self, how: Break, below: u64) {
        self.at_output = None;
        match how {
            Break::Cut => self.first_whole = self.first_whole.max(below),
            Break::Silent => self.first_alive = self.first_alive.max(below),
        }
    }
}

/// The line; it lasts as long as its runtime.
#[derive(Debug)]
pub struct Line {
    /// Its own port on the loopback.
    pub port: u16,
    state: watch::Sender<State>,
}

impl Line {
    /// A line that leads to this port.
    pub fn to(runtime: &Handle, port: u16) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let own = listener.local_addr()?.port();
        let state = watch::Sender::new(State::default());
        let kept = state.clone();
        runtime.spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let mut number = 0;
                kept.send_modify(|state| {
                    number = state.next;
                    state.next += 1;
                });
                let state = kept.clone();
                tokio::spawn(async move {
                    let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    if let Ok(inside) = TcpStream::connect(inner).await {
                        carry(outside, inside, number, state).await;
                    }
                });
            }
        });
        Ok(Self { port: own, state })
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.state.borrow().next
    }

    /// How well it passes on from now on.
    pub fn set_pace(&self, pace: Pace) {
        self.state.send_modify(|state| state.pace = pace);
    }

    /// Cuts every connection: both ends are told (RST). New ones are good.
    pub fn cut(&self) {
        self.state
            .send_modify(|state| state.strike(Break::Cut, state.next));
    }

    /// Breaks every connection as soon as something comes back on one, which
    /// does not pass any more: silently, or by cutting it.
    pub fn break_at_output(&self, silent: bool) {
        let how = match silent {
            true => Break::Silent,
            false => Break::Cut,
        };
        self.state
            .send_modify(|state| state.at_output = Some((how, state.next)));
    }

    /// Every connection is dead for good, and neither end is told. New ones
    /// are good.
    pub fn kill_silently(&self) {
        self.state
            .send_modify(|state| state.strike(Break::Silent, state.next));
    }

    /// Nothing passes until [`Line::heal`], on old connections and new ones, and
    /// nobody is told.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| state.hole = true);
    }

    /// What was held back passes now, as what is sent again and again does.
    pub fn heal(&self) {
        self.state.send_modify(|state| state.hole = false);
    }
}

/// Both directions of a connection, until an end closes it or it is cut.
async fn carry(
    mut outside: TcpStream,
    mut inside: TcpStream,
    number: u64,
    state: watch::Sender<State>,
) {
    let (tell, mut cut) = (&state, state.subscribe());
    for stream in [&outside, &inside] {
        drop(stream.set_nodelay(true));
    }
    let was_cut = {
        let (from_host, to_host) = outside.split();
        let (from_target, to_target) = inside.split();
        tokio::select! {
            biased;
            _ = cut.wait_for(|state| number < state.first_whole) => true,
            () = async {
                tokio::join!(
                    pass(from_host, to_target, number, tell, false),
                    pass(from_target, to_host, number, tell, true),
                );
            } => false,
        }
    };
    if was_cut {
        for stream in [&outside, &inside] {
            drop(stream.set_zero_linger());
        }
    }
}

async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    number: u64,
    state: &watch::Sender<State>,
    back: bool,
) {
    let mut now = state.subscribe();
    let mut buffer = vec![0; PIECE];
    let mut pieces: u64 = 0;
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let piece = buffer.get(..read).unwrap_or_default();
        pieces += 1;
        if back && !piece.is_empty() {
            state.send_if_modified(|state| match state.at_output {
                Some((how, below)) if number < below => {
                    state.strike(how, below);
                    true
                }
                _ => false,
            });
        }
        let passes = |state: &State| !state.hole && number >= state.first_alive;
        let Ok(pace) = now.wait_for(passes).await.map(|state| state.pace) else {
            return;
        };
        let size = match pace {
            Pace::Bytewise => 1,
            Pace::Good | Pace::Slow => PIECE,
        };
        if pace == Pace::Slow {
            // Not the same each time, so that what is sent together is not
            // always received together.
            let more = pieces.wrapping_mul(97) % 301;
            tokio::time::sleep(Duration::from_millis(200 + more)).await;
        }
        for part in piece.chunks(size) {
            if to.write_all(part).await.is_err() {
                return;
            }
            if pace == Pace::Bytewise {
                tokio::task::yield_now().await;
            }
        }
        if piece.is_empty() {
            drop(to.shutdown().await);
            return;
        }
    }
}
