//! Compression of large answers (RFC 1952), on threads of its own: who computes for long keeps no request waiting that
//! the threads of the runtime could answer. It must never hold more of an answer than one piece and what that became.

use crate::render::json::LIST_PIECE;
use bytes::{Buf, Bytes};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream::{self, BoxStream, StreamExt};
use skiff_api::pieces::Pieces;
use skiff_base::Blocking;
use std::io;

/// So many answers are compressed at once; a thread takes in about 200 MB a second, and the others wait for a piece's
/// time, which is below a millisecond.
pub const THREADS_MOST: usize = 4;

/// The threads that compress.
#[derive(Clone)]
pub struct Gzip(Blocking);

impl Default for Gzip {
    fn default() -> Gzip {
        Gzip(Blocking::new(THREADS_MOST))
    }
}

impl Gzip {
    /// Compresses piece by piece, at the speed that upstream chose.
    pub fn pieces(
        &self,
        pieces: BoxStream<'static, io::Result<Pieces>>,
    ) -> BoxStream<'static, io::Result<Pieces>> {
        let encoder = GzEncoder::new(Vec::with_capacity(LIST_PIECE), Compression::new(1));
        let threads = self.0.clone();
        stream::unfold((pieces, Some(encoder)), move |(mut pieces, encoder)| {
            let threads = threads.clone();
            async move {
                let mut encoder = encoder?;
                while let Some(piece) = pieces.next().await {
                    let written = match piece {
                        Ok(piece) => threads.run(move || write(encoder, piece)).await,
                        Err(error) => Ok(Err(error)),
                    };
                    encoder = match written.unwrap_or_else(|cut| Err(io::Error::other(cut))) {
                        Ok(encoder) => encoder,
                        Err(error) => return Some((Err(error), (pieces, None))),
                    };
                    if encoder.get_ref().len() >= LIST_PIECE / 2 {
                        let full =
                            std::mem::replace(encoder.get_mut(), Vec::with_capacity(LIST_PIECE));
                        return Some((Ok(Bytes::from(full).into()), (pieces, Some(encoder))));
                    }
                }
                Some((encoder.finish().map(|rest| Bytes::from(rest).into()), (pieces, None)))
            }
        })
        .boxed()
    }
}

fn write(mut encoder: GzEncoder<Vec<u8>>, piece: Pieces) -> io::Result<GzEncoder<Vec<u8>>> {
    io::copy(&mut piece.reader(), &mut encoder)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::json;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[tokio::test]
    async fn what_was_compressed_is_what_was_sent() {
        let texts = |count: usize| (0..count).map(|at| at.to_string().repeat(20_000));
        for count in [0, 1, 30] {
            let pieces = texts(count).map(|it| Ok(Pieces::from(Bytes::from(it))));
            let zipped = Gzip::default().pieces(stream::iter(pieces.collect::<Vec<_>>()).boxed());
            let zipped = json::gather(zipped).await.expect("it is compressed");
            let mut text = String::new();
            GzDecoder::new(&*zipped).read_to_string(&mut text).expect("it unzips");
            assert_eq!(text, texts(count).collect::<String>());
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_says_so_and_ends() {
        let pieces = [Ok(Pieces::from(Bytes::from_static(b"a"))), Err(io::Error::other("broken"))];
        let zipped = Gzip::default().pieces(stream::iter(pieces).boxed());
        let zipped: Vec<_> = zipped.collect().await;
        let [Err(error)] = &zipped[..] else { panic!("{} pieces", zipped.len()) };
        assert_eq!(error.to_string(), "broken");
    }
}
