//! TLS: a server is trusted by the configured authority and by no other, and a broken handshake did not happen.

use std::path::PathBuf;
use std::sync::Arc;

use cpd_connector_api::{Connector, json};
use cpd_connectors::http::{Http, HttpConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

/// An authority's certificate as PEM, and a server of `localhost` that it vouches for.
pub fn authority() -> (String, TlsAcceptor) {
    let (pem, config) = authority_config();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

/// The same, with a server that is yet to be set up.
pub fn authority_config() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)
        .unwrap();
    (pem, config)
}

/// Answers each connection with one `{"ok":true}`.
async fn listen(acceptor: TlsAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"ok\":true}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

fn trusting(pem: &str) -> (tempfile::TempDir, Http) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    (dir, Http::new(client(HttpConfig { ca_file: Some(path), ..HttpConfig::default() }), secrets()))
}

#[tokio::test]
async fn the_configured_authority_is_trusted_and_no_other() {
    let (pem, acceptor) = authority();
    let url = listen(acceptor).await;
    let (_dir, http) = trusting(&pem);
    let ask = || request("http.request", "k", json!({"method": "POST", "endpoint": url}));
    assert_eq!(output(http.call(ask()).await), json!({"ok": true}));
    let (_dir, suspicious) = trusting(&authority().0);
    let outcome = suspicious.call(ask()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "failed", "nothing was sent: {problem}");
    assert!(detail(problem).contains("could not connect: invalid peer certificate"), "{problem}");
}
