//! RSA without SHA-1, on both sides. A signature named `ssh-rsa` uses SHA-1;
//! OpenSSH neither makes nor accepts it since 8.8.

use crate::host_key::HostKeyCheck;
use russh::client::Handle;
use russh::keys::ssh_key::Signature;
use russh::keys::{Algorithm, HashAlg};

/// Whether the algorithm signs with SHA-1.
pub(crate) fn is_sha1(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None })
}

/// Whether the server proved its host key with SHA-1. russh accepts every
/// signature that the key can make, even one that was not negotiated.
pub(crate) fn proved_with_sha1(client: &Handle<HostKeyCheck>) -> bool {
    let binding = client.agent_session_binding();
    binding.is_some_and(|binding| signed_with_sha1(binding.signature()))
}

/// A signature that cannot be read here is of another kind of key; russh verifies
/// it.
fn signed_with_sha1(signature: &[u8]) -> bool {
    Signature::try_from(signature).is_ok_and(|signature| is_sha1(&signature.algorithm()))
}

/// The hash for the user's RSA keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UserHash {
    Sha2(HashAlg),
    /// The server accepts SHA-1 only.
    OnlySha1,
}

/// Why such a key cannot be used.
pub(crate) const ONLY_SHA1: &str = "the server takes RSA keys with SHA-1 signatures only \
     (`ssh-rsa`), which vdeploy does not make; use an Ed25519 key, or update the server";

/// Asks what the server accepts. Without an answer it is SHA-512 (RFC 8332).
pub(crate) async fn user_hash(client: &Handle<HostKeyCheck>) -> Result<UserHash, russh::Error> {
    Ok(match client.best_supported_rsa_hash().await? {
        Some(Some(hash)) => UserHash::Sha2(hash),
        Some(None) => UserHash::OnlySha1,
        None => UserHash::Sha2(HashAlg::Sha512),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::PrivateKey;
    use russh::keys::signature::Signer as _;
    use russh::keys::ssh_key::private::KeypairData;

    #[test]
    fn a_signature_with_sha1_is_known_by_its_own_name() {
        let mut rng = russh::keys::key::safe_rng();
        let key = PrivateKey::random(&mut rng, Algorithm::Rsa { hash: None }).unwrap();
        let KeypairData::Rsa(rsa) = key.key_data() else {
            panic!("not an RSA key")
        };
        for (hash, sha1) in [(None, true), (Some(HashAlg::Sha256), false)] {
            let signature: Signature = (rsa, hash).try_sign(b"exchange").unwrap();
            let bytes: Vec<u8> = signature.try_into().unwrap();
            assert_eq!(signed_with_sha1(&bytes), sha1, "{hash:?}");
        }
        assert!(!signed_with_sha1(b"ssh-rsa"));
    }
}
