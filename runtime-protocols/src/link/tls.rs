//! TLS 1.3 between parties, both sides pinned.
//!
//! Every party makes a key and a certificate of its own; nobody signs for anybody. A party is known by the SHA-256
//! [`Fingerprint`] of its certificate, which the others have written down. A certificate that is not written down, not
//! yet valid or no longer valid ends the handshake; possession of the key is proved by the handshake of TLS itself
//! (RFC 8446, 4.4.3). There are no tickets and no resumption, so each connection has fresh keys.

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "a fingerprint is 64 hexadecimal digits".to_owned();
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Fingerprint(bytes))
    }
}

/// Why a certificate or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not a certificate.
    #[error("not a certificate: {0}")]
    Certificate(String),
    /// Not PEM, or not a key.
    #[error("not a private key that can be used: {0}")]
    Key(String),
    /// A certificate that nobody has written down.
    #[error("the certificate is not the one in `net.toml`: expected {expected}, got {got} (issued {issued})")]
    Unknown {
        /// The fingerprints that would do.
        expected: String,
        /// What was shown.
        got: Fingerprint,
        /// When its validity begins.
        issued: String,
    },
    /// Too old.
    #[error("the certificate {fingerprint} expired on {on}")]
    Expired {
        /// Whose.
        fingerprint: Fingerprint,
        /// End of its validity.
        on: String,
    },
    /// Too new, or a clock is wrong.
    #[error("the certificate {fingerprint} is not valid before {from}; is a clock wrong?")]
    NotYet {
        /// Whose.
        fingerprint: Fingerprint,
        /// Begin of its validity.
        from: String,
    },
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Common name of its subject, as it stands there: untrusted.
    pub name: String,
    /// Seconds since 1970 between which it is valid.
    pub valid: [i64; 2],
    /// The same, to be read.
    pub dates: [String; 2],
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Certificate, TlsError> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|e| TlsError::Certificate(e.to_string()))?;
        Certificate::from_der(der)
    }

    fn from_der(der: CertificateDer<'static>) -> Result<Certificate, TlsError> {
        let fingerprint = fingerprint(&der);
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|e| TlsError::Certificate(e.to_string()))?;
        if !rest.is_empty() {
            return Err(TlsError::Certificate("bytes after its end".to_owned()));
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.unwrap_or_default().to_owned();
        let dates = [parsed.validity().not_before, parsed.validity().not_after];
        let valid = dates.map(|date| date.timestamp());
        let dates = dates.map(|date| date.to_string());
        Ok(Certificate { der, fingerprint, name, valid, dates })
    }

    /// Refuses it outside of its validity, seconds since 1970.
    pub fn check_dates(&self, now: i64) -> Result<(), TlsError> {
        let [from, until] = self.valid;
        let [first, last] = self.dates.clone();
        match now {
            _ if now < from => Err(TlsError::NotYet { fingerprint: self.fingerprint, from: first }),
            _ if now > until => Err(TlsError::Expired { fingerprint: self.fingerprint, on: last }),
            _ => Ok(()),
        }
    }
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    Fingerprint(digest(&SHA256, der).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs().cast_signed())
}

/// The certificate of this party and its key.
pub struct Identity {
    /// The certificate.
    pub certificate: Certificate,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.certificate.fingerprint)
    }
}

impl Identity {
    /// From the PEM files of a party. That the two belong together is checked.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Identity, TlsError> {
        let certificate = Certificate::from_pem(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
        let identity = Identity { certificate, key };
        identity.client(identity.certificate.fingerprint)?;
        Ok(identity)
    }

    fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.der.clone()], self.key.clone_key())
    }

    /// How this party dials a peer that must show `expected`.
    pub(super) fn client(&self, expected: Fingerprint) -> Result<Arc<ClientConfig>, TlsError> {
        let bad = |e: rustls::Error| TlsError::Key(e.to_string());
        let pinned = Arc::new(Pinned::new(vec![expected]));
        let (chain, key) = self.chain();
        let mut config = ClientConfig::builder_with_provider(algorithms())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(bad)?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_client_auth_cert(chain, key)
            .map_err(bad)?;
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// How this party answers peers, who must show one of `allowed`.
    pub(super) fn server(&self, allowed: Vec<Fingerprint>) -> Result<Arc<ServerConfig>, TlsError> {
        let bad = |e: rustls::Error| TlsError::Key(e.to_string());
        let (chain, key) = self.chain();
        let mut config = ServerConfig::builder_with_provider(algorithms())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(bad)?
            .with_client_cert_verifier(Arc::new(Pinned::new(allowed)))
            .with_single_cert(chain, key)
            .map_err(bad)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

/// The name under which peers are dialled; pins decide, names do not.
pub(super) fn nobody() -> ServerName<'static> {
    ServerName::try_from("party.invalid").expect("a name")
}

/// The fingerprint that the other side has proved to hold the key of.
pub(super) fn shown(chain: Option<&[CertificateDer<'_>]>) -> Option<Fingerprint> {
    chain?.first().map(|der| fingerprint(der))
}

/// The algorithms of `ring`, AES-128 first: 128 bits are what the key streams of the protocols have.
fn algorithms() -> Arc<CryptoProvider> {
    use provider::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        ..provider::default_provider()
    })
}

/// Accepts the certificates that are written down, as long as they are valid.
#[derive(Debug)]
struct Pinned {
    allowed: Vec<Fingerprint>,
    algorithms: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(allowed: Vec<Fingerprint>) -> Self {
        Pinned { allowed, algorithms: algorithms() }
    }

    fn check(&self, shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
        let refuse = |e| {
            let other = OtherError(Arc::new(e));
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
        };
        let got = fingerprint(shown);
        let certificate = Certificate::from_der(shown.clone().into_owned());
        if !self.allowed.contains(&got) {
            let list: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
            // A stranger's certificate may be anything.
            let issued = certificate.map_or("at an unreadable date".to_owned(), |c| c.dates[0].clone());
            return refuse(TlsError::Unknown { expected: list.join(" or "), got, issued });
        }
        match certificate.and_then(|c| c.check_dates(now.as_secs().cast_signed())) {
            Ok(()) => Ok(()),
            Err(e) => refuse(e),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.algorithms.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }
}

fn only_13() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        only_13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        only_13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.signature_verification_algorithms.supported_schemes()
    }
}
