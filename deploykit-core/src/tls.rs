//! TLS as every client of deploykit does it: rustls on ring, with the system's authorities and
//! the private one that was configured.

use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// The file with the private authority cannot be read.
    #[error("failed to read the certificates in {path}")]
    Read {
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file with the private authority holds something else.
    #[error("{path} holds no certificate in the PEM form")]
    NoCertificate {
        /// Which file.
        path: Utf8PathBuf,
    },
}

/// The set-up of TLS that trusts the system's authorities (those of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`, where these are set) and the ones in `ca_file`.
///
/// A host without any authority of its own is no error here: a connection to one that `ca_file`
/// does not vouch for then fails with the reason.
pub(crate) fn tls_config(ca_file: Option<&Utf8Path>) -> Result<TlsConfig, TlsError> {
    let roots = match ca_file {
        // A clone of the shared list keeps its identity, by which ureq knows that connections can
        // be shared.
        None => RootCerts::Specific(system_roots()),
        Some(path) => {
            let mut roots = system_roots().to_vec();
            roots.extend(read_certificates(path)?);
            RootCerts::Specific(Arc::new(roots))
        }
    };
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The system's authorities, read once: there are more than a hundred, in a file each on some hosts.
fn system_roots() -> Arc<Vec<Certificate<'static>>> {
    static ROOTS: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        Arc::new(found.certs.iter().map(|c| Certificate::from_der(c).to_owned()).collect())
    });
    Arc::clone(roots)
}

fn read_certificates(path: &Utf8Path) -> Result<Vec<Certificate<'static>>, TlsError> {
    let pem =
        std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let none = || TlsError::NoCertificate { path: path.to_owned() };
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| none())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(none()) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(text: &str) -> (tempfile::NamedTempFile, Utf8PathBuf) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = Utf8PathBuf::from_path_buf(file.path().to_owned()).unwrap();
        (file, path)
    }

    #[test]
    fn a_private_authority_is_trusted_beside_the_systems() {
        let (_file, path) =
            file_with("-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n");
        let config = tls_config(Some(&path)).unwrap();
        let RootCerts::Specific(roots) = config.root_certs() else { panic!("not specific") };
        assert_eq!(roots.len(), system_roots().len() + 1);
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let (_file, path) = file_with("no certificate\n");
        let error = tls_config(Some(&path)).unwrap_err();
        assert!(error.to_string().contains(path.as_str()), "{error}");
        assert!(matches!(error, TlsError::NoCertificate { .. }));
        let missing = tls_config(Some(Utf8Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(matches!(missing, TlsError::Read { .. }));
    }
}
