//! JWS: tokens that others signed, and the keys that check them (RFC 7515, 7517, 7518). It knows text, bytes and
//! algorithms; whose a key is and what claims mean is for those who ask.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Algorithms that an issuer may sign with. P-521 (ES512) is known and never verifies: there is no code for it here.
pub const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
/// Keys of one set: an issuer has a handful.
const KEYS_MOST: usize = 256;

/// A token in its parts, of which nothing was checked.
pub struct Token<'a> {
    pub algorithm: String,
    /// The name of the key; empty where the token names none.
    pub key: String,
    text: &'a str,
    pub claims: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
    crit: Option<Value>,
}

impl Token<'_> {
    /// # Errors
    /// When it is no token in the compact form.
    pub fn parse(token: &str) -> Result<Token<'_>, String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts[..] else {
            return Err("compact JWS format must have three parts".to_owned());
        };
        let decode = |part: &str| BASE64URL.decode(part).map_err(|error| error.to_string());
        let read: Head = serde_json::from_slice(&decode(head)?).map_err(|e| e.to_string())?;
        if read.crit.is_some() {
            // RFC 7515, section 4.1.11: what must be understood and is not.
            return Err("unsupported crit header".to_owned());
        }
        Ok(Token {
            algorithm: read.alg,
            key: read.kid,
            text: &token[..head.len() + 1 + claims.len()],
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }

    /// Whether this key made the signature.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        let (text, signature) = (self.text.as_bytes(), &self.signature[..]);
        match (&key.sort, &*self.algorithm) {
            (Sort::Rsa { n, e }, algorithm) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, text, signature).is_ok()
            }),
            (Sort::P256(point), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(text, signature)
                .is_ok(),
            (Sort::P384(point), "ES384") => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(text, signature)
                .is_ok(),
            _ => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A public key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Empty where the set names none.
    pub id: String,
    sort: Sort,
}

#[derive(Debug, Clone, PartialEq)]
enum Sort {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// RFC 7517, section 4, and RFC 7518, section 6.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

impl Key {
    /// A public key in PEM, or that of a certificate, under the name that upstream gives to it: the digest of its
    /// bytes.
    ///
    /// # Errors
    /// Why there is none that can be used here.
    pub fn all_of_pem(pem: &[u8]) -> Result<Vec<Key>, String> {
        use rustls_pki_types::SubjectPublicKeyInfoDer;
        use rustls_pki_types::pem::PemObject;
        let mut keys = Vec::new();
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            keys.push(Key::of_der(&der.map_err(|error| error.to_string())?)?);
        }
        if keys.is_empty() {
            Err("data does not contain any valid public keys".into())
        } else {
            Ok(keys)
        }
    }

    fn of_der(der: &[u8]) -> Result<Key, String> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| error.to_string())?;
        let sort = match info.parsed().map_err(|error| error.to_string())? {
            PublicKey::RSA(rsa) => {
                let bare =
                    |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                Sort::Rsa { n: bare(rsa.modulus), e: bare(rsa.exponent) }
            }
            PublicKey::EC(point) if point.data().len() == 65 => Sort::P256(point.data().to_vec()),
            PublicKey::EC(point) if point.data().len() == 97 => Sort::P384(point.data().to_vec()),
            _ => return Err("only RSA, P-256 and P-384 keys can be used here".to_owned()),
        };
        let id = BASE64URL.encode(ring::digest::digest(&ring::digest::SHA256, der));
        Ok(Key { id, sort })
    }

    /// What tokens of a service account that it signed are signed with.
    pub fn algorithm(&self) -> &'static str {
        match self.sort {
            Sort::Rsa { .. } => "RS256",
            Sort::P256(_) => "ES256",
            Sort::P384(_) => "ES384",
        }
    }

    /// As a set of keys shows it.
    pub fn jwk(&self) -> Value {
        let mut jwk = json!({"use": "sig", "kid": self.id, "alg": self.algorithm()});
        let mut set = |key: &str, bytes: &[u8]| jwk[key] = BASE64URL.encode(bytes).into();
        match &self.sort {
            Sort::Rsa { n, e } => {
                set("n", n);
                set("e", e);
                jwk["kty"] = "RSA".into();
            }
            Sort::P256(point) | Sort::P384(point) => {
                let (x, y) = point[1..].split_at(point.len() / 2);
                set("x", x);
                set("y", y);
                jwk["kty"] = "EC".into();
                jwk["crv"] = if x.len() == 32 { "P-256" } else { "P-384" }.into();
            }
        }
        jwk
    }
}

/// The keys of a set that can check signatures here; others are left out.
///
/// # Errors
/// When it is no set of keys.
pub fn keys(set: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(set).map_err(|error| error.to_string())?;
    if set.keys.len() > KEYS_MOST {
        return Err(format!("the set has more than {KEYS_MOST} keys"));
    }
    Ok(set.keys.into_iter().filter_map(key).collect())
}

fn key(jwk: Jwk) -> Option<Key> {
    let decode = |text: &str| BASE64URL.decode(text.trim_end_matches('=')).ok();
    let point = |size: usize| {
        let (x, y) = (decode(&jwk.x)?, decode(&jwk.y)?);
        (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
    };
    if jwk.purpose == "enc" {
        return None;
    }
    let sort = match (&*jwk.kty, &*jwk.crv) {
        ("RSA", _) => Sort::Rsa { n: decode(&jwk.n)?, e: decode(&jwk.e)? },
        ("EC", "P-256") => Sort::P256(point(32)?),
        ("EC", "P-384") => Sort::P384(point(48)?),
        _ => return None,
    };
    Some(Key { id: jwk.kid, sort })
}
