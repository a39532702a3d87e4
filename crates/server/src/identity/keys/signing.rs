//! The signing key of service accounts: ES256 (ECDSA on P-256 with SHA-256, RFC 7518 section 3.4)
//! over the compact form of a JSON Web Token (RFC 7515 section 3.1). It knows text and bytes; what
//! the claims mean is `token`'s affair.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use skiff_json::{Value, json};

/// What stands before the key's bytes in its SubjectPublicKeyInfo (RFC 5480): the algorithm and the
/// curve.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that signs and checks tokens.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    /// Names the key in the head of each token: the digest of its public part.
    pub id: String,
}

impl SigningKey {
    pub fn from_pem(pem: &str) -> Result<SigningKey, String> {
        use rustls_pki_types::pem::PemObject;
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| error.to_string())?;
        let random = SystemRandom::new();
        let document = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random)
            .map_err(|error| error.to_string())?;
        let spki = [&SPKI_HEAD[..], pair.public_key().as_ref()].concat();
        let digest = ring::digest::digest(&ring::digest::SHA256, &spki);
        Ok(SigningKey { pair, id: BASE64URL.encode(digest) })
    }

    /// The signed token of these claims.
    pub fn sign(&self, claims: &Value) -> Result<String, ring::error::Unspecified> {
        let head = json!({"alg": "ES256", "kid": self.id}).to_string();
        let text = format!("{}.{}", BASE64URL.encode(head), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes())?;
        Ok(format!("{text}.{}", BASE64URL.encode(signature)))
    }

    /// The claims of a token that this key signed.
    pub fn open(&self, token: &str) -> Option<Vec<u8>> {
        let (text, signature) = token.rsplit_once('.')?;
        let (head, claims) = text.split_once('.')?;
        let head: Value = skiff_json::from_slice(&BASE64URL.decode(head).ok()?).ok()?;
        if head.get("alg")? != "ES256" || head.get("kid")?.as_str()? != self.id {
            return None;
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        public.verify(text.as_bytes(), &BASE64URL.decode(signature).ok()?).ok()?;
        BASE64URL.decode(claims).ok()
    }

    /// The public part as a JSON Web Key Set (RFC 7517), for `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": BASE64URL.encode(x), "y": BASE64URL.encode(y),
        }]})
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fresh key pair for tests.
    pub(crate) fn pem() -> (String, String) {
        super::super::issue::key_pair().expect("a key is made")
    }

    #[test]
    fn a_token_opens_with_its_key_alone() {
        let key = || {
            let (pem, _) = pem();
            SigningKey::from_pem(&pem).expect("it reads back")
        };
        let (own, other) = (key(), key());
        let token = own.sign(&json!({"sub": "a"})).expect("it signs");
        assert_eq!(own.open(&token).as_deref(), Some(&br#"{"sub":"a"}"#[..]));
        assert_eq!(other.open(&token), None);
        let (text, signature) = token.rsplit_once('.').expect("three parts");
        let forged = text.replace('.', "x.");
        assert_eq!(own.open(&format!("{forged}.{signature}")), None);
        assert_eq!(own.open("a.b"), None);
        assert_eq!(own.jwks()["keys"][0]["kid"], own.id.as_str());
    }

    #[test]
    fn no_algorithm_is_no_signature() {
        let (pem, _) = pem();
        let key = SigningKey::from_pem(&pem).expect("it reads back");
        let head = BASE64URL.encode(format!(r#"{{"alg":"none","kid":"{}"}}"#, key.id));
        assert_eq!(key.open(&format!("{head}.{}.", BASE64URL.encode("{}"))), None);
    }
}
