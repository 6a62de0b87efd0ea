//! JSON web tokens that a client signs to say who it is (RFC 7523), and the parts of foreign ones that are looked at.
//!
//! `client_secret_jwt` is HS256 with the client's secret; `private_key_jwt` is RS256 or ES256, as the key is. Keys are PEM:
//! PKCS #8 (`BEGIN PRIVATE KEY`) for both kinds, PKCS #1 (`BEGIN RSA PRIVATE KEY`) for RSA. An assertion is good for a minute,
//! for one authority, and carries a number of its own.
//!
//! A token that comes back is only looked at ([`claims`]): it came from the authority itself over the connection that it was
//! asked for on, and its signature is for the resource to check.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Problem, Standard, Timestamp, Value, json};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use ring::{hmac, signature};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::digest::hex;
use super::members::wrong;

/// How long an assertion is good, in seconds: the clocks of two machines, and one request.
const LIFETIME_S: i64 = 60;

/// What signs.
pub(super) enum Key {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

impl Key {
    /// HS256.
    pub fn secret(secret: &Secret) -> Self {
        Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// RS256 or ES256.
    ///
    /// # Errors
    /// A `configuration` problem without a byte of the key in it.
    pub fn pem(pem: &Secret) -> Result<Self, Problem> {
        let expected = "expected PKCS #8 (`BEGIN PRIVATE KEY`) of RSA or P-256";
        let refuse = |found: &str| wrong(format!("the client's private key: found {found}, {expected}"));
        let der =
            PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| refuse("no key in the PEM text"))?;
        let random = SystemRandom::new();
        match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
                    return Ok(Key::Ec(key));
                }
                let rsa = RsaKeyPair::from_pkcs8(der).map_err(|e| refuse(&format!("a key that is of no use ({e})")))?;
                Ok(Key::Rsa(Box::new(rsa)))
            }
            PrivateKeyDer::Pkcs1(der) => {
                let rsa = RsaKeyPair::from_der(der.secret_pkcs1_der());
                Ok(Key::Rsa(Box::new(rsa.map_err(|e| refuse(&format!("a key that is of no use ({e})")))?)))
            }
            PrivateKeyDer::Sec1(_) => {
                Err(refuse("SEC 1 (`BEGIN EC PRIVATE KEY`), which `openssl pkcs8 -topk8 -nocrypt` converts"))
            }
            _ => Err(refuse("a key of an unknown form")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Key::Hmac(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::Ec(_) => "ES256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Problem> {
        let random = SystemRandom::new();
        let failed =
            |_| Problem::standard(Standard::Runtime, "sign the client's assertion: the machine has no randomness");
        match self {
            Key::Hmac(key) => Ok(hmac::sign(key, text).as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut made = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256 as &dyn signature::RsaEncoding, &random, text, &mut made).map_err(failed)?;
                Ok(made)
            }
            Key::Ec(key) => key.sign(&random, text).map(|s| s.as_ref().to_vec()).map_err(failed),
        }
    }
}

/// A fresh assertion of `client` for `audience`.
///
/// # Errors
/// If the machine has no randomness.
pub(super) fn sign(key: &Key, client: &str, audience: &str, now: Timestamp) -> Result<Secret, Problem> {
    let now = now.as_micros() / 1_000_000;
    let header = json!({"alg": key.name(), "typ": "JWT"});
    let claims = json!({
        "iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + LIFETIME_S, "jti": nonce()?,
    });
    let text = format!("{}.{}", BASE64.encode(header.to_json()), BASE64.encode(claims.to_json()));
    let signature = key.sign(text.as_bytes())?;
    Ok(Secret::new(format!("{text}.{}", BASE64.encode(signature))))
}

/// A number that nobody has used before: 128 random bits as text.
///
/// # Errors
/// If the machine has no randomness.
pub(super) fn nonce() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    let no_luck = |_| Problem::standard(Standard::Runtime, "draw a nonce: the machine has no randomness");
    SystemRandom::new().fill(&mut bytes).map_err(no_luck)?;
    Ok(hex(&bytes))
}

/// What a JWT says, unchecked; `None` for a token of any other kind.
pub(super) fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let bytes = BASE64.decode(claims.trim_end_matches('=')).ok()?;
    Value::from_json(&bytes).ok().filter(|v| v.as_object().is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use ring::signature::KeyPair as _;

    use super::*;

    #[test]
    fn an_assertion_says_who_for_whom_and_until_when() {
        let key = Key::secret(&Secret::new("s3cret"));
        let now = Timestamp(1_700_000_000_000_000);
        let signed = sign(&key, "me", "https://id.example/token", now).unwrap();
        let said = claims(signed.expose()).unwrap();
        for (name, value) in [("iss", json!("me")), ("sub", json!("me")), ("aud", json!("https://id.example/token"))] {
            assert_eq!(said.get(name), Some(&value));
        }
        assert_eq!(said.get("exp"), Some(&json!(1_700_000_060)));
        let other = sign(&key, "me", "https://id.example/token", now).unwrap();
        assert_ne!(claims(other.expose()).unwrap().get("jti"), said.get("jti"));
        let (text, signature) = signed.expose().rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
        hmac::verify(&key, text.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn a_p256_key_signs_es256_and_others_are_refused_without_an_echo() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key = Key::pem(&Secret::new(pair.serialize_pem())).unwrap();
        let signed = sign(&key, "me", "a", Timestamp(0)).unwrap();
        let (text, signature) = signed.expose().rsplit_once('.').unwrap();
        let Key::Ec(own) = &key else { panic!("not ES256") };
        let public = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, own.public_key().as_ref());
        public.verify(text.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\naGVsbG8=\n-----END EC PRIVATE KEY-----\n";
        for (pem, said) in [
            (other.as_str(), "a key that is of no use"),
            (sec1, "openssl pkcs8"),
            ("-----BEGIN PRIVATE KEY-----\nhunter2!!\n", "no key in the PEM text"),
        ] {
            let Err(problem) = Key::pem(&Secret::new(pem)) else { panic!("taken: {pem}") };
            assert!(problem.to_string().contains(said) && !problem.to_string().contains("hunter2"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_token_makes_looking_at_it_panic(token in ".{0,80}", parts in prop::collection::vec("[A-Za-z0-9_=-]{0,20}", 0..5)) {
            let _ = claims(&token);
            let _ = claims(&parts.join("."));
        }
    }
}
