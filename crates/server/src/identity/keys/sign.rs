//! Signing: certificates for keys that others made (documentation page "Certificates and Certificate Signing
//! Requests"). Who may have one was decided before; here it is made: of a request its subject, its alternative names
//! and its key, of the approved usages those, and nothing else.

use super::issue::{Authority, BACKDATE, Leaf};
use super::{KeysError, node_leaf};
use rcgen::{KeyPair, SigningKey};
use skiff_base::{Time, World};
use skiff_kinds::certificates::pem;
use skiff_kinds::certificates::request::Request;
use std::net::IpAddr;
use std::time::Duration;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

/// A shorter life is not given, unless the signer's own limit is below that.
const LIFE_LEAST: Duration = Duration::from_secs(10 * 60);
/// From here on a life includes the time by which its beginning is dated back.
const LONG: Duration = Duration::from_secs(8 * 60 * 60);
/// The second at which UTCTime ends, and GeneralizedTime has to be used (RFC 5280 section 4.1.2.5).
const YEAR_2050_S: i64 = 2_524_608_000;

/// The bits of the extension keyUsage, in their order (RFC 5280 section 4.2.1.3).
const KEY_USAGES: [&str; 9] = [
    "digital signature",
    "content commitment",
    "key encipherment",
    "data encipherment",
    "key agreement",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
];

/// The purposes of the extension extKeyUsage, in the order in which they are written.
const EXTENDED_USAGES: [(&str, &[u64]); 13] = [
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

/// Signs for the cluster's authority.
pub struct Signer {
    authority: Authority,
    /// No certificate lives longer.
    most: Duration,
}

impl Signer {
    pub(super) fn new(authority: Authority, most: Duration) -> Signer {
        Signer { authority, most }
    }

    /// The certificate, as PEM.
    ///
    /// # Errors
    /// When the authority has ended, or cannot sign.
    pub fn sign(
        &self,
        asked: &Request,
        usages: &[String],
        life: Option<Duration>,
        world: &World,
    ) -> Result<String, KeysError> {
        let failed = |why: String| KeysError::Issue { subject: asked.common_name().into(), why };
        let now = world.now();
        let ends = self.authority.ends();
        if now >= ends {
            return Err(failed("the authority has ended".into()));
        }
        let life = life.map_or(self.most, |life| life.max(LIFE_LEAST).min(self.most));
        let back = if life < LONG { Duration::ZERO } else { BACKDATE };
        let mut serial = [0; 16];
        world.fill(&mut serial);
        let content = Content {
            asked,
            usages,
            serial,
            since: now - BACKDATE,
            ends: (now + life - back).min(ends),
        };
        let key = self.authority.signing_key();
        let body = construct_der(|writer| content.write(writer, &self.authority));
        let signature = key.sign(&body).map_err(|error| failed(error.to_string()))?;
        let der = construct_der(|writer| {
            writer.write_sequence(|parts| {
                parts.next().write_der(&body);
                algorithm(parts.next(), key);
                parts.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem::write("CERTIFICATE", &der))
    }
}

/// What a certificate says (RFC 5280 section 4.1.2).
struct Content<'a> {
    asked: &'a Request,
    usages: &'a [String],
    serial: [u8; 16],
    since: Time,
    ends: Time,
}

impl Content<'_> {
    fn write(&self, writer: DERWriter<'_>, authority: &Authority) {
        writer.write_sequence(|parts| {
            parts.next().write_tagged(Tag::context(0), |version| version.write_u8(2));
            parts.next().write_bigint_bytes(&self.serial, true);
            algorithm(parts.next(), authority.signing_key());
            parts.next().write_der(authority.subject());
            parts.next().write_sequence(|validity| {
                time(validity.next(), self.since);
                time(validity.next(), self.ends);
            });
            parts.next().write_sequence(|subject| self.subject(subject));
            parts.next().write_der(&self.asked.key);
            parts.next().write_tagged(Tag::context(3), |extensions| {
                extensions.write_sequence(|all| self.extensions(all, authority.key_id()));
            });
        });
    }

    /// The values of one attribute are one set, as upstream writes them; but the common name is the last of its own.
    fn subject(&self, subject: &mut DERWriterSeq<'_>) {
        for (attribute, values) in &self.asked.subject {
            let oid = dotted(attribute);
            subject.next().write_set_of(|set| {
                for value in values {
                    set.next().write_sequence(|pair| {
                        pair.next().write_oid(&oid);
                        pair.next().write_utf8_string(value);
                    });
                }
            });
        }
    }

    fn extensions(&self, all: &mut DERWriterSeq<'_>, key_id: &[u8]) {
        let has = |usage: &str| self.usages.iter().any(|it| it == usage);
        let bits = KEY_USAGES.map(|usage| has(usage) || (usage == KEY_USAGES[0] && has("signing")));
        if let Some(last) = bits.iter().rposition(|bit| *bit) {
            let mut bytes = [0u8; 2];
            for (place, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
                bytes[place / 8] |= 0x80 >> (place % 8);
            }
            extension(all, &[2, 5, 29, 15], Critical::Yes, |value| {
                value.write_bitvec_bytes(&bytes[..=last / 8], last + 1);
            });
        }
        let mut purposes: Vec<&[u64]> =
            EXTENDED_USAGES.iter().filter(|(name, _)| has(name)).map(|(_, oid)| *oid).collect();
        purposes.dedup();
        if !purposes.is_empty() {
            extension(all, &[2, 5, 29, 37], Critical::No, |value| {
                value.write_sequence(|list| {
                    for oid in purposes {
                        list.next().write_oid(&ObjectIdentifier::from_slice(oid));
                    }
                });
            });
        }
        // No authority.
        extension(all, &[2, 5, 29, 19], Critical::Yes, |value| value.write_sequence(|_| ()));
        extension(all, &[2, 5, 29, 35], Critical::No, |value| {
            value.write_sequence(|parts| {
                parts.next().write_tagged_implicit(Tag::context(0), |id| id.write_bytes(key_id));
            });
        });
        self.alternative_names(all);
    }

    fn alternative_names(&self, all: &mut DERWriterSeq<'_>) {
        let Request { names, addresses, emails, uris, .. } = self.asked;
        let texts = [(2, names), (1, emails)];
        if names.len() + addresses.len() + emails.len() + uris.len() == 0 {
            return;
        }
        extension(all, &[2, 5, 29, 17], Critical::No, |value| {
            value.write_sequence(|list| {
                let mut text = |tag, text: &str| {
                    list.next().write_tagged_implicit(Tag::context(tag), |it| {
                        it.write_bytes(text.as_bytes());
                    });
                };
                for (tag, texts) in texts {
                    texts.iter().for_each(|it| text(tag, it));
                }
                uris.iter().for_each(|it| text(6, it));
                for address in addresses {
                    let bytes = match address {
                        IpAddr::V4(address) => address.octets().to_vec(),
                        IpAddr::V6(address) => address.octets().to_vec(),
                    };
                    list.next().write_tagged_implicit(Tag::context(7), |it| it.write_bytes(&bytes));
                }
            });
        });
    }
}

#[derive(PartialEq)]
enum Critical {
    Yes,
    No,
}

fn extension(
    all: &mut DERWriterSeq<'_>,
    oid: &[u64],
    critical: Critical,
    value: impl FnOnce(DERWriter<'_>),
) {
    all.next().write_sequence(|parts| {
        parts.next().write_oid(&ObjectIdentifier::from_slice(oid));
        if critical == Critical::Yes {
            parts.next().write_bool(true);
        }
        parts.next().write_bytes(&construct_der(value));
    });
}

/// The algorithm that a key of this sort signs with.
fn algorithm(writer: DERWriter<'_>, key: &KeyPair) {
    let used = key.algorithm();
    let (oid, with_null): (&[u64], _) = match () {
        () if used == &rcgen::PKCS_ECDSA_P256_SHA256 => (&[1, 2, 840, 10045, 4, 3, 2], false),
        () if used == &rcgen::PKCS_ECDSA_P384_SHA384 => (&[1, 2, 840, 10045, 4, 3, 3], false),
        () if used == &rcgen::PKCS_ED25519 => (&[1, 3, 101, 112], false),
        () if used == &rcgen::PKCS_RSA_SHA384 => (&[1, 2, 840, 113_549, 1, 1, 12], true),
        () if used == &rcgen::PKCS_RSA_SHA512 => (&[1, 2, 840, 113_549, 1, 1, 13], true),
        () => (&[1, 2, 840, 113_549, 1, 1, 11], true),
    };
    writer.write_sequence(|parts| {
        parts.next().write_oid(&ObjectIdentifier::from_slice(oid));
        if with_null {
            parts.next().write_null();
        }
    });
}

fn time(writer: DERWriter<'_>, at: Time) {
    let known = "the digits are those of a time";
    if at.as_second() < YEAR_2050_S {
        let text = at.strftime("%y%m%d%H%M%SZ").to_string();
        writer.write_utctime(&UTCTime::parse(text.as_bytes()).expect(known));
    } else {
        let text = at.strftime("%Y%m%d%H%M%SZ").to_string();
        writer.write_generalized_time(&GeneralizedTime::parse(text.as_bytes()).expect(known));
    }
}

fn dotted(oid: &str) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(
        &oid.split('.').filter_map(|it| it.parse().ok()).collect::<Vec<_>>(),
    )
}

/// What a node asks a certificate for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To call the API server.
    Client,
    /// To be called at the node's own API.
    Serving,
}

/// A node's fresh key and its request for a certificate, both as PEM.
///
/// # Errors
/// When no key can be made.
pub fn request(
    node: &str,
    purpose: Use,
    address: IpAddr,
    world: &World,
) -> Result<(String, String), KeysError> {
    let leaf = match purpose {
        Use::Client => Leaf::client(&format!("system:node:{node}"), "system:nodes"),
        Use::Serving => node_leaf(node, [node.to_owned()], vec![address]),
    };
    leaf.request(world)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::tls::user;
    use expect_test::expect;
    use rcgen::PublicKeyData;
    use rustls_pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn signer(world: &World) -> Signer {
        Signer::new(Authority::make("kubernetes", world).unwrap(), Duration::from_secs(7200))
    }

    fn signed(signer: &Signer, asked: &Request, usages: &[&str], world: &World) -> String {
        let usages: Vec<String> = usages.iter().map(|it| (*it).to_owned()).collect();
        signer.sign(asked, &usages, None, world).unwrap()
    }

    #[tokio::test]
    async fn a_certificate_lives_for_the_time_that_was_asked_for() {
        let world = World::seeded(1);
        let signer = signer(&world);
        let (_, request) = request("n1", Use::Client, [192, 0, 2, 9].into(), &world).unwrap();
        let asked = Request::of_pem(request.as_bytes()).unwrap();
        assert_eq!(asked.common_name(), "system:node:n1");
        for (wanted, granted_s) in
            [(Some(900), 900), (Some(1), 600), (None, 7200), (Some(9999), 7200)]
        {
            let life = wanted.map(Duration::from_secs);
            let pem = signer.sign(&asked, &["client auth".into()], life, &world).unwrap();
            let (since, ends) = super::super::life(&pem).unwrap();
            assert_eq!(ends.as_second() - since.as_second(), granted_s);
            assert!((0..2).contains(&(world.now().as_second() - since.as_second())), "{since}");
        }
    }

    #[tokio::test]
    async fn all_of_a_subject_and_its_names_is_certified() {
        let world = World::seeded(1);
        let signer = signer(&world);
        let (_, request) = request("n1", Use::Serving, [192, 0, 2, 9].into(), &world).unwrap();
        let mut asked = Request::of_pem(request.as_bytes()).unwrap();
        asked.subject = vec![
            ("2.5.4.10", vec!["b".into(), "a".into(), "c".into()]),
            ("2.5.4.3", vec!["jürgen".into()]),
        ];
        asked.emails.push("a@example.com".into());
        asked.uris.push("spiffe://x/y".into());
        asked.addresses.push("fd00::1".parse().unwrap());
        let usages = ["digital signature", "signing", "decipher only", "server auth", "s/mime"];
        let pem = signed(&signer, &asked, &usages, &world);
        let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(user(&der).map(|it| (it.name, it.groups.join(" "))).unwrap().0, "jürgen");
        let (_, read) = X509Certificate::from_der(&der).unwrap();
        assert!(read.verify_signature(Some(&authority_key(&signer))).is_ok());
        let usage = read.key_usage().unwrap().unwrap().value;
        let extended = read.extended_key_usage().unwrap().unwrap().value;
        let names = &read.subject_alternative_name().unwrap().unwrap().value.general_names;
        let shown = format!(
            "{}\n{usage}\nserver {} client {} email {}\nca {}\n{}\n",
            read.subject(),
            extended.server_auth,
            extended.client_auth,
            extended.email_protection,
            read.is_ca(),
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        );
        expect![[r#"
            O=a + O=b + O=c, CN=jürgen
            Digital Signature, Decipher Only
            server true client false email true
            ca false
            DNSName(n1)
            RFC822Name(a@example.com)
            URI(spiffe://x/y)
            IPAddress(c0:00:02:09)
            IPAddress(fd:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01)
        "#]]
        .assert_eq(&shown);
    }

    fn authority_key(signer: &Signer) -> x509_parser::x509::SubjectPublicKeyInfo<'static> {
        let spki = signer.authority.signing_key().subject_public_key_info().leak();
        x509_parser::x509::SubjectPublicKeyInfo::from_der(spki).unwrap().1
    }
}
