//! What seals records on their way to disk (encryption at rest), and how a sealed row is told from a plain one.
//!
//! The store knows no ciphers: it hands over facets and body as one piece and puts on disk what comes back. Plain
//! bodies begin with a brace, sealed ones with [`SEALED`], as upstream's do. What cannot be opened is kept as it is:
//! the record is there, under its key, and its body says what it would take to read it.

use crate::codec::{decode_facets, encode_facets, length, take_length};
use crate::{Facets, facets::facets};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// What every sealed body begins with.
pub const SEALED: &[u8] = b"k8s:enc:";

/// Turns plain bytes into sealed ones and back. Called by the threads that write and read the log.
pub trait Seal: Send + Sync {
    /// Whether what is written under this key is sealed today.
    fn seals(&self, key: &str) -> bool;

    /// What goes to disk; it begins with [`SEALED`].
    ///
    /// # Errors
    /// There is no randomness; the store stops.
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, String>;

    /// What was sealed.
    ///
    /// # Errors
    /// Why it cannot be had; the record then counts as unreadable.
    fn open(&self, key: &str, sealed: &[u8]) -> Result<Vec<u8>, String>;
}

/// Who seals, if anybody does.
pub(crate) type Sealing = Option<Arc<dyn Seal>>;

/// Facets and body as they go to disk.
pub(crate) fn close<'a>(
    seal: &Sealing,
    key: &str,
    facets: &Facets,
    body: Option<&'a [u8]>,
) -> Result<(Vec<u8>, Option<Cow<'a, [u8]>>), String> {
    match (seal.as_ref().filter(|seal| seal.seals(key)), body) {
        // It was not opened: it stays what it is.
        (_, Some(body)) if body.starts_with(SEALED) => Ok((Vec::new(), Some(body.into()))),
        (None, body) => Ok((encode_facets(facets), body.map(Cow::from))),
        // Nobody asks a delete for its facets; the record before it has them.
        (Some(_), None) => Ok((Vec::new(), None)),
        (Some(seal), Some(body)) => {
            let facets = encode_facets(facets);
            let mut plain = Vec::with_capacity(facets.len() + body.len() + 4);
            length(facets.len(), &mut plain);
            plain.extend_from_slice(&facets);
            plain.extend_from_slice(body);
            Ok((Vec::new(), Some(seal.seal(key, &plain)?.into())))
        }
    }
}

/// Facets and body of a row as it was written; `None`: the bytes are not what [`close`] makes.
pub(crate) fn open(
    seal: &Sealing,
    key: &str,
    stored: &[u8],
    body: Option<&[u8]>,
) -> Option<(Facets, Option<Bytes>)> {
    let Some(sealed) = body.filter(|body| body.starts_with(SEALED)) else {
        return Some((decode_facets(stored)?, body.map(Bytes::copy_from_slice)));
    };
    let opened = seal.as_ref().and_then(|seal| seal.open(key, sealed).ok());
    let Some(plain) = opened else {
        return Some((facets(Vec::new()), Some(Bytes::copy_from_slice(sealed))));
    };
    let mut rest = &plain[..];
    let size = take_length(&mut rest)?;
    let (facets, _) = rest.split_at_checked(size)?;
    let begin = plain.len() - rest.len() + size;
    Some((decode_facets(facets)?, Some(Bytes::from(plain).slice(begin..))))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Seals below `secrets/`, by a byte that is added to each.
    pub(crate) struct Added(pub u8);

    impl Seal for Added {
        fn seals(&self, key: &str) -> bool {
            key.starts_with("secrets/")
        }

        fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
            let added = plain.iter().map(|byte| byte.wrapping_add(self.0));
            Ok(SEALED.iter().copied().chain([self.0]).chain(added).collect())
        }

        fn open(&self, _: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
            match &sealed[SEALED.len()..] {
                [by, rest @ ..] if *by == self.0 => {
                    Ok(rest.iter().map(|byte| byte.wrapping_sub(self.0)).collect())
                }
                _ => Err("another key".into()),
            }
        }
    }

    #[test]
    fn what_is_sealed_is_opened_or_kept() {
        let set = facets(vec![("l:app".into(), "web".into())]);
        let (seal, other): (Sealing, Sealing) =
            (Some(Arc::new(Added(3))), Some(Arc::new(Added(4))));
        let (facets, body) = close(&seal, "secrets/a/b", &set, Some(b"{\"x\":1}")).unwrap();
        let body = body.unwrap();
        assert!(facets.is_empty() && !body.windows(3).any(|w| w == b"web" || w == b"\"x\""));
        let opened = open(&seal, "secrets/a/b", &facets, Some(&body)).unwrap();
        assert_eq!(opened, (set.clone(), Some("{\"x\":1}".into())));
        // Without its key it is carried as it is, and written so again.
        for lost in [&None, &other] {
            let (facets, kept) = open(lost, "secrets/a/b", &facets, Some(&body)).unwrap();
            assert_eq!((facets.len(), kept.as_deref()), (0, Some(&*body)));
            let again = close(lost, "secrets/a/b", &set, kept.as_deref()).unwrap();
            assert_eq!(again.1.unwrap(), body);
        }
        // What is sealed tells nothing when it goes; what is not, is as it was.
        assert_eq!(close(&seal, "secrets/a/b", &set, None).unwrap(), (Vec::new(), None));
        let (facets, body) = close(&seal, "pods/a/b", &set, Some(b"{}")).unwrap();
        assert_eq!(open(&None, "pods/a/b", &facets, body.as_deref()).unwrap().0, set);
    }
}
