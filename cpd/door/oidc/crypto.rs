//! Signatures of JSON Web Tokens by ring, which is below rustls in this program anyway.
//!
//! The decoder takes a provider for the whole process. This one checks signatures that only the owner of a private key can
//! make, and knows no HMAC: what the allow-list of the configuration lets pass by mistake still finds nobody here.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature as with;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    // Only for thumbprints and for keys made of private ones: neither is done here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Gives the decoder its provider. One that is there already, in a program that embeds this, stays.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        PROVIDER.install_default().ok();
    });
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if algorithm.family() != key.family() || key.family() == AlgorithmFamily::Hmac {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.clone() }))
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Ring {
    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let rsa = match self.algorithm {
            Algorithm::RS256 => &with::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &with::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &with::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &with::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &with::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &with::RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => return self.plain(&with::ECDSA_P256_SHA256_FIXED, message, signature),
            Algorithm::ES384 => return self.plain(&with::ECDSA_P384_SHA384_FIXED, message, signature),
            Algorithm::EdDSA => return self.plain(&with::ED25519, message, signature),
            // HMAC, and whatever a later version of the decoder knows.
            _ => return None,
        };
        let DecodingKeyKind::RsaModulusExponent { n, e } = self.key.kind() else { return None };
        // Some providers write a sign in front of the number, which does not belong there (RFC 7518, section 2).
        let start = n.iter().position(|b| *b != 0).unwrap_or(n.len());
        RsaPublicKeyComponents { n: &n[start..], e }.verify(rsa, message, signature).ok()
    }

    fn plain(
        &self,
        algorithm: &'static dyn with::VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<()> {
        let key = self.key.try_get_as_bytes().ok()?;
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).ok()
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.check(message, signature).ok_or_else(signature::Error::new)
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
