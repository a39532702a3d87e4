//! Header blocks of SPDY/3.1: names and values, compressed with one zlib stream per direction that
//! starts from a dictionary of words (SPDY Protocol Draft 3.1, section 2.6.10).
//!
//! Never here: frames.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::sync::LazyLock;

/// A decompressed block may be so large; port-forward needs a hundred bytes.
const BLOCK_MOST: usize = 64 * 1024;

/// The first part of the dictionary: each word with its length before it.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200\u{a0}OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";
/// The second part, as it is.
const PHRASES: &str = "1001012012022052063003023033043053063074024054064074084094104114124134144154\
    16417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad \
    Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
    Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
    deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split(' ') {
        let word = word.replace('\u{a0}', " ");
        bytes.extend_from_slice(&u32::try_from(word.len()).expect("words are short").to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(PHRASES.as_bytes());
    bytes
});

/// Names and values, in order.
pub type Headers = Vec<(String, String)>;

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeaders {
    #[error("the header block does not decompress")]
    Compression,
    #[error("the header block is larger than {BLOCK_MOST} bytes")]
    TooLarge,
    #[error("the header block ends in the middle of a name or value")]
    Short,
}

/// Compresses the blocks of one direction.
pub struct Packer(Compress);

/// Decompresses the blocks of one direction.
pub struct Unpacker(Decompress);

impl Packer {
    pub fn new() -> Packer {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&DICTIONARY).expect("a new stream takes a dictionary");
        Packer(zlib)
    }

    pub fn pack(&mut self, headers: &Headers) -> Vec<u8> {
        let plain = write(headers);
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut from = 0;
        loop {
            let before = self.0.total_in();
            let done = self.0.compress_vec(&plain[from..], &mut out, FlushCompress::Sync);
            done.expect("compressing into memory does not fail");
            from += usize::try_from(self.0.total_in() - before).expect("not more than there is");
            if from == plain.len() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(256);
        }
    }
}

impl Unpacker {
    pub fn new() -> Unpacker {
        Unpacker(Decompress::new(true))
    }

    pub fn unpack(&mut self, packed: &[u8]) -> Result<Headers, BadHeaders> {
        let mut out = Vec::with_capacity(1024);
        let mut from = 0;
        loop {
            let before = self.0.total_in();
            let step = self.0.decompress_vec(&packed[from..], &mut out, FlushDecompress::Sync);
            from += usize::try_from(self.0.total_in() - before).expect("not more than there is");
            match step {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| BadHeaders::Compression)?;
                    continue;
                }
                Err(_) => return Err(BadHeaders::Compression),
            }
            if out.len() > BLOCK_MOST {
                return Err(BadHeaders::TooLarge);
            }
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(1024);
        }
        if from < packed.len() {
            return Err(BadHeaders::Compression);
        }
        read(&out).ok_or(BadHeaders::Short)
    }
}

fn write(headers: &Headers) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).expect("our headers are short").to_be_bytes();
    let mut out = number(headers.len()).to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&number(text.len()));
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn read(mut block: &[u8]) -> Option<Headers> {
    let count = take_number(&mut block)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = take_text(&mut block)?;
        headers.push((name.to_ascii_lowercase(), take_text(&mut block)?));
    }
    Some(headers)
}

fn take_number(block: &mut &[u8]) -> Option<u32> {
    let (number, rest) = block.split_first_chunk::<4>()?;
    *block = rest;
    Some(u32::from_be_bytes(*number))
}

fn take_text(block: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_number(block)?).ok()?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1423);
        // Its Adler-32, as it stands in every first block of a stream.
        let packed = Packer::new().pack(&Headers::new());
        assert_eq!(packed[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn blocks_come_back_as_they_were_one_after_the_other() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        let header = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        for headers in [
            vec![header("streamtype", "error"), header("port", "80")],
            vec![],
            vec![header("streamtype", "data"), header("x", &"long ".repeat(3000))],
        ] {
            assert_eq!(unpacker.unpack(&packer.pack(&headers)), Ok(headers));
        }
    }

    #[test]
    fn bad_blocks_are_refused() {
        assert_eq!(Unpacker::new().unpack(b"no zlib at all"), Err(BadHeaders::Compression));
        assert_eq!(read(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']), None);
        let bomb = vec![("x".to_owned(), "0".repeat(1 << 20))];
        let packed = Packer::new().pack(&bomb);
        assert_eq!(Unpacker::new().unpack(&packed), Err(BadHeaders::TooLarge));
    }
}
