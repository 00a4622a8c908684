//! TLS as Flume's files ask for it: stores of Java, in PKCS12, and files in PEM.
//!
//! What a store is, its first bytes say: the types JKS and PKCS12 are one to Java, which reads either under
//! both names. Stores in Java's own format are refused, with the command that makes PKCS12 of them.
//!
//! [`stream`] is a connection by TLS for tasks.

pub mod stream;

use std::io;
use std::path::{Path, PathBuf};

use native_tls::{Certificate, Protocol, TlsConnector};
use openssl::error::ErrorStack;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;

use crate::keys::Keys;
use crate::stop::chain;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The store.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A store is in Java's own format.
    #[error(
        "{path} is a store in Java's own format; make PKCS12 of it: keytool -importkeystore -srckeystore {path} \
         -destkeystore {path}.p12 -deststoretype PKCS12"
    )]
    Jks {
        /// The store.
        path: String,
    },
    /// A store cannot be opened: a wrong password, or no store.
    #[error("cannot open {} (PKCS12 and PEM are understood)", path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// Why.
        source: ErrorStack,
    },
    /// A store has not what it is for.
    #[error("{} has no {what}", path.display())]
    Lacks {
        /// The store.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// OpenSSL does not take what the store has.
    #[error("cannot use {}", path.display())]
    Use {
        /// The store.
        path: PathBuf,
        /// Why.
        source: ErrorStack,
    },
    /// OpenSSL does not do what it should.
    #[error("cannot set up TLS")]
    Setup(#[from] native_tls::Error),
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Versions {
    is_1_2: bool,
    is_1_3: bool,
}

impl Versions {
    /// Reads `include-protocols` and `exclude-protocols`.
    fn read(keys: &Keys<'_>) -> Versions {
        let included = keys.words("include-protocols");
        let excluded = keys.words("exclude-protocols");
        const KNOWN: [&str; 6] = ["SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
        for (key, names) in [("include-protocols", &included), ("exclude-protocols", &excluded)] {
            for name in names.iter().filter(|name| !KNOWN.contains(&name.as_str())) {
                keys.wrong(key, name, &KNOWN.join(", "));
            }
        }
        let old: Vec<_> =
            included.iter().filter(|name| KNOWN[..4].contains(&name.as_str())).cloned().collect();
        if !old.is_empty() {
            let text = format!("{} is never spoken: it is broken; TLSv1.2 is", old.join(", "));
            keys.doubtful("include-protocols", text);
        }
        let has = |name: &str| {
            let is = |known: &String| known == name;
            (included.is_empty() || included.iter().any(is)) && !excluded.iter().any(is)
        };
        let versions = Versions { is_1_2: has("TLSv1.2"), is_1_3: has("TLSv1.3") };
        if !versions.is_1_2 && !versions.is_1_3 {
            let key = if included.is_empty() { "exclude-protocols" } else { "include-protocols" };
            keys.mistaken(key, "neither TLSv1.2 nor TLSv1.3 is left to speak");
        }
        for key in ["include-cipher-suites", "exclude-cipher-suites"] {
            keys.refuse(key, "the ciphers are OpenSSL's, of which none is known to be weak");
        }
        versions
    }

    fn range(self) -> (Protocol, Option<Protocol>) {
        match (self.is_1_2, self.is_1_3) {
            (true, false) => (Protocol::Tlsv12, Some(Protocol::Tlsv12)),
            (false, true) => (Protocol::Tlsv13, None),
            _ => (Protocol::Tlsv12, None),
        }
    }
}

/// What a server shows: a certificate, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    store: PathBuf,
    /// Where the key stands, if not in the store.
    key: Option<PathBuf>,
    password: String,
    versions: Versions,
}

impl Shown {
    /// Reads the keys of a server, `ssl` and those that go with it. None without TLS.
    pub fn read(keys: &Keys<'_>) -> Option<Shown> {
        if !keys.flag("ssl", false) {
            // They are known, if only for when it is switched on.
            for key in ["keystore", "keystore-key", "keystore-password", "keystore-type"] {
                keys.text(key);
            }
            Versions::read(keys);
            return None;
        }
        let store = keys.required("keystore");
        let key = keys.text("keystore-key").map(PathBuf::from);
        let password = keys.text("keystore-password").unwrap_or_default();
        read_type(keys, "keystore-type");
        let versions = Versions::read(keys);
        let shown = Shown { store: store.into(), key, password, versions };
        if !shown.store.as_os_str().is_empty()
            && let Err(error) = shown.acceptor()
        {
            let key = match &error {
                Error::Read { path, .. } if shown.key.as_ref() == Some(path) => "keystore-key",
                _ => "keystore",
            };
            keys.mistaken(key, chain(&error));
        }
        Some(shown)
    }

    /// Opens the store.
    ///
    /// native-tls is not used here: its servers never speak TLSv1.3.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or has no certificate with its key.
    pub fn acceptor(&self) -> Result<SslAcceptor, Error> {
        let (key, chain) = self.identity()?;
        let build = || {
            let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
            let (least, most) = self.versions.range();
            let number = |version| match version {
                Protocol::Tlsv13 => SslVersion::TLS1_3,
                _ => SslVersion::TLS1_2,
            };
            builder.set_min_proto_version(Some(number(least)))?;
            builder.set_max_proto_version(most.map(number))?;
            let mut chain = chain.into_iter();
            if let Some(own) = chain.next() {
                builder.set_certificate(&own)?;
            }
            chain.try_for_each(|above| builder.add_extra_chain_cert(above))?;
            builder.set_private_key(&key)?;
            builder.check_private_key()?;
            Ok(builder.build())
        };
        build().map_err(|source| Error::Use { path: self.store.clone(), source })
    }

    /// The key, and the certificates: its own, and those that vouch for it.
    fn identity(&self) -> Result<(PKey<Private>, Vec<X509>), Error> {
        let lacks = |what| Error::Lacks { path: self.store.clone(), what };
        let store = read(&self.store)?;
        if !is_pem(&store) {
            let parsed = open(&self.store, &store, &self.password)?;
            let key = parsed.pkey.ok_or_else(|| lacks("private key"))?;
            let own = parsed.cert.ok_or_else(|| lacks("certificate for its key"))?;
            // They come the other way round.
            let above = parsed.ca.into_iter().flatten().rev();
            return Ok((key, [own].into_iter().chain(above).collect()));
        }
        let path = self.key.as_ref().unwrap_or(&self.store);
        let key = match &self.key {
            Some(path) => &read(path)?,
            None => &store,
        };
        let open = |source| Error::Open { path: path.clone(), source };
        // The password is asked for where the key is encrypted, and only there.
        let key = PKey::private_key_from_pem_passphrase(key, self.password.as_bytes());
        let unreadable = |source| Error::Open { path: self.store.clone(), source };
        let chain = X509::stack_from_pem(&store).map_err(unreadable)?;
        if chain.is_empty() {
            return Err(lacks("certificate"));
        }
        Ok((key.map_err(open)?, chain))
    }
}

/// Whom a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Where the authorities stand, if not the system's count.
    store: Option<PathBuf>,
    password: String,
    trusts_all: bool,
    checks_name: bool,
    versions: Versions,
}

impl Trusted {
    /// Reads the keys of a client, `ssl` and those that go with it. None without TLS.
    pub fn read(keys: &Keys<'_>) -> Option<Trusted> {
        if !keys.flag("ssl", false) {
            keys.flag("trust-all-certs", false);
            for key in ["truststore", "truststore-password", "truststore-type", "verifyHostname"] {
                keys.text(key);
            }
            Versions::read(keys);
            return None;
        }
        let trusts_all = keys.flag("trust-all-certs", false);
        let store = keys.text("truststore");
        let password = keys.text("truststore-password").unwrap_or_default();
        read_type(keys, "truststore-type");
        // Flume never looks at the name. Where anybody's certificate would do, that would be no check at all.
        let checks_name = keys.flag("verifyHostname", store.is_none() && !trusts_all);
        let versions = Versions::read(keys);
        let store = store.map(PathBuf::from);
        let trusted = Trusted { store, password, trusts_all, checks_name, versions };
        if trusted.store.is_some()
            && let Err(error) = trusted.connector()
        {
            keys.mistaken("truststore", chain(&error));
        }
        Some(trusted)
    }

    /// Whom a client trusts that has this store, or the system's authorities without one.
    pub fn of(store: Option<&Path>, password: &str) -> Trusted {
        Trusted {
            store: store.map(Path::to_owned),
            password: password.to_owned(),
            trusts_all: false,
            checks_name: store.is_none(),
            versions: Versions { is_1_2: true, is_1_3: true },
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or has no certificate.
    pub fn connector(&self) -> Result<TlsConnector, Error> {
        let (least, most) = self.versions.range();
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(least)).max_protocol_version(most);
        builder.danger_accept_invalid_certs(self.trusts_all);
        builder.danger_accept_invalid_hostnames(!self.checks_name);
        if let Some(path) = &self.store {
            builder.disable_built_in_roots(true);
            let certificates = certificates(path, &self.password)?;
            if certificates.is_empty() {
                return Err(Error::Lacks { path: path.clone(), what: "certificate" });
            }
            for certificate in certificates {
                builder.add_root_certificate(certificate);
            }
        }
        Ok(builder.build()?)
    }
}

/// The type of a store is in the file; what a key says of it is only looked at.
fn read_type(keys: &Keys<'_>, key: &str) {
    let known = ["JKS", "PKCS12", "PEM"];
    let given = keys.text_or(key, "JKS");
    if !known.iter().any(|known| given.eq_ignore_ascii_case(known)) {
        keys.wrong(key, &given, "JKS (which is PKCS12 in fact), PKCS12, PEM");
    }
}

/// The bytes of a store that is not in Java's own format.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) || bytes.starts_with(&[0xce; 4]) {
        return Err(Error::Jks { path: path.display().to_string() });
    }
    Ok(bytes)
}

fn is_pem(store: &[u8]) -> bool {
    memchr::memmem::find(store, b"-----BEGIN ").is_some()
}

/// Opens a store in PKCS12. Older ones are encrypted in a way that OpenSSL has set aside, and still has.
fn open(path: &Path, store: &[u8], password: &str) -> Result<ParsedPkcs12_2, Error> {
    let parse = || Pkcs12::from_der(store)?.parse2(password);
    let parsed = parse().or_else(|error| {
        let _legacy = Provider::try_load(None, "legacy", true).map_err(|_| error)?;
        parse()
    });
    parsed.map_err(|source| Error::Open { path: path.to_owned(), source })
}

fn certificates(path: &Path, password: &str) -> Result<Vec<Certificate>, Error> {
    let store = read(path)?;
    if is_pem(&store) {
        return Ok(Certificate::stack_from_pem(&store)?);
    }
    let parsed = open(path, &store, password)?;
    let all = parsed.cert.into_iter().chain(parsed.ca.into_iter().flatten());
    let of = |certificate: X509| {
        let der = certificate.to_der();
        let der = der.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Certificate::from_der(&der)?)
    };
    all.map(of).collect()
}

#[cfg(test)]
mod tests;
