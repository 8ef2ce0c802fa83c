//! The key of the cluster: it signs webhooks, and the tokens that workers show. Kept as a fact, made once.
//!
//! A token carries the wake that it was given for, signed together with the subscription, so nothing about tokens needs to
//! be stored, and a token of another subscription, of an earlier one of the same id, or of the other kind is worth nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::types::{Grant, SubscriptionId, SubscriptionUid, UnixMillis, WakeId};

/// Version of the stored key and of tokens.
const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 2 + 8 + 16 + 64;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Given with a webhook.
    Callback,
    /// Given with a claim.
    Claim,
}

/// The signing key.
pub(super) struct Keys {
    key: SigningKey,
    kid: String,
    x: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Keys {
    /// A fact to propose as the key.
    pub(super) fn propose() -> Result<Bytes, getrandom::Error> {
        let mut raw = vec![VERSION; 33];
        getrandom::fill(raw.get_mut(1..).unwrap_or_default())?;
        Ok(raw.into())
    }

    /// Reads the fact.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let (&version, seed) = raw.split_first()?;
        let seed: [u8; 32] = seed.try_into().ok()?;
        let key = (version == VERSION).then(|| SigningKey::from_bytes(&seed))?;
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        // The thumbprint of RFC 7638: the required members in lexicographic order, without spaces.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let kid = format!("ds_{}", URL_SAFE_NO_PAD.encode(thumbprint));
        Some(Self { key, kid, x })
    }

    /// The key's name.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The document that receivers verify with.
    pub(super) fn jwks(&self) -> String {
        let (kid, x) = (&self.kid, &self.x);
        format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"{kid}","x":"{x}"}}]}}"#
        )
    }

    /// The value of `Webhook-Signature`.
    pub(super) fn signature(&self, body: &[u8], now: UnixMillis) -> String {
        let at = now.0.div_euclid(1000);
        let mut message = format!("{at}.").into_bytes();
        message.extend_from_slice(body);
        let signed = URL_SAFE_NO_PAD.encode(self.key.sign(&message).to_bytes());
        format!("t={at},kid={},ed25519={signed}", self.kid)
    }

    /// A token for one wake.
    pub(super) fn token(
        &self,
        kind: TokenKind,
        id: &SubscriptionId,
        uid: SubscriptionUid,
        grant: Grant,
    ) -> String {
        let mut raw = head(kind, grant);
        raw.extend_from_slice(&self.key.sign(&signed_text(&raw, id, uid)).to_bytes());
        URL_SAFE_NO_PAD.encode(raw)
    }

    /// The wake that a token was given for, if it was given for this subscription.
    pub(super) fn open(
        &self,
        token: &str,
        kind: TokenKind,
        id: &SubscriptionId,
        uid: SubscriptionUid,
    ) -> Option<Grant> {
        // Longer ones are none of ours; they are not even decoded.
        let raw = (token.len() <= 2 * TOKEN_BYTES).then(|| URL_SAFE_NO_PAD.decode(token).ok())??;
        let (head_part, signature) = raw.split_at_checked(TOKEN_BYTES - 64)?;
        let (generation, wake) = head_part.get(2..)?.split_at_checked(8)?;
        let generation = u64::from_le_bytes(generation.try_into().ok()?);
        let wake = WakeId(u128::from_le_bytes(wake.try_into().ok()?));
        let grant = Grant { generation, wake };
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let known = head_part == head(kind, grant);
        let text = signed_text(head_part, id, uid);
        (known && self.key.verifying_key().verify_strict(&text, &signature).is_ok()).then_some(grant)
    }
}

fn head(kind: TokenKind, grant: Grant) -> Vec<u8> {
    let kind = match kind {
        TokenKind::Callback => 1,
        TokenKind::Claim => 2,
    };
    let mut raw = vec![VERSION, kind];
    raw.extend_from_slice(&grant.generation.to_le_bytes());
    raw.extend_from_slice(&grant.wake.0.to_le_bytes());
    raw
}

/// Begins with what no webhook signature begins with, so that neither can stand for the other.
fn signed_text(head: &[u8], id: &SubscriptionId, uid: SubscriptionUid) -> Vec<u8> {
    [b"subscription token\0", head, &uid.0.to_le_bytes(), id.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> Keys {
        let mut raw = vec![seed; 33];
        raw[0] = VERSION;
        Keys::read(&raw).unwrap()
    }

    #[test]
    fn a_token_opens_only_where_it_was_given() {
        let (id, other) = (SubscriptionId::parse("s").unwrap(), SubscriptionId::parse("t").unwrap());
        let (uid, grant) = (SubscriptionUid(7), Grant { generation: 3, wake: WakeId(9) });
        let mine = keys(1);
        let token = mine.token(TokenKind::Claim, &id, uid, grant);
        assert_eq!(mine.open(&token, TokenKind::Claim, &id, uid), Some(grant));
        assert_eq!(mine.open(&token, TokenKind::Callback, &id, uid), None);
        assert_eq!(mine.open(&token, TokenKind::Claim, &other, uid), None);
        assert_eq!(mine.open(&token, TokenKind::Claim, &id, SubscriptionUid(8)), None);
        assert_eq!(keys(2).open(&token, TokenKind::Claim, &id, uid), None);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(mine.open(&forged, TokenKind::Claim, &id, uid), None, "{at}");
        }
        for garbage in ["", "x", "====", &"A".repeat(10_000)] {
            assert_eq!(mine.open(garbage, TokenKind::Claim, &id, uid), None);
        }
    }

    #[test]
    fn the_key_comes_back_as_it_was_kept_and_nothing_else_is_taken_for_one() {
        let kept = Keys::propose().unwrap();
        assert_eq!(Keys::read(&kept).unwrap().jwks(), Keys::read(&kept).unwrap().jwks());
        assert_ne!(Keys::propose().unwrap(), kept);
        for bad in [&kept[..32], &[2; 33][..], b""] {
            assert!(Keys::read(bad).is_none());
        }
    }

    #[test]
    fn a_signature_covers_time_and_body() {
        let keys = keys(1);
        let header = keys.signature(b"{}", UnixMillis(12_999));
        let signature = header.strip_prefix(&format!("t=12,kid={},ed25519=", keys.kid())).unwrap();
        let raw: [u8; 64] = URL_SAFE_NO_PAD.decode(signature).unwrap().try_into().unwrap();
        let signature = Signature::from_bytes(&raw);
        assert!(keys.key.verifying_key().verify_strict(b"12.{}", &signature).is_ok());
        assert!(keys.key.verifying_key().verify_strict(b"13.{}", &signature).is_err());
    }
}
