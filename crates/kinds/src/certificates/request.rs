//! Requests for certificates (PKCS #10, RFC 2986), read: whose they are, what they ask for, for which key. Who may have
//! the certificate is decided elsewhere; a request that reads here was signed by the key that it is for.

use super::{p521, pem};
use ring::digest::{SHA256, SHA384, SHA512};
use std::net::IpAddr;
use x509_parser::asn1_rs::Any;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

/// The attributes of a subject that a certificate repeats (RFC 4519), in the order in which it shows them.
const SUBJECT: [&str; 9] = [
    "2.5.4.6",  // country
    "2.5.4.10", // organization
    "2.5.4.11", // organizational unit
    "2.5.4.7",  // locality
    "2.5.4.8",  // state or province
    "2.5.4.9",  // street
    "2.5.4.17", // postal code
    "2.5.4.3",  // common name
    "2.5.4.5",  // serial number
];
const ORGANIZATION: &str = SUBJECT[1];
const COMMON_NAME: &str = SUBJECT[7];

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Each attribute by its object identifier, with its values.
    pub subject: Vec<(&'static str, Vec<String>)>,
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
    /// The SubjectPublicKeyInfo of its key, as DER.
    pub key: Vec<u8>,
    pub key_type: KeyType,
}

/// The sort of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    Ed25519,
    /// Its curve, by the name that messages have for it.
    Ec(&'static str),
    /// Bits of its modulus.
    Rsa(usize),
    Other,
}

/// Why a text is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadRequest {
    Form(String),
    Signature(String),
}

impl std::fmt::Display for BadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadRequest::Form(why) | BadRequest::Signature(why) => f.write_str(why),
        }
    }
}

impl Request {
    /// Reads the first block of a PEM text.
    ///
    /// # Errors
    /// When it is no request, or was not signed by the key that it names.
    pub fn of_pem(text: &[u8]) -> Result<Request, BadRequest> {
        let text = String::from_utf8_lossy(text);
        let block = pem::blocks(&text).next().filter(|block| block.label == "CERTIFICATE REQUEST");
        let wrong = || BadRequest::Form("PEM block type must be CERTIFICATE REQUEST".to_owned());
        Request::of_der(&block.ok_or_else(wrong)?.bytes)
    }

    /// Reads the bytes of a request.
    ///
    /// # Errors
    /// As [`Request::of_pem`].
    pub fn of_der(der: &[u8]) -> Result<Request, BadRequest> {
        let form = |why: &str| BadRequest::Form(why.to_owned());
        let (rest, read) = X509CertificationRequest::from_der(der).map_err(|e| broken(der, &e))?;
        if !rest.is_empty() {
            return Err(form("asn1: syntax error: trailing data"));
        }
        let info = &read.certification_request_info;
        let mut request = Request {
            subject: subject(&info.subject),
            names: Vec::new(),
            addresses: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            key: info.subject_pki.raw.to_vec(),
            key_type: key_type(&info.subject_pki),
        };
        for extension in read.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        request.add(name).map_err(form)?;
                    }
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(form("x509: a requested extension cannot be read"));
                }
                _ => {}
            }
        }
        let is_signed = match &request.key_type {
            KeyType::Ec("P-521") => is_signed_by_p521(&read),
            _ => read.verify_signature().is_ok(),
        };
        if is_signed { Ok(request) } else { Err(unsigned(&request.key_type)) }
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), &'static str> {
        match name {
            GeneralName::DNSName(name) => self.names.push((*name).to_owned()),
            GeneralName::RFC822Name(email) => self.emails.push((*email).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.addresses.push(address.map_err(|_| "x509: cannot parse IP address")?);
            }
            GeneralName::Invalid(..) => return Err("x509: SAN is malformed"),
            // Other sorts of names are in no certificate.
            _ => {}
        }
        Ok(())
    }

    pub fn organizations(&self) -> &[String] {
        self.all(ORGANIZATION)
    }

    /// The last one counts, as for whoever reads the certificate.
    pub fn common_name(&self) -> &str {
        self.all(COMMON_NAME).last().map_or("", String::as_str)
    }

    fn all(&self, attribute: &str) -> &[String] {
        let found = self.subject.iter().find(|(known, _)| *known == attribute);
        found.map_or(&[], |(_, values)| values)
    }
}

/// What the reader of certificates has no code for.
fn is_signed_by_p521(read: &X509CertificationRequest<'_>) -> bool {
    let info = &read.certification_request_info;
    let used = &read.signature_algorithm.algorithm;
    let digests = [
        (OID_SIG_ECDSA_WITH_SHA256, &SHA256),
        (OID_SIG_ECDSA_WITH_SHA384, &SHA384),
        (OID_SIG_ECDSA_WITH_SHA512, &SHA512),
    ];
    let Some((_, digest)) = digests.iter().find(|(oid, _)| oid == used) else { return false };
    let point = &info.subject_pki.subject_public_key.data;
    let signature = p521::Signature::of_der(&read.signature_value.data);
    let digest = ring::digest::digest(digest, info.raw);
    signature.is_some_and(|it| it.is_by(point, digest.as_ref()))
}

/// The values of each attribute that is known.
fn subject(name: &X509Name<'_>) -> Vec<(&'static str, Vec<String>)> {
    let mut all = Vec::new();
    for known in SUBJECT {
        let found = name.iter_attributes().filter(|it| it.attr_type().to_id_string() == known);
        let values: Vec<String> = found.filter_map(|it| Some(it.as_str().ok()?.into())).collect();
        if !values.is_empty() {
            all.push((known, values));
        }
    }
    all
}

fn key_type(key: &SubjectPublicKeyInfo<'_>) -> KeyType {
    if key.algorithm.algorithm == OID_SIG_ED25519 {
        return KeyType::Ed25519;
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus = rsa.modulus.iter().skip_while(|byte| **byte == 0).count();
            KeyType::Rsa(modulus * 8)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
            let known =
                [(OID_EC_P256, "P-256"), (OID_NIST_EC_P384, "P-384"), (OID_NIST_EC_P521, "P-521")];
            let found = known.iter().find(|(oid, _)| Some(oid) == curve.as_ref());
            KeyType::Ec(found.map_or("P-224", |(_, name)| name))
        }
        _ => KeyType::Other,
    }
}

/// What upstream says of bytes that are no request, as near as two readers of ASN.1 come.
fn broken(der: &[u8], error: &impl std::fmt::Display) -> BadRequest {
    BadRequest::Form(match der {
        [] => "asn1: syntax error: sequence truncated".to_owned(),
        // Its parts are missing, or its end is.
        [0x30, ..] => match Any::from_der(der) {
            Ok(_) => "asn1: syntax error: sequence truncated".to_owned(),
            Err(_) => "asn1: syntax error: data truncated".to_owned(),
        },
        _ => format!("asn1: structure error: {error}"),
    })
}

fn unsigned(key: &KeyType) -> BadRequest {
    BadRequest::Signature(
        match key {
            KeyType::Ec("P-256" | "P-384" | "P-521") => "x509: ECDSA verification failure",
            KeyType::Ed25519 => "x509: Ed25519 verification failure",
            KeyType::Rsa(_) => "crypto/rsa: verification error",
            KeyType::Ec(_) | KeyType::Other => {
                "x509: cannot verify signature: algorithm unimplemented"
            }
        }
        .to_owned(),
    )
}
