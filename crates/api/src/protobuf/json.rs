//! JSON as it stands in a body, read once from front to back: what the program wrote itself, so no error is told in
//! words. It makes no tree and copies nothing; it must not read beyond the end, whatever it is given.

use super::ProtobufError;
use std::borrow::Cow;

type Read<T> = Result<T, ProtobufError>;

/// A reader of one JSON text.
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string as it is written, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// What it says.
    pub(super) fn plain(self) -> Read<Cow<'a, [u8]>> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        let text: String = skiff_json::from_slice(&quoted).map_err(|_| damaged())?;
        Ok(Cow::Owned(text.into_bytes()))
    }
}

pub(super) fn damaged() -> ProtobufError {
    ProtobufError::Json("the object".into())
}

impl<'a> Json<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Json<'a> {
        Json { bytes, at: 0 }
    }

    /// The first byte of what comes next.
    pub(super) fn peek(&mut self) -> Read<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Ok(*byte),
            }
        }
        Err(damaged())
    }

    /// Takes this byte.
    pub(super) fn take(&mut self, wanted: u8) -> Read<()> {
        match self.peek()? == wanted {
            true => self.at += 1,
            false => return Err(damaged()),
        }
        Ok(())
    }

    /// Takes a null, if that comes next.
    pub(super) fn null(&mut self) -> Read<bool> {
        let is_null = self.peek()? == b'n';
        if is_null {
            self.at += 4;
        }
        Ok(is_null)
    }

    /// Whether one more member follows before `end`, which is taken; `first` is true for the first one.
    pub(super) fn more(&mut self, first: &mut bool, end: u8) -> Read<bool> {
        let next = self.peek()?;
        if next == end {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.take(b',')?;
        }
        Ok(true)
    }

    /// The name of a member.
    pub(super) fn key(&mut self) -> Read<Text<'a>> {
        let key = self.text()?;
        self.take(b':')?;
        Ok(key)
    }

    pub(super) fn text(&mut self) -> Read<Text<'a>> {
        self.take(b'"')?;
        let (from, mut escaped) = (self.at, false);
        loop {
            let rest = self.bytes.get(self.at..).ok_or_else(damaged)?;
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or_else(damaged)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(Text { raw: &self.bytes[from..self.at - 1], escaped });
            }
            escaped = true;
            self.at += 1;
        }
    }

    /// A number, true or false.
    pub(super) fn word(&mut self) -> Read<&'a str> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += end;
        std::str::from_utf8(&rest[..end]).map_err(|_| damaged())
    }

    /// Any value, as it is written.
    pub(super) fn raw(&mut self) -> Read<&'a [u8]> {
        self.peek()?;
        let (from, mut depth) = (self.at, 0_usize);
        loop {
            match self.peek()? {
                b'"' => _ = self.text()?,
                b'{' | b'[' => (self.at, depth) = (self.at + 1, depth + 1),
                b'}' | b']' => {
                    self.at += 1;
                    depth = depth.checked_sub(1).ok_or_else(damaged)?;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                b',' | b':' => return Err(damaged()),
                _ => self.word_in()?,
            }
            if depth == 0 {
                return Ok(&self.bytes[from..self.at]);
            }
        }
    }

    /// A word that a colon may follow only in what is no JSON.
    fn word_in(&mut self) -> Read<()> {
        match self.word()?.is_empty() {
            true => Err(damaged()),
            false => Ok(()),
        }
    }
}

/// What an object says that it is: its `apiVersion` and `kind`, of which the older documents of discovery have one.
///
/// # Errors
/// When it is no JSON.
pub fn types(object: &[u8]) -> Result<(String, String), ProtobufError> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let (mut json, mut first) = (Json::new(object), true);
    json.take(b'{')?;
    while (api_version.is_empty() || kind.is_empty()) && json.more(&mut first, b'}')? {
        let into = match json.key()?.raw {
            b"apiVersion" => &mut api_version,
            b"kind" => &mut kind,
            _ => {
                json.raw()?;
                continue;
            }
        };
        *into = String::from_utf8_lossy(&json.text()?.plain()?).into_owned();
    }
    Ok((api_version, kind))
}
