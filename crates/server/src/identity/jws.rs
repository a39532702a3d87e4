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
use skiff_json::{Value, json};
use skiff_kinds::certificates::p521;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Algorithms that an issuer may sign with.
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
        let read: Head = skiff_json::from_slice(&decode(head)?).map_err(|e| e.to_string())?;
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
            (Sort::P521(point), "ES512") => {
                let digest = ring::digest::digest(&ring::digest::SHA512, text);
                let signature = p521::Signature::of_numbers(signature);
                signature.is_some_and(|it| it.is_by(point, digest.as_ref()))
            }
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
    P521(Vec<u8>),
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
            PublicKey::EC(point) if point.data().len() == p521::POINT => {
                Sort::P521(point.data().to_vec())
            }
            _ => return Err("only RSA, P-256, P-384 and P-521 keys can be used here".to_owned()),
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
            Sort::P521(_) => "ES512",
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
            Sort::P256(point) | Sort::P384(point) | Sort::P521(point) => {
                let (x, y) = point[1..].split_at(point.len() / 2);
                set("x", x);
                set("y", y);
                jwk["kty"] = "EC".into();
                let curve = [(32, "P-256"), (48, "P-384"), (p521::NUMBER, "P-521")];
                let curve = curve.iter().find(|(size, _)| *size == x.len());
                jwk["crv"] = curve.map_or("", |(_, name)| name).into();
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
    let set: Set = skiff_json::from_slice(set).map_err(|error| error.to_string())?;
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
        ("EC", "P-521") => Sort::P521(point(p521::NUMBER)?),
        _ => return None,
    };
    Some(Key { id: jwk.kid, sort })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key and a token of openssl's.
    const SET: &str = r#"{"keys":[{"kty":"EC","kid":"k","crv":"P-521",
        "x":"ASoKusZQ9Q-Yi3nUxlwu8-P_Zl2ZaIquw5NUH9Mcez_1QOwflMPgdOVa8CELuc6IpFXlBQJhy-3at5fo8bEYCHWO",
        "y":"AZ53YijeD8cpHytxJz6FANKoqcUu38liu_UhyN53EaDkqBlQsaOgOzOpdStkdKPKAvP8G9v0sVv5vkClDEelcFi6"}]}"#;
    const TOKEN: &str = "eyJhbGciOiJFUzUxMiIsImtpZCI6ImsifQ.eyJzdWIiOiJ1In0.AegFSQKhl1S6lL1KS3BnzqvlDOfQLQmGo6DN_z3\
        lbxg77CNF4hlxZLG6ewOtXRnBY66sIEdx5pL7yFp8AzPgC9x_Acptcpzja8DkeG5qHFkk611kAYRfW06FmnEX4Lu2d\
        k05kJLPfGJNMcoOPVQVZ5MDWwfyciCyUSor8Bu7ppMvlcTB";

    #[test]
    fn a_token_by_a_key_on_p521() {
        let [key] = &keys(SET.as_bytes()).expect("it is a set")[..] else { panic!("it has one") };
        let token = Token::parse(TOKEN).expect("it is a token");
        assert!(token.is_signed_by(key));
        let set: Value = skiff_json::from_str(SET).expect("JSON");
        let shown = key.jwk();
        assert_eq!((&shown["x"], &shown["crv"]), (&set["keys"][0]["x"], &"P-521".into()));
        let other = TOKEN.replace(".eyJ", ".eyI");
        assert!(!Token::parse(&other).expect("it has the form").is_signed_by(key));
    }
}
