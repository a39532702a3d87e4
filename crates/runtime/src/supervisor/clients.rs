//! Those who are connected: the daemon, and whoever looks in beside it.
//!
//! Requests come in frames and are answered in any order; events go to all. A client that does not
//! read is dropped, so that nobody waits for it. Never here: what a request means.

use super::{Source, Supervisor, note};
use crate::status::Event;
use crate::sys::{poll, socket};
use crate::wire::{self, Answer, Failure, Request, Say};
use crate::{Error, Result, failed};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Bytes that may wait for a client: several times the largest list.
const MAX_QUEUE: usize = wire::MAX_BODY;
/// Connections at once: the daemon, and a few that look in beside it.
const MAX_CLIENTS: usize = 64;

/// One connection.
pub(super) struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    output: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    queued: usize,
}

/// Where an answer belongs that cannot be given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyTo {
    client: u64,
    seq: u64,
}

impl ReplyTo {
    /// Another request of the same client.
    pub(super) fn other(self, seq: u64) -> ReplyTo {
        ReplyTo { seq, ..self }
    }
}

impl Supervisor {
    /// Whatever goes wrong here ends no more than one connection.
    pub(super) fn accept(&mut self) {
        let socket = match self.listener.accept(&self.poll) {
            Ok(Some(socket)) if self.clients.len() < MAX_CLIENTS => socket,
            Ok(Some(_)) => return note(format_args!("a client too many: {MAX_CLIENTS} are here")),
            Ok(None) => return,
            Err(e) => return note(format_args!("accept: {e}; trying again")),
        };
        let token = self.token(Source::Client);
        if let Err(e) = self.poll.add(socket.as_raw_fd(), poll::IN, token) {
            self.sources.remove(&token);
            return note(format_args!("watch a client: {e}"));
        }
        let client = Client { socket, input: Vec::new(), output: VecDeque::new(), queued: 0 };
        self.clients.insert(token, client);
    }

    /// A client has written, or can be written to.
    pub(super) fn serve(&mut self, token: u64, ready: u32) {
        if ready & poll::OUT != 0 {
            self.flush(token);
        }
        if ready & !poll::OUT != 0
            && let Err(e) = self.read(token)
        {
            if let Some(e) = e {
                note(format_args!("client: {e}"));
            }
            self.drop_client(token);
        }
    }

    fn drop_client(&mut self, token: u64) {
        self.clients.remove(&token);
        self.sources.remove(&token);
        self.forget(|waiter| waiter.client == token);
    }

    /// An error ends the connection; None is its regular end.
    fn read(&mut self, token: u64) -> Result<(), Option<Error>> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        // Requests carry no descriptors; any that come are closed here.
        let mut carried = Vec::new();
        match socket::receive(client.socket.as_raw_fd(), &mut client.input, &mut carried) {
            Ok(0) => return Err(None),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(Some(failed("read")(e))),
        }
        let (mut requests, mut taken) = (Vec::new(), 0);
        while let Some((length, body, _)) = wire::split(&client.input[taken..]).map_err(Some)? {
            let request: Request = serde_json::from_slice(body)
                .map_err(|e| Some(Error::Invalid(format!("a request: {e}"))))?;
            requests.push(request);
            taken += length;
        }
        client.input.drain(..taken);
        // A large request leaves no hole behind.
        if client.input.is_empty() {
            client.input = Vec::new();
        }
        for Request { seq, ask } in requests {
            self.handle(ReplyTo { client: token, seq }, ask);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, to: ReplyTo, result: Result<Answer>) {
        self.answer_with(to, result, Vec::new());
    }

    pub(super) fn answer_with(&mut self, to: ReplyTo, result: Result<Answer>, with: Vec<OwnedFd>) {
        let say = Say::Answer { seq: to.seq, result: result.map_err(Failure::from) };
        self.send(to.client, &say, with);
    }

    pub(super) fn publish(&mut self, event: Event) {
        let say = Say::Event(event);
        for token in self.clients.keys().copied().collect::<Vec<_>>() {
            self.send(token, &say, Vec::new());
        }
    }

    fn send(&mut self, token: u64, say: &Say, with: Vec<OwnedFd>) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let frame = wire::encode(say, with.len());
        client.queued += frame.len();
        client.output.push_back((frame, with));
        self.flush(token);
    }

    fn flush(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let result = client.flush();
        if result.is_err() || client.queued > MAX_QUEUE {
            return self.drop_client(token);
        }
        let interest = if client.output.is_empty() { poll::IN } else { poll::IN | poll::OUT };
        if self.poll.modify(client.socket.as_raw_fd(), interest, token).is_err() {
            self.drop_client(token);
        }
    }
}

impl Client {
    fn flush(&mut self) -> io::Result<()> {
        while let Some((frame, with)) = self.output.front_mut() {
            let carry: Vec<_> = with.iter().map(AsFd::as_fd).collect();
            match socket::send(self.socket.as_raw_fd(), frame, &carry) {
                Ok(n) => {
                    // Descriptors have left with the first byte.
                    with.clear();
                    frame.drain(..n);
                    self.queued -= n;
                    if frame.is_empty() {
                        self.output.pop_front();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
