//! Exec and attach over SPDY/3.1: the client opens a stream for each of stdin, stdout, stderr, the terminal's size and
//! the end, and names it in its headers.
//!
//! The client says first which streams there are; the process begins when all that the request asks for have come.
//! Each frame is taken when what came before was: a client is read no faster than the process reads its stdin.
//!
//! Never here: frames ([`super::spdy`]), and what goes on in a session ([`super::remote`]).

use super::channels::{Channel, End, Said, size, text_of};
use super::remote::{Hear, Say};
use super::spdy::{DATA_MOST, Decoder, Encoder, Frame, Reset, Side};
use super::spdy_headers::Headers;
use super::websocket::Carrier;
use bytes::{Bytes, BytesMut};
use skiff_base::World;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;

/// The protocols, best first.
pub const PROTOCOLS: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// So long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// How long a client may take to end its side.
const GOODBYE: Duration = Duration::from_secs(10);
/// A message of a new size of the terminal is not longer; several may come in one frame.
const SIZE_MOST: usize = 1024;
/// Streams of one session, be they of use or not.
const STREAMS_MOST: usize = 16;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum StreamType {
    Stdin,
    Stdout,
    Stderr,
    Error,
    Resize,
}

impl StreamType {
    fn of(headers: &Headers) -> Option<StreamType> {
        let (_, type_) = headers.iter().find(|(name, _)| name == "streamtype")?;
        Some(match &**type_ {
            "stdin" => StreamType::Stdin,
            "stdout" => StreamType::Stdout,
            "stderr" => StreamType::Stderr,
            "error" => StreamType::Error,
            "resize" => StreamType::Resize,
            _ => return None,
        })
    }
}

/// Which streams a client is to open.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub terminal: bool,
}

impl Expected {
    fn sorts(self, protocol: &str) -> Vec<StreamType> {
        // Sizes came with version 3.
        let resizes = self.terminal && !["v2.channel.k8s.io", "channel.k8s.io"].contains(&protocol);
        let asked = [
            (true, StreamType::Error),
            (self.stdin, StreamType::Stdin),
            (self.stdout, StreamType::Stdout),
            (self.stderr, StreamType::Stderr),
            (resizes, StreamType::Resize),
        ];
        asked.into_iter().filter(|(wanted, _)| *wanted).map(|(_, type_)| type_).collect()
    }
}

type Way<S> = Arc<Mutex<(WriteHalf<S>, Encoder)>>;

/// The way to the client.
pub struct Speaker<S> {
    way: Way<S>,
    streams: HashMap<StreamType, u32>,
    /// The end is told as a Status; as a text before version 4.
    tells_status: bool,
}

/// What the client says.
pub struct Listener<S> {
    from: ReadHalf<S>,
    way: Way<S>,
    decoder: Decoder,
    streams: HashMap<u32, StreamType>,
    /// Of a message of the terminal's size so far.
    size: BytesMut,
    waiting: VecDeque<Said>,
}

/// Waits for the streams of a session; `None` when they do not come.
pub async fn open<S: Carrier>(
    carrier: S,
    protocol: &str,
    expected: Expected,
    world: &World,
) -> Option<(Speaker<S>, Listener<S>)> {
    let (from, to) = tokio::io::split(carrier);
    let way: Way<S> = Arc::new(Mutex::new((to, Encoder::new())));
    let (streams, size, waiting) = Default::default();
    let (decoder, back) = (Decoder::new(), way.clone());
    let mut listener = Listener { from, way: back, decoder, streams, size, waiting };
    let expected = expected.sorts(protocol);
    let opening = async {
        while !expected.iter().all(|type_| listener.streams.values().any(|it| it == type_)) {
            let frame = listener.frame().await.ok().flatten()?;
            if let Some(said) = listener.take(frame).await.ok()? {
                listener.waiting.push_back(said);
            }
        }
        Some(())
    };
    if world.within(OPENING, opening).await.flatten().is_none() {
        tracing::debug!("a client opened not all the streams that it asked for");
        return None;
    }
    let streams = listener.streams.iter().map(|(stream, type_)| (*type_, *stream)).collect();
    let tells_status = protocol == PROTOCOLS[0];
    Some((Speaker { way, streams, tells_status }, listener))
}

async fn send<S: Carrier>(way: &Way<S>, frame: Frame) -> io::Result<()> {
    let mut way = way.lock().await;
    let bytes = way.1.write(&frame);
    way.0.write_all(&bytes).await?;
    way.0.flush().await
}

impl<S: Carrier> Say for Speaker<S> {
    async fn say(&mut self, channel: Channel, bytes: &Bytes) -> io::Result<()> {
        let type_ = match channel {
            Channel::Stdout => StreamType::Stdout,
            Channel::Stderr => StreamType::Stderr,
            Channel::Error => StreamType::Error,
        };
        let Some(stream) = self.streams.get(&type_).copied() else { return Ok(()) };
        for piece in bytes.chunks(DATA_MOST) {
            let bytes = bytes.slice_ref(piece);
            send(&self.way, Frame::Data { stream, bytes, side: Side::Open }).await?;
        }
        Ok(())
    }
}

impl<S: Carrier> Speaker<S> {
    /// Tells how it ended, ends all streams, and lets go of the connection when the client has.
    pub async fn close(mut self, end: &End, mut listener: Listener<S>, world: &World) {
        let goodbye = async {
            if let Some(text) = text_of(end, self.tells_status) {
                self.say(Channel::Error, &text.into()).await?;
            }
            for stream in self.streams.values() {
                let frame = Frame::Data { stream: *stream, bytes: Bytes::new(), side: Side::Ends };
                send(&self.way, frame).await?;
            }
            send(&self.way, Frame::GoAway).await?;
            while listener.frame().await?.is_some_and(|frame| frame != Frame::GoAway) {}
            self.way.lock().await.0.shutdown().await
        };
        if let Some(Err(error)) = world.within(GOODBYE, goodbye).await {
            tracing::debug!(%error, "a client was gone before its streams");
        }
    }
}

impl<S: Carrier> Hear for Listener<S> {
    async fn hear(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.waiting.pop_front() {
                return Some(said);
            }
            let heard = match self.frame().await {
                Ok(None | Some(Frame::GoAway)) => return None,
                Ok(Some(frame)) => self.take(frame).await,
                Err(error) => Err(error),
            };
            match heard {
                Ok(said) => self.waiting.extend(said),
                Err(error) => {
                    tracing::debug!(%error, "a session over SPDY broke off");
                    return None;
                }
            }
        }
    }
}

impl<S: Carrier> Listener<S> {
    /// The next frame; `None` when the client is gone.
    async fn frame(&mut self) -> io::Result<Option<Frame>> {
        let mut buffer = [0; 8 * 1024];
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.from.read(&mut buffer).await? {
                0 => return Ok(None),
                count => self.decoder.feed(&buffer[..count]),
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<Option<Said>> {
        match frame {
            Frame::Open { stream, headers, .. } => {
                let free = self.streams.len() < STREAMS_MOST && !self.streams.contains_key(&stream);
                let type_ = StreamType::of(&headers)
                    .filter(|type_| free && !self.streams.values().any(|it| it == type_));
                let answer = match type_ {
                    Some(type_) => {
                        self.streams.insert(stream, type_);
                        Frame::Accept { stream }
                    }
                    None => Frame::Reset { stream, code: Reset::Refused as u32 },
                };
                send(&self.way, answer).await?;
            }
            Frame::Ping(id) => send(&self.way, Frame::Ping(id)).await?,
            Frame::Data { stream, bytes, side } => {
                match self.streams.get(&stream) {
                    Some(StreamType::Stdin) => {
                        if !bytes.is_empty() {
                            self.waiting.push_back(Said::Stdin(bytes));
                        }
                        return Ok((side == Side::Ends).then_some(Said::StdinEnds));
                    }
                    Some(StreamType::Resize) => return Ok(self.resized(&bytes)),
                    // A client says nothing on the others.
                    _ => {}
                }
            }
            Frame::Reset { stream, .. } => {
                if self.streams.get(&stream) == Some(&StreamType::Stdin) {
                    return Ok(Some(Said::StdinEnds));
                }
            }
            Frame::Accept { .. } | Frame::GoAway => {}
        }
        Ok(None)
    }

    /// The last of the sizes that have come whole.
    fn resized(&mut self, bytes: &Bytes) -> Option<Said> {
        self.size.extend_from_slice(bytes);
        let mut last = None;
        while let Some(end) = self.size.iter().position(|byte| *byte == b'}') {
            last = size(&self.size.split_to(end + 1));
        }
        if self.size.len() > SIZE_MOST {
            self.size.clear();
        }
        last.map(Said::Resize)
    }
}

#[cfg(test)]
mod tests;
