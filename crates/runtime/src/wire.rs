//! What daemon and supervisor say to each other.
//!
//! A frame is two little-endian u32 (length of the body, number of descriptors that travel with
//! it) and a JSON body. Descriptors ride on the first byte of their frame, so they arrive in order.
//! Both ends are the same program except during an upgrade: fields may be added with a default, and
//! a request that the other side does not know is answered with an error, never dropped.

use crate::Error;
use crate::spec::{AttachSpec, ContainerSpec, ExecSpec, Resources, SandboxSpec, TtySize};
use crate::status::{ContainerStatus, Event, Exit, Listing, SandboxStatus, Stats};
use serde::{Deserialize, Serialize};

/// A body longer than this is refused: the largest honest one is a container spec whose arguments and
/// environment the kernel would still take (6 MiB, execve(2)), or a list of a machine's 500 pods.
pub(crate) const MAX_BODY: usize = 16 << 20;
/// Bytes before the body.
pub(crate) const HEADER: usize = 8;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Answered with the same number.
    pub seq: u64,
    /// What is wanted.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    CreateSandbox(Box<SandboxSpec>),
    RemoveSandbox {
        id: String,
    },
    CreateContainer {
        sandbox: String,
        spec: Box<ContainerSpec>,
    },
    StartContainer {
        id: String,
    },
    SignalContainer {
        id: String,
        signal: i32,
    },
    KillContainer {
        id: String,
    },
    WaitContainer {
        id: String,
    },
    RemoveContainer {
        id: String,
    },
    List,
    Exec {
        id: String,
        spec: Box<ExecSpec>,
    },
    WaitExec {
        exec: String,
    },
    SignalExec {
        exec: String,
        signal: i32,
    },
    Attach {
        id: String,
        spec: AttachSpec,
    },
    ResizeTty {
        id: String,
        size: TtySize,
    },
    ReopenLog {
        id: String,
    },
    RotateLog {
        id: String,
    },
    UpdateContainer {
        id: String,
        resources: Resources,
    },
    SetCgroup {
        path: String,
        resources: Resources,
    },
    RemoveCgroup {
        path: String,
    },
    CgroupStats {
        path: String,
    },
    ContainerStats {
        id: String,
    },
    SandboxStats {
        id: String,
    },
    Upgrade {
        exe: String,
    },
    Shutdown,
    /// Nobody waits any more for the answer to this one. Has no answer itself.
    Forget {
        seq: u64,
    },
}

/// To the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Say {
    Answer { seq: u64, result: Result<Answer, Failure> },
    Event(Event),
}

/// What can be answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Sandbox(SandboxStatus),
    Container(ContainerStatus),
    Listing(Listing),
    /// Descriptors follow in this order: stdin, stdout, stderr, terminal, those that are true.
    Streams {
        id: String,
        has: [bool; 4],
    },
    Exit(Exit),
    Stats(Stats),
}

/// [`Error`] as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    NotFound(String),
    Exists(String),
    State(String),
    Invalid(String),
    Exec(String),
    System(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::NotFound(text) => Error::NotFound(text),
            Failure::Exists(text) => Error::Exists(text),
            Failure::State(text) => Error::State(text),
            Failure::Invalid(text) => Error::Invalid(text),
            Failure::Exec(text) => Error::Exec(text),
            Failure::System(text) => Error::System(text),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::NotFound(text) => Failure::NotFound(text),
            Error::Exists(text) => Failure::Exists(text),
            Error::State(text) => Failure::State(text),
            Error::Invalid(text) => Failure::Invalid(text),
            Error::Exec(text) => Failure::Exec(text),
            other => Failure::System(other.to_string()),
        }
    }
}

/// A frame ready to send; the descriptors are the caller's to attach.
pub(crate) fn encode<T: Serialize>(body: &T, descriptors: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, body).expect("our own types have string keys only");
    let length = (frame.len() - HEADER) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEADER].copy_from_slice(&(descriptors as u32).to_le_bytes());
    frame
}

/// A frame that has arrived: (bytes taken, body, descriptors).
pub(crate) type Frame<'a> = (usize, &'a [u8], usize);

/// The first frame in `bytes`, if it is there in full.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, Error> {
    let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
    let field = |at: usize| {
        u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes were cut")) as usize
    };
    let (length, descriptors) = (field(0), field(4));
    if length > MAX_BODY {
        return Err(Error::Invalid(format!("a message of {length} bytes is over {MAX_BODY}")));
    }
    Ok(bytes.get(HEADER..HEADER + length).map(|body| (HEADER + length, body, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let frame = encode(&Ask::StartContainer { id: "a".into() }, 2);
        for cut in 0..frame.len() {
            assert!(split(&frame[..cut]).expect("no error").is_none(), "cut at {cut}");
        }
        let mut two = frame.clone();
        two.extend_from_slice(b"rest");
        let (taken, body, descriptors) = split(&two).expect("no error").expect("a frame");
        assert_eq!((taken, descriptors), (frame.len(), 2));
        assert_eq!(std::str::from_utf8(body), Ok(r#"{"StartContainer":{"id":"a"}}"#));
    }

    #[test]
    fn a_huge_length_is_refused() {
        let error = split(&[255, 255, 255, 255, 0, 0, 0, 0]).expect_err("too long");
        assert_eq!(error.to_string(), "a message of 4294967295 bytes is over 16777216");
    }
}
