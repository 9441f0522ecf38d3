//! What a job needs of a connection: channels, opened one at a time.
//!
//! Jobs run exactly once over any implementation of [`Transport`]. The one of a
//! run is russh (`connection/`); tests have one of local processes.

mod endpoint;

pub(crate) use endpoint::Endpoint;

use async_trait::async_trait;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::ssh::{Command, Output, Stream};

/// Opens channels to the target.
#[async_trait]
pub(crate) trait Transport: Send + Sync {
    /// Where the target is now; it moves with a restore.
    fn endpoint(&self) -> Result<Endpoint, EffectError>;

    /// Whether the target has answered once: an outage is waited out only then.
    fn was_reached(&self) -> bool;

    /// Opens a channel, in one attempt. Nothing runs on it yet.
    async fn open_channel(&self, endpoint: &Endpoint) -> Result<Channel, OpenError>;

    /// Runs a command that is safe to repeat.
    async fn probe(&self, command: &Command) -> Result<Output, EffectError>;
}

/// An open channel. Its halves are used at the same time.
pub(crate) struct Channel {
    pub(crate) link: Box<dyn Link>,
    pub(crate) reader: Box<dyn ChannelReader>,
    pub(crate) writer: Box<dyn ChannelWriter>,
}

/// The connection below a channel.
pub(crate) trait Link: Send + Sync {
    /// The target has just answered.
    fn mark_active(&self);

    /// The connection is dead: the next channel needs a new one.
    fn mark_dead(&self);

    /// Another channel will be wanted soon.
    fn open_ahead(&self);
}

/// What comes from the target.
#[async_trait]
pub(crate) trait ChannelReader: Send {
    /// The next event; `None` when the connection is lost. Dropping the future
    /// loses no event.
    async fn next(&mut self) -> Option<ChannelEvent>;
}

/// What goes to the target.
#[async_trait]
pub(crate) trait ChannelWriter: Send + Sync {
    /// Asks the login shell to run `line`.
    async fn exec(&self, line: &str) -> Result<(), Disconnected>;

    /// Sends standard input.
    async fn send(&self, bytes: &[u8]) -> Result<(), Disconnected>;

    /// Closes the channel; what runs on it gets a hang-up.
    async fn close(&self);
}

/// One event of a channel.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    Output(Stream, Vec<u8>),
    ExitStatus(u32),
    /// The server runs no commands.
    Refused,
    Closed,
    /// Of no interest to a job.
    Other,
}

/// The connection was lost.
#[derive(Debug)]
pub(crate) struct Disconnected;

/// Why no channel was opened. Nothing was run.
pub(crate) struct OpenError {
    pub(crate) error: EffectError,
    /// Whether a retry cannot help.
    pub(crate) is_final: bool,
}
