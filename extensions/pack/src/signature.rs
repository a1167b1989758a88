//! Signatures and keys, all as minisign has them.

use std::io::Cursor;

use base64_simd::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use waga::config::pack::Key;

use crate::{Fault, Pack};

/// Bytes of a secret key with all that stands beside it.
const SECRET: usize = 158;
/// Most bytes of a signature's text.
const LARGEST: usize = 4 << 10;
/// What stands in the first line of a signature, which is not part of it.
const COMMENT: &str = "signature of a pack of the waga guest agent";

/// A secret key that is open.
pub struct Secret(SecretKey);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The key of a file, opened with its password if it has one.
    ///
    /// # Errors
    /// It is no secret key, or the password is not its.
    pub fn open(text: &str, password: Option<String>) -> Result<Self, Fault> {
        let failed = |error: minisign::PError| Fault::new(error.to_string());
        let key = match password {
            Some(password) => {
                SecretKeyBox::from_string(text).and_then(|boxed| boxed.into_secret_key(Some(password)))
            }
            // The checksum is part of what a password closes: minisign's own keys without one have none.
            None if !Self::is_closed(text) => SecretKey::from_bytes(&raw(text)?),
            None => return Err(Fault::new("it is closed with a password")),
        };
        key.map(Self).map_err(failed)
    }

    /// Whether the key of a file is closed with a password.
    pub fn is_closed(text: &str) -> bool {
        raw(text).is_ok_and(|raw| raw[2..4] != [0, 0])
    }

    /// The public key that goes with it.
    ///
    /// # Errors
    /// The key is damaged.
    pub fn public(&self) -> Result<Key, Fault> {
        let key = PublicKey::from_secret_key(&self.0).map_err(|error| Fault::new(error.to_string()))?;
        Key::parse(&key.to_base64()).map_err(Fault::new)
    }
}

/// What stands in the file of a secret key.
fn raw(text: &str) -> Result<Vec<u8>, Fault> {
    let line = text.lines().nth(1).map(str::trim).unwrap_or_default();
    let raw = STANDARD.decode_to_vec(line).ok().filter(|raw| raw.len() == SECRET && raw.starts_with(b"Ed"));
    raw.ok_or_else(|| Fault::new("it is no secret key of minisign's"))
}

/// A new pair of keys: the texts of the file of the public and of that of the secret one.
///
/// # Errors
/// The system has no random numbers.
pub fn key_pair(password: Option<String>, comment: &str) -> Result<(String, String), Fault> {
    let failed = |error: minisign::PError| Fault::new(error.to_string());
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(failed)?;
    let key = Key::parse(&pair.pk.to_base64()).map_err(Fault::new)?;
    let public = format!("untrusted comment: minisign public key {}\n{key}\n", key.id());
    let secret = pair.sk.to_box(Some(comment)).map_err(failed)?.into_string();
    Ok((public, secret))
}

/// The text of the member.
pub(crate) fn text(bytes: &[u8]) -> Result<String, Fault> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= LARGEST);
    let text = text.ok_or_else(no_signature)?;
    SignatureBox::from_string(text).map_err(|_| no_signature())?;
    Ok(text.to_owned())
}

fn no_signature() -> Fault {
    Fault::new("its signature is none of minisign's")
}

impl Pack {
    /// Signs it. One that this key has signed already stays as it is, for each signature of the same key is another one.
    ///
    /// # Errors
    /// The key is damaged.
    pub fn sign(&mut self, secret: &Secret) -> Result<(), Fault> {
        let public = secret.public()?;
        if self.verify(&public).is_ok() {
            return Ok(());
        }
        let trusted = format!("pack {} {}", self.manifest.name, self.manifest.version);
        let sums = self.sums();
        let signed = minisign::sign(None, &secret.0, Cursor::new(sums), Some(&trusted), Some(COMMENT));
        self.signature = Some(signed.map_err(|error| Fault::new(error.to_string()))?.into_string());
        // A key that was damaged makes signatures that are none.
        self.verify(&public)
    }

    /// Gives it a signature that was made elsewhere, over its list of digests.
    ///
    /// # Errors
    /// That is none.
    pub fn attach(&mut self, signature: &[u8]) -> Result<(), Fault> {
        self.signature = Some(text(signature)?);
        Ok(())
    }

    /// The id of the key that is said to have signed it: sixteen digits of hex.
    pub fn signed_by(&self) -> Option<String> {
        let signature = SignatureBox::from_string(self.signature.as_deref()?).ok()?;
        Some(signature.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect())
    }

    /// Whether this key signed it.
    ///
    /// # Errors
    /// Nobody did, another key did, or something was changed since.
    pub fn verify(&self, key: &Key) -> Result<(), Fault> {
        let text = self.signature.as_deref().ok_or_else(|| Fault::new("it is not signed"))?;
        let signature = SignatureBox::from_string(text).map_err(|_| no_signature())?;
        let public = PublicKey::from_base64(key.as_str()).map_err(|error| Fault::new(error.to_string()))?;
        if self.signed_by().is_none_or(|id| id != key.id()) {
            let id = self.signed_by().unwrap_or_default();
            return Err(Fault::new(format!("it is signed by key {id}, not by {}", key.id())));
        }
        // The old kind, without a hash of its own, is verified as well: minisign still makes it when it is asked to.
        minisign::verify(&public, &signature, Cursor::new(self.sums()), true, false, true)
            .map_err(|error| Fault::new(format!("its signature by key {} is wrong: {error}", key.id())))
    }
}
