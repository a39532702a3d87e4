//! The ciphers of an EncryptionConfiguration, in the form in which upstream writes (documentation page "Encrypting
//! Confidential Data at Rest"): `k8s:enc:NAME:v1:KEY:`, then
//!
//! | provider | behind the prefix |
//! |---|---|
//! | `aescbc` | 16 bytes of IV, AES-CBC with the padding of PKCS #7 |
//! | `aesgcm` | 12 bytes of nonce, AES-GCM with its tag, bound to the object's key |
//! | `secretbox` | 24 bytes of nonce, 16 of tag, XSalsa20 (NaCl's secretbox) |
//!
//! A key is made ready once, when the configuration is read.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use salsa20::XSalsa20;
use skiff_base::World;

const IV: usize = 16;
const BOX_NONCE: usize = 24;
const TAG: usize = 16;

/// One entry of a list of providers.
pub enum Provider {
    /// Plain.
    Identity,
    /// A cipher with its keys; the first one writes.
    Keys(Vec<Key>),
}

/// A key of a provider.
pub struct Key {
    /// `k8s:enc:aescbc:v1:NAME:`
    prefix: String,
    cipher: Cipher,
}

enum Cipher {
    Cbc(Vec<u8>),
    Gcm(Box<LessSafeKey>),
    Secretbox([u8; 32]),
}

impl Key {
    /// Makes a key ready; `None`: the provider takes none of that length.
    pub fn new(provider: &str, name: &str, secret: &[u8]) -> Option<Key> {
        let cipher = match (provider, secret.len()) {
            ("aescbc", 16 | 24 | 32) => Cipher::Cbc(secret.to_vec()),
            ("aesgcm", 16) => gcm(&AES_128_GCM, secret)?,
            ("aesgcm", 32) => gcm(&AES_256_GCM, secret)?,
            ("secretbox", 32) => Cipher::Secretbox(secret.try_into().ok()?),
            _ => return None,
        };
        Some(Key { prefix: format!("k8s:enc:{provider}:v1:{name}:"), cipher })
    }
}

fn gcm(algorithm: &'static ring::aead::Algorithm, secret: &[u8]) -> Option<Cipher> {
    let key = UnboundKey::new(algorithm, secret).ok()?;
    Some(Cipher::Gcm(Box::new(LessSafeKey::new(key))))
}

impl Provider {
    pub fn is_identity(&self) -> bool {
        matches!(self, Provider::Identity)
    }

    /// How what it writes begins.
    pub fn form(&self) -> String {
        match self {
            Provider::Identity => String::new(),
            Provider::Keys(keys) => keys.first().map(|key| key.prefix.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn seal(&self, at: &str, plain: &[u8], world: &World) -> Result<Vec<u8>, String> {
        match self {
            Provider::Identity => Ok(plain.to_vec()),
            Provider::Keys(keys) => {
                let key = keys.first().ok_or("the provider has no keys")?;
                let mut out = key.prefix.clone().into_bytes();
                key.cipher.seal(at, plain, world, &mut out)?;
                Ok(out)
            }
        }
    }

    /// `None`: none of its keys wrote this.
    pub(super) fn open(&self, at: &str, sealed: &[u8]) -> Option<Result<Vec<u8>, String>> {
        let Provider::Keys(keys) = self else { return None };
        let key = keys.iter().find(|key| sealed.starts_with(key.prefix.as_bytes()))?;
        let opened = key.cipher.open(at, &sealed[key.prefix.len()..]);
        Some(opened.ok_or_else(|| {
            format!("{} is another key than the one it was sealed with", key.prefix)
        }))
    }
}

impl Cipher {
    fn seal(&self, at: &str, plain: &[u8], world: &World, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Cipher::Cbc(key) => {
                let iv: [u8; IV] = random(world);
                out.extend(iv);
                out.extend(cbc_sealed(key, &iv, plain).ok_or("the key has no usable length")?);
            }
            Cipher::Gcm(key) => {
                let nonce: [u8; NONCE_LEN] = random(world);
                out.extend(nonce);
                let mut text = plain.to_vec();
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_append_tag(nonce, Aad::from(at), &mut text);
                sealed.map_err(|_| "it is too long to be sealed")?;
                out.extend(text);
            }
            Cipher::Secretbox(key) => {
                let nonce: [u8; BOX_NONCE] = random(world);
                let mut text = plain.to_vec();
                let tag = secretbox(key, &nonce, &mut text, Way::Seal);
                out.extend(nonce);
                out.extend(tag);
                out.extend(text);
            }
        }
        Ok(())
    }

    fn open(&self, at: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match self {
            Cipher::Cbc(key) => {
                let (iv, text) = sealed.split_first_chunk::<IV>()?;
                cbc_opened(key, iv, text)
            }
            Cipher::Gcm(key) => {
                let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
                let mut text = text.to_vec();
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let plain = key.open_in_place(nonce, Aad::from(at), &mut text).ok()?.len();
                text.truncate(plain);
                Some(text)
            }
            Cipher::Secretbox(key) => {
                let (nonce, rest) = sealed.split_first_chunk::<BOX_NONCE>()?;
                let (tag, text) = rest.split_first_chunk::<TAG>()?;
                let mut text = text.to_vec();
                let found = secretbox(key, nonce, &mut text, Way::Open);
                // All bytes are looked at, whichever differ.
                let differs = found.iter().zip(tag).fold(0, |sum, (a, b)| sum | (a ^ b));
                (differs == 0).then_some(text)
            }
        }
    }
}

fn random<const N: usize>(world: &World) -> [u8; N] {
    let mut bytes = [0; N];
    world.fill(&mut bytes);
    bytes
}

fn cbc_sealed(key: &[u8], iv: &[u8; IV], plain: &[u8]) -> Option<Vec<u8>> {
    Some(match key.len() {
        16 => cbc::Encryptor::<Aes128>::new_from_slices(key, iv)
            .ok()?
            .encrypt_padded_vec::<Pkcs7>(plain),
        24 => cbc::Encryptor::<Aes192>::new_from_slices(key, iv)
            .ok()?
            .encrypt_padded_vec::<Pkcs7>(plain),
        _ => cbc::Encryptor::<Aes256>::new_from_slices(key, iv)
            .ok()?
            .encrypt_padded_vec::<Pkcs7>(plain),
    })
}

fn cbc_opened(key: &[u8], iv: &[u8; IV], text: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(text),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(text),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(text),
    }
    .ok()
}

/// Which of both the text is before.
#[derive(PartialEq, Eq)]
enum Way {
    Seal,
    Open,
}

/// XSalsa20-Poly1305 (Bernstein, "Cryptography in NaCl", section 9): the first 32 bytes of the stream are the key of
/// the tag, the rest goes over the text, and the tag is over what comes out.
fn secretbox(key: &[u8; 32], nonce: &[u8; BOX_NONCE], text: &mut [u8], way: Way) -> [u8; TAG] {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut first = [0; 32];
    stream.apply_keystream(&mut first);
    let tag = |text: &[u8]| Poly1305::new(&first.into()).compute_unpadded(text).into();
    match way {
        Way::Seal => {
            stream.apply_keystream(text);
            tag(text)
        }
        Way::Open => {
            let found = tag(text);
            stream.apply_keystream(text);
            found
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The box of the example in the documents of NaCl's Go edition: key, nonce and text of one repeated byte each.
    #[test]
    fn secretbox_is_nacls() {
        let mut text = [3; 64];
        let tag = secretbox(&[1; 32], &[2; 24], &mut text, Way::Seal);
        let all: Vec<u8> = tag.into_iter().chain(text).collect();
        let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        expect_test::expect![[r#"
            8442bc313f4626f1359e3b50122b6ce6fe66ddfe7d39d14e
            637eb4fd5b45beadab55198df6ab5368439792a23c87db70
            acb6156dc5ef957ac04f6276cf6093b84be77ff0849cc33e
            34b7254d5a8f65ad"#]]
        .assert_eq(&all.chunks(24).map(line).collect::<Vec<_>>().join("\n"));
    }

    /// NIST SP 800-38A, F.2.1, first block; what follows it here is the padding.
    #[test]
    fn cbc_is_nists() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
            digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
        };
        let iv: [u8; IV] = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        let plain = hex("6bc1bee22e409f96e93d7e117393172a");
        for (key, first) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d"),
            (
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                "4f021db243bc633d7178183a9fa071e8",
            ),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "f58c4c04d6e5f1ba779eabfb5f7bfbd6",
            ),
        ] {
            let sealed = cbc_sealed(&hex(key), &iv, &plain).unwrap();
            assert_eq!(sealed[..16], hex(first));
            assert_eq!(cbc_opened(&hex(key), &iv, &sealed).unwrap(), plain);
        }
    }
}
