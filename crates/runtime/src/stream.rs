//! An open pipe or terminal of a container, as an async reader and writer.
//!
//! A terminal's far end that has gone answers EIO, which is an end of file to everyone else; it is
//! one here. Never here: buffering, which would hide how much the container has taken.

use crate::spec::TtySize;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One descriptor of a container; reads and writes as far as its kind permits.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

/// The handle that resizes a terminal.
#[derive(Debug)]
pub struct Terminal(pub(crate) OwnedFd);

impl Terminal {
    /// Tells the programs in the terminal its new size (they get SIGWINCH).
    pub fn resize(&self, size: TtySize) -> io::Result<()> {
        crate::sys::set_tty_size(&self.0, size.width, size.height)
    }
}

impl Stream {
    /// Takes over a descriptor and makes it non-blocking. Needs a tokio runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Stream> {
        crate::sys::set_nonblocking(&fd)?;
        Ok(Stream(crate::sys::watch(fd)?))
    }
}

impl Stream {
    /// A pipe of this process's own: (what is read from, what is written to).
    pub fn pipe() -> io::Result<(Stream, Stream)> {
        let (read, write) = crate::sys::pipe()?;
        Ok((Stream::new(read)?, Stream::new(write)?))
    }

    /// Reads what is there already; 0 is nothing, or the end.
    pub fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match crate::sys::read(self.0.as_raw_fd(), buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(0),
            other => other,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match guard.try_io(|fd| crate::sys::read(fd.as_raw_fd(), room)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => continue,
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| crate::sys::write(fd.as_raw_fd(), buf)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the stream is what closes it; there is nothing to wait for.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
