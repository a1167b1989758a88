//! `waga-ext verify`: whose a pack is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use waga::config::pack::{Key, Keys, Signer, Trust};

use super::read;
use crate::store::trust;

/// Verifies that a pack is whole, and that a trusted key signed it.
///
/// Without -p the keys are those of /etc/waga/trust.d, and what is revoked there
/// counts. The exit code is 1 if none of them signed it. Stock programs say the
/// same: tar unpacks it, minisign -Vm SHA256SUMS -p KEY.pub, then
/// sha256sum --check SHA256SUMS.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The pack.
    pack: PathBuf,
    /// A public key: its file, or its line of letters.
    #[arg(short, long, value_name = "KEY")]
    public_key: Option<String>,
    /// The trusted keys.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/waga/trust.d")]
    trusted_keys: PathBuf,
}

/// Verifies; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (pack, archive) = read(&options.pack)?;
    let name = options.pack.display();
    let whose = match &options.public_key {
        Some(text) => {
            let key = match Key::parse(text) {
                Ok(key) => key,
                Err(_) => {
                    let file = fs::read_to_string(text)
                        .with_context(|| format!("'{text}' is neither a key nor a file of one"))?;
                    Key::of_file(&file).map_err(anyhow::Error::msg).context(text.clone())?
                }
            };
            pack.verify(&key).with_context(|| name.to_string())?;
            format!("key {}", key.id())
        }
        None => {
            let keys = Keys::read(&options.trusted_keys);
            for fault in keys.faults() {
                eprintln!("waga-ext: {fault}");
            }
            let Some(id) = pack.signed_by() else { bail!("{name}: it is not signed") };
            let Some((trusted, key)) = keys.trusted().find(|(_, key)| key.id() == id) else {
                bail!(
                    "{name}: it is signed by key {id}, which is in no file of {}: -p KEY verifies it with another",
                    options.trusted_keys.display()
                );
            };
            pack.verify(key).with_context(|| name.to_string())?;
            let signer = Signer { name: trusted.to_owned(), key: key.clone() };
            let receipt = trust::receipt_of(&pack, &archive, Some(signer));
            keys.judge(&receipt, Trust::Off).map_err(anyhow::Error::msg).with_context(|| name.to_string())?;
            format!("{trusted}, key {id}")
        }
    };
    let manifest = pack.manifest();
    Ok(format!(
        "{name}: {} {} is whole and signed by {whose}\ndigest sha256:{}\n",
        manifest.name,
        manifest.version,
        pack.digest()
    ))
}
