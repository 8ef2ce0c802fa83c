//! A certificate for `localhost` that no authority signed, made anew for each run, so that no key lies in the tree.

use ed25519_dalek::{Signer as _, SigningKey};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Ed25519, as an algorithm identifier.
const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
const ALTERNATIVE_NAME: &[u8] = &[6, 3, 0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 0x13];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;

/// One value of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let head: &[u8] = match length {
        0..128 => &[tag, low],
        128..256 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

/// The certificate and its key.
pub(super) fn for_localhost() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let key = SigningKey::from_bytes(&seed);
    let attribute = der(SEQUENCE, &[COMMON_NAME, &der(0x0c, &[b"localhost"])]);
    let name = der(SEQUENCE, &[&der(0x31, &[&attribute])]);
    let validity = der(SEQUENCE, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let public = der(SEQUENCE, &[ED25519, &der(BIT_STRING, &[&[0], key.verifying_key().as_bytes()])]);
    let alternative = der(SEQUENCE, &[&der(0x82, &[b"localhost"])]);
    let extensions = [
        der(SEQUENCE, &[BASIC_CONSTRAINTS, &[1, 1, 0xff], &der(OCTET_STRING, &[&der(SEQUENCE, &[])])]),
        der(SEQUENCE, &[ALTERNATIVE_NAME, &der(OCTET_STRING, &[&alternative])]),
    ];
    let extensions = der(0xa3, &[&der(SEQUENCE, &[&extensions[0], &extensions[1]])]);
    let version = der(0xa0, &[&[2, 1, 2]]);
    let statement =
        der(SEQUENCE, &[&version, &[2, 1, 1], ED25519, &name, &validity, &name, &public, &extensions]);
    let signature = key.sign(&statement).to_bytes();
    let certificate = der(SEQUENCE, &[&statement, ED25519, &der(BIT_STRING, &[&[0], &signature])]);
    let inner = der(OCTET_STRING, &[&der(OCTET_STRING, &[&seed])]);
    let private = der(SEQUENCE, &[&[2, 1, 0], ED25519, &inner]);
    (CertificateDer::from(certificate), PrivatePkcs8KeyDer::from(private).into())
}
