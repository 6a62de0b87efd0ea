//! Handshakes with certificates made here: good ones, renewed ones, wrong ones.

use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::door::config::ClientCertificates;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn pair(authority: &Issuer, name: &str, serial: u64, usage: ExtendedKeyUsagePurpose) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.signed_by(&key, authority).unwrap(), key }
}

/// A directory with the files of a server.
struct Place {
    dir: tempfile::TempDir,
    authority: Issuer,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), authority: authority("servers") };
        place.renew(1);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn renew(&self, serial: u64) -> Vec<u8> {
        let Pair { certificate, key } = pair(&self.authority, "cpd.test", serial, ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    fn config(&self) -> Tls {
        Tls {
            cert_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            client_certificates: ClientCertificates::None,
            client_ca_file: None,
            client_crl_file: None,
            handshake_ms_max: 10_000,
        }
    }

    fn with_clients(&self, clients: &Issuer, wanted: ClientCertificates) -> Tls {
        std::fs::write(self.path("clients.pem"), clients.pem()).unwrap();
        Tls { client_certificates: wanted, client_ca_file: Some(self.path("clients.pem")), ..self.config() }
    }

    fn client(&self, shows: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// What the server has accepted, and the certificate that the client was shown.
async fn connect(acceptor: &Acceptor, client: ClientConfig) -> Result<(Accepted<DuplexStream>, Vec<u8>), String> {
    keeping(acceptor, client).await.map(|(accepted, shown, _)| (accepted, shown))
}

type Client = tokio_rustls::client::TlsStream<DuplexStream>;

/// The same, and the client's end.
async fn keeping(
    acceptor: &Acceptor,
    client: ClientConfig,
) -> Result<(Accepted<DuplexStream>, Vec<u8>, Client), String> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("cpd.test").unwrap();
    let calling = tokio::spawn(async move {
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, theirs).await.map_err(|e| e.to_string())?;
        // With TLS 1.3 a server that refuses the client's certificate says so only now.
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.map_err(|e| e.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Ok::<_, String>((shown, stream))
    });
    let accepted = acceptor.accept(ours).await;
    let mut accepted = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            drop(calling.await);
            return Err(error.to_string());
        }
    };
    accepted.stream.write_all(b"hello").await.unwrap();
    accepted.stream.flush().await.unwrap();
    let (shown, client) = calling.await.unwrap()?;
    Ok((accepted, shown, client))
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_open_connections_stay() {
    let place = Place::new();
    let acceptor = Acceptor::load(&place.config()).unwrap();
    assert!(!acceptor.reload_if_changed().unwrap());
    let (mut open, first, mut client) = keeping(&acceptor, place.client(None)).await.unwrap();
    assert!(open.http2 && open.certificate.is_none());

    let renewed = place.renew(2);
    assert_ne!(first, renewed);
    assert!(acceptor.reload_if_changed().unwrap());
    let (_, second) = connect(&acceptor, place.client(None)).await.unwrap();
    assert_eq!(second, renewed);
    open.stream.write_all(b"still there").await.unwrap();
    open.stream.flush().await.unwrap();
    let mut read = [0; 11];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still there");

    // Half of a renewal: the key is still the old one's. Then the other half.
    let key = std::fs::read(place.path("key.pem")).unwrap();
    let third = place.renew(3);
    let good = std::fs::read(place.path("key.pem")).unwrap();
    std::fs::write(place.path("key.pem"), key).unwrap();
    let error = acceptor.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("another certificate"), "{error}");
    assert!(!acceptor.reload_if_changed().unwrap(), "said once");
    assert_eq!(connect(&acceptor, place.client(None)).await.unwrap().1, renewed, "the one before stays");
    std::fs::write(place.path("key.pem"), good).unwrap();
    std::fs::File::open(place.path("key.pem")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(acceptor.reload_if_changed().unwrap());
    assert_eq!(connect(&acceptor, place.client(None)).await.unwrap().1, third);
}

#[tokio::test(start_paused = true)]
async fn watching_takes_what_has_changed() {
    let place = Place::new();
    let acceptor = Arc::new(Acceptor::load(&place.config()).unwrap());
    let watching = tokio::spawn({
        let acceptor = acceptor.clone();
        async move { acceptor.watch(Duration::from_secs(30)).await }
    });
    let before = acceptor.current.read().clone();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(Arc::ptr_eq(&before, &acceptor.current.read()), "nothing has changed");
    let renewed = place.renew(2);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(connect(&acceptor, place.client(None)).await.unwrap().1, renewed);
    watching.abort();
}

#[tokio::test]
async fn clients_show_certificates_of_their_authority_or_are_refused() {
    let place = Place::new();
    let clients = authority("clients");
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let good = pair(&clients, "batch", 7, client.clone());
    let strange = pair(&authority("clients"), "batch", 7, client);
    let server = pair(&clients, "batch", 8, ExtendedKeyUsagePurpose::ServerAuth);

    let required = Acceptor::load(&place.with_clients(&clients, ClientCertificates::Required)).unwrap();
    let (accepted, _) = connect(&required, place.client(Some(&good))).await.unwrap();
    assert_eq!(accepted.certificate.as_ref(), Some(good.certificate.der()));
    for shows in [None, Some(&strange), Some(&server)] {
        assert!(connect(&required, place.client(shows)).await.is_err());
    }
    let optional = Acceptor::load(&place.with_clients(&clients, ClientCertificates::Optional)).unwrap();
    assert!(connect(&optional, place.client(None)).await.unwrap().0.certificate.is_none());
    assert!(connect(&optional, place.client(Some(&strange))).await.is_err(), "a wrong one is not as good as none");
    let none = Acceptor::load(&place.config()).unwrap();
    assert!(connect(&none, place.client(Some(&good))).await.unwrap().0.certificate.is_none(), "it was not asked for");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_next_reload_on() {
    let place = Place::new();
    let clients = authority("clients");
    let client = pair(&clients, "batch", 7, ExtendedKeyUsagePurpose::ClientAuth);
    let list = |revoked: Vec<u64>| {
        let revoked = revoked.into_iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(place.path("crl.pem"), params.signed_by(&clients).unwrap().pem().unwrap()).unwrap();
    };
    list(vec![99]);
    let config = Tls {
        client_crl_file: Some(place.path("crl.pem")),
        ..place.with_clients(&clients, ClientCertificates::Required)
    };
    let acceptor = Acceptor::load(&config).unwrap();
    connect(&acceptor, place.client(Some(&client))).await.unwrap();
    list(vec![7, 99]);
    acceptor.reload().unwrap();
    let error = connect(&acceptor, place.client(Some(&client))).await.unwrap_err();
    assert!(error.contains("Revoked"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let place = Place::new();
    let acceptor = Acceptor::load(&place.config()).unwrap();
    let (ours, _theirs) = tokio::io::duplex(1_024);
    let error = acceptor.accept(ours).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let (ours, mut theirs) = tokio::io::duplex(1_024);
    theirs.write_all(b"GET / HTTP/1.1\r\nHost: cpd.test\r\n\r\n").await.unwrap();
    assert!(acceptor.accept(ours).await.is_err(), "plain HTTP");
}

#[test]
fn each_thing_that_is_wrong_is_said_with_its_file() {
    let place = Place::new();
    let (cert, key) = (place.path("cert.pem"), place.path("key.pem"));
    let good = (std::fs::read_to_string(&cert).unwrap(), std::fs::read_to_string(&key).unwrap());
    let other = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = good.0.replace("MII", "!!!");
    for (certificate, private, file, said) in [
        ("", &*good.1, "cert.pem", "BEGIN CERTIFICATE"),
        (&good.1, &good.1, "cert.pem", "BEGIN CERTIFICATE"),
        (&broken, &good.1, "cert.pem", "expected PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.1, "cert.pem", "use the certificate"),
        (&good.0, "", "key.pem", "BEGIN PRIVATE KEY"),
        (&good.0, encrypted, "key.pem", "openssl pkey"),
        (&good.0, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key.pem", "use the private key"),
        (&good.0, &other, "key.pem", "another certificate"),
    ] {
        std::fs::write(&cert, certificate).unwrap();
        std::fs::write(&key, private).unwrap();
        let error = Acceptor::load(&place.config()).err().expect("an error").to_string();
        assert!(error.contains(file) && error.contains(said), "{said}: {error}");
    }
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&cert, &good.0).unwrap();
    let error = Acceptor::load(&place.config()).err().expect("an error").to_string();
    assert!(error.contains("key.pem") && error.contains("private key"), "{error}");
    std::fs::write(&key, &good.1).unwrap();

    let clients = ClientCertificates::Required;
    let config = Tls { client_certificates: clients, ..place.config() };
    let error = Acceptor::load(&config).err().expect("an error").to_string();
    assert!(error.contains("client_ca_file"), "{error}");
    let config = Tls { client_ca_file: Some(cert.clone()), ..place.config() };
    let error = Acceptor::load(&config).err().expect("an error").to_string();
    assert!(error.contains("\"none\""), "{error}");
    let config = Tls { client_crl_file: Some(cert), ..place.with_clients(&authority("clients"), clients) };
    let error = Acceptor::load(&config).err().expect("an error").to_string();
    assert!(error.contains("X509 CRL"), "{error}");
}
