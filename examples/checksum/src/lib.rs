//! Two commands that make and verify checksums. They ask the agent for nothing: `wit/checksum.wit` imports nothing.

use sha2::{Digest as _, Sha256, Sha512};

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "checksum" });

use exports::acme::checksum::checksums::{Algorithm, Digest, Guest};

/// The most data in one call.
const LARGEST: usize = 1 << 20;

struct Checksum;
export!(Checksum);

impl Guest for Checksum {
    fn guest_acme_checksum(data: Vec<u8>, algorithm: Option<Algorithm>) -> Result<Digest, String> {
        if data.len() > LARGEST {
            // The caller gets this as the description of an error reply.
            return Err(format!("{} bytes of data are more than the {LARGEST} that are taken", data.len()));
        }
        Ok(digest(&data, algorithm.unwrap_or(Algorithm::Sha256)))
    }

    fn guest_acme_verify_checksum(data: Vec<u8>, expected: Digest) -> Result<(), String> {
        let found = Self::guest_acme_checksum(data, Some(expected.algorithm))?;
        if found.length != expected.length {
            return Err(format!("there are {} bytes of data, not {}", found.length, expected.length));
        }
        if !found.hex.eq_ignore_ascii_case(&expected.hex) {
            return Err(format!("the checksum is {}, not {}", found.hex, expected.hex));
        }
        Ok(())
    }
}

fn digest(data: &[u8], algorithm: Algorithm) -> Digest {
    let bytes = match algorithm {
        Algorithm::Crc32 => crc32fast::hash(data).to_be_bytes().to_vec(),
        Algorithm::Sha256 => Sha256::digest(data).to_vec(),
        Algorithm::Sha512 => Sha512::digest(data).to_vec(),
    };
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Digest { algorithm, length: data.len() as u64, hex }
}
