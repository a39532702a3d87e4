//! Issuing: how a certificate is made, signed by the cluster's authority, and judged later. Makes
//! values, touches no file. Elliptic curve P-256 throughout: small, fast, and understood by every
//! client.

use super::{KeysError, Pair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use skiff_base::{Time, World};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An authority lives for ten years, as kubeadm has it.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Everybody else for a year.
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A certificate that expires within this span is re-issued at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Certificates are valid since a little before they are made, for clients whose clocks are behind.
pub(super) const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) usage: ExtendedKeyUsagePurpose,
    pub(super) names: BTreeSet<String>,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Leaf {
    pub fn client(user: &str, group: &str) -> Leaf {
        Leaf {
            name: user.into(),
            group: group.into(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            names: BTreeSet::new(),
            addresses: BTreeSet::new(),
        }
    }

    pub fn server(
        name: &str,
        names: impl IntoIterator<Item = String>,
        addresses: Vec<IpAddr>,
    ) -> Leaf {
        Leaf {
            name: name.into(),
            group: String::new(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            names: names.into_iter().filter(|n| !n.is_empty()).collect(),
            addresses: addresses.into_iter().collect(),
        }
    }

    /// The same, in an organization.
    pub fn of(self, group: &str) -> Leaf {
        Leaf { group: group.into(), ..self }
    }

    fn params(&self, world: &World) -> Result<CertificateParams, rcgen::Error> {
        let mut params = params(&self.name, &self.group, world, LEAF_LIFE);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![self.usage.clone()];
        for name in &self.names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().map(|a| SanType::IpAddress(*a)));
        Ok(params)
    }

    /// A fresh key, and a request that asks a certificate of this for it (PKCS #10), both as PEM.
    pub fn request(&self, world: &World) -> Result<(String, String), KeysError> {
        let make = || -> Result<(String, String), rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = self.params(world)?;
            // A request names no time and no number: they are the signer's.
            params.serial_number = None;
            let request = params.serialize_request(&key)?.pem()?;
            Ok((key.serialize_pem(), request))
        };
        make().map_err(|error| failed(self, error))
    }
}

/// A certificate authority.
pub struct Authority {
    pair: Pair,
    issuer: Issuer<'static, KeyPair>,
    /// The identifier of its key, which all certificates that it signed repeat.
    key_id: Vec<u8>,
    /// Its name, as DER, which they repeat as well.
    subject: Vec<u8>,
    ends: Time,
}

impl Authority {
    pub fn make(name: &str, world: &World) -> Result<Authority, KeysError> {
        let make = || -> Result<Pair, rcgen::Error> {
            let mut params = params(name, "", world, AUTHORITY_LIFE);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::CrlSign,
            ];
            let key = KeyPair::generate()?;
            Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
        };
        let wrong = |why: String| KeysError::Issue { subject: name.into(), why };
        Authority::read(make().map_err(|error| wrong(error.to_string()))?).map_err(wrong)
    }

    /// Reads an authority back.
    pub fn read(pair: Pair) -> Result<Authority, String> {
        let key = KeyPair::from_pem(&pair.key).map_err(|error| error.to_string())?;
        let (key_id, subject, ends) = with_certificate(&pair.certificate, |certificate| {
            let id = key_matches(certificate, &key).then(|| subject_key_id(certificate)).flatten();
            let ends = Time::from_second(certificate.validity().not_after.timestamp()).ok();
            Some((id?, certificate.subject().as_raw().to_vec(), ends?))
        })
        .flatten()
        .ok_or("the certificate and the key do not belong together")?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(|e| e.to_string())?;
        Ok(Authority { pair, issuer, key_id, subject, ends })
    }

    pub(super) fn signing_key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub(super) fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(super) fn ends(&self) -> Time {
        self.ends
    }

    pub fn certificate(&self) -> &str {
        &self.pair.certificate
    }

    pub fn key(&self) -> &str {
        &self.pair.key
    }

    pub fn issue(&self, leaf: &Leaf, world: &World) -> Result<Pair, KeysError> {
        let make = || -> Result<Pair, rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = leaf.params(world)?;
            params.use_authority_key_identifier_extension = true;
            let certificate = params.signed_by(&key, &self.issuer)?.pem();
            Ok(Pair { certificate, key: key.serialize_pem() })
        };
        make().map_err(|error| failed(leaf, error))
    }

    /// Whether a pair says what `leaf` wants, was signed by this authority and lasts a while.
    pub fn still_good(&self, pair: &Pair, leaf: &Leaf, world: &World) -> bool {
        let Ok(key) = KeyPair::from_pem(&pair.key) else { return false };
        let judge = |certificate: &X509Certificate<'_>| {
            let renew = (world.now() + RENEW_BEFORE).as_second();
            let subject = certificate.subject();
            let text = |mut names: Vec<&str>| names.pop().unwrap_or("").to_owned();
            let name = subject.iter_common_name().filter_map(|n| n.as_str().ok()).collect();
            let group = subject.iter_organization().filter_map(|n| n.as_str().ok()).collect();
            certificate.validity().not_after.timestamp() > renew
                && text(name) == leaf.name
                && text(group) == leaf.group
                && key_matches(certificate, &key)
                && authority_key_id(certificate).as_ref() == Some(&self.key_id)
                && alternative_names(certificate) == (leaf.names.clone(), leaf.addresses.clone())
        };
        with_certificate(&pair.certificate, judge).unwrap_or(false)
    }
}

fn failed(leaf: &Leaf, error: rcgen::Error) -> KeysError {
    KeysError::Issue { subject: leaf.name.clone(), why: error.to_string() }
}

/// When a certificate was made and when it ends.
pub fn life(pem: &str) -> Option<(Time, Time)> {
    let times = |it: &X509Certificate<'_>| {
        (it.validity().not_before.timestamp(), it.validity().not_after.timestamp())
    };
    let (since, ends) = with_certificate(pem, times)?;
    Some((Time::from_second(since).ok()? + BACKDATE, Time::from_second(ends).ok()?))
}

/// A fresh key pair: the private and the public key as PEM.
pub fn key_pair() -> Result<(String, String), String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn params(name: &str, group: &str, world: &World, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    // The library counts from a day, so the moment is that of the epoch plus a span.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(world.now().as_second()).unwrap_or(0));
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + (now + life).min(DAY * 365 * 500);
    let mut serial = [0; 16];
    world.fill(&mut serial);
    // A serial number is a positive integer (RFC 5280 section 4.1.2.2).
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

/// Parses a PEM certificate and asks something of it.
fn with_certificate<T>(pem: &str, ask: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(ask(&certificate))
}

fn key_matches(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    certificate.public_key().subject_public_key.data == key.der_bytes()
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|i| i.0.to_vec())
        }
        _ => None,
    })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => {
                names.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }
    (names, addresses)
}
