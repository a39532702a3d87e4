//! Decompression by magic number: what a layer or an archive says of its compression is not
//! believed, its first bytes are (media types lie, and `docker load` takes anything too).

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::error::Error;
use crate::unpack::limits::{Budget, Counted, Limits, ZSTD_WINDOW_LOG};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Formats that exist in the wild and are refused by name instead of as garbage.
const OTHERS: &[(&[u8], &str)] =
    &[(&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"), (b"BZh", "bzip2"), (b"LZIP", "lzip")];
/// Compressed bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A reader of the uncompressed bytes, within the limits.
pub(crate) fn plain<'a, R: Read + Send + 'a>(
    mut source: R,
    limits: Limits,
) -> Result<Box<dyn Read + Send + 'a>, Error> {
    let start = peek(&mut source).map_err(Error::from_io)?;
    let whole: Chain<Cursor<Vec<u8>>, R> = Cursor::new(start.clone()).chain(source);
    let (counted, taken) = Counted::new(whole);
    let buffered = BufReader::with_capacity(CHUNK, counted);
    if start.starts_with(GZIP) {
        return Ok(Box::new(Budget::new(MultiGzDecoder::new(buffered), limits, taken)));
    }
    if start.starts_with(ZSTD) {
        let mut decoder =
            zstd::stream::read::Decoder::with_buffer(buffered).map_err(Error::from_io)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(Error::from_io)?;
        return Ok(Box::new(Budget::new(decoder, limits, taken)));
    }
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        let why = format!("{name} compression is not supported: use gzip or zstd");
        return Err(Error::RefuseLayer { why });
    }
    Ok(Box::new(Budget::new(buffered, limits, taken)))
}

/// Whether these bytes begin something compressed, in whatever format.
pub(crate) fn is_compressed(start: &[u8]) -> bool {
    let others = OTHERS.iter().map(|(magic, _)| *magic);
    [GZIP, ZSTD].into_iter().chain(others).any(|magic| start.starts_with(magic))
}

/// The first bytes, fewer only at the end of the source.
fn peek(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(8);
    source.by_ref().take(8).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads to the end, so that the digest of everything is known.
pub(crate) fn drain(source: &mut dyn Read) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        plain(bytes, Limits::default())?.read_to_end(&mut out).map_err(Error::from_io)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_format_is_known_by_its_magic() {
        let text = b"hello".repeat(100);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text)).unwrap(), text);
        assert_eq!(read(&[gzip(&text), gzip(b"!")].concat()).unwrap(), [&text[..], b"!"].concat());
        assert_eq!(read(&zstd::encode_all(&text[..], 3).unwrap()).unwrap(), text);
        assert_eq!(read(b"").unwrap(), b"");
        let error = read(b"BZh91AY").unwrap_err().to_string();
        assert_eq!(error, "refused layer: bzip2 compression is not supported: use gzip or zstd");
    }

    #[test]
    fn a_damaged_stream_is_an_error() {
        let mut bytes = gzip(&b"hello".repeat(100));
        bytes.truncate(bytes.len() - 3);
        assert!(read(&bytes).unwrap_err().to_string().starts_with("read layer: "));
    }

    #[test]
    fn a_bomb_is_stopped() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::copy(&mut io::repeat(0).take(10 << 20), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        let limits = Limits { ratio_free: 1 << 20, ..Limits::default() };
        let mut stream = plain(&bomb[..], limits).unwrap();
        let error = drain(&mut stream).unwrap_err().to_string();
        assert!(error.contains("decompression bomb"), "{error}");
    }
}
