//! A node for tests: its one container echoes stdin to stdout and ends with the code that it is
//! asked for.

use super::{Doors, Place, Run, Runtime, Text};
use crate::logs::Options;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use skiff_kinds::views::Pod;
use skiff_net::NetNs;
use skiff_runtime::Error;
use skiff_runtime::client::{Attach, Exec};
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::status::{Exit, ExitReason};
use skiff_runtime::stream::Stream;
use std::io::{Read, Write};
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Default)]
pub struct Fake {
    over: Arc<Notify>,
}

impl Doors for Fake {
    fn pod(&self, _: &str, _: &str) -> Option<Arc<Pod>> {
        None
    }

    fn pods(&self) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async { Ok("{}".into()) })
    }

    /// The arguments are a text to begin with and the exit code; no arguments: no such container.
    fn exec(&self, _: &Place, spec: &ExecSpec) -> Runtime<Exec> {
        let (over, spec) = (self.over.clone(), spec.clone());
        Box::pin(async move {
            let [begin, code] = &spec.args[..] else {
                return Err(Error::NotFound("container".into()));
            };
            let (stdin, to_stdin) = std::io::pipe().unwrap();
            let (from_stdout, stdout) = std::io::pipe().unwrap();
            let begin = begin.clone();
            std::thread::spawn(move || {
                let (mut stdin, mut stdout) = (stdin, stdout);
                stdout.write_all(begin.as_bytes()).unwrap();
                let mut text = String::new();
                stdin.read_to_string(&mut text).unwrap();
                stdout.write_all(text.to_uppercase().as_bytes()).unwrap();
                over.notify_one();
            });
            Ok(Exec {
                id: code.clone(),
                stdin: spec.stdin.then(|| Stream::new(to_stdin.into()).unwrap()),
                stdout: Some(Stream::new(from_stdout.into()).unwrap()),
                stderr: None,
                terminal: None,
            })
        })
    }

    fn wait_exec(&self, exec: &str) -> Runtime<Exit> {
        let (over, code) = (self.over.clone(), exec.parse().unwrap());
        Box::pin(async move {
            over.notified().await;
            let reason = ExitReason::Error;
            Ok(Exit { code, signal: None, reason, message: String::new(), finished_at: 0 })
        })
    }

    fn attach(&self, _: &Place, _: AttachSpec) -> Runtime<(String, Attach)> {
        Box::pin(async { Err(Error::NotFound("container".into())) })
    }

    fn resize(&self, _: &str, _: TtySize) -> Runtime<()> {
        Box::pin(async { Ok(()) })
    }

    fn wait(&self, _: &str) -> Runtime<()> {
        Box::pin(async { Ok(()) })
    }

    fn log(&self, _: &Place, _: &str, _: Run, _: Options) -> Runtime<Option<Text>> {
        Box::pin(async { Ok(None) })
    }

    /// The namespace of the test.
    fn network(&self, _: &str, _: &str) -> Runtime<NetNs> {
        Box::pin(async { NetNs::current().map_err(|e| Error::System(e.to_string())) })
    }
}
