//! Whether a pack may come in: whose it is, and what the operator says to that.

use anyhow::{Context, Result, bail};
use waga::config::Extensions;
use waga::config::pack::{Key, Keys, Receipt, Signer, Trust};
use waga_pack::Pack;

/// A pack that may.
pub(crate) struct Judged {
    pub(crate) receipt: Receipt,
    /// Whose signature it bears, in words.
    pub(crate) signed: String,
    /// What the operator should know all the same.
    pub(crate) doubt: Option<String>,
}

/// Judges a pack, whose file is `archive`. `before`: the receipt of the version that it is to take the place of.
///
/// # Errors
/// Why it may not come in, and the way out.
pub(crate) fn judge(
    pack: &Pack,
    archive: &[u8],
    settings: &Extensions,
    before: Option<&Receipt>,
) -> Result<Judged> {
    let keys = Keys::read(&settings.trusted_keys);
    let folder = settings.trusted_keys.display();
    let id = pack.signed_by();
    let trusted = keys.trusted().find(|(_, key)| Some(key.id()) == id);
    let trusted = trusted.map(|(name, key)| Signer { name: name.to_owned(), key: key.clone() });
    if let Some(Signer { key, .. }) = &trusted {
        pack.verify(key)?;
    }
    let receipt = receipt_of(pack, archive, trusted.clone());
    // What is revoked stays out whatever is asked of signatures.
    keys.judge(&receipt, Trust::Off).map_err(anyhow::Error::msg)?;
    if let Some(why) = id.as_deref().and_then(|id| keys.revoked_id(id)) {
        bail!(why);
    }
    let doubt = match (&trusted, &id) {
        (Some(_), _) => None,
        (None, None) => Some("it is not signed".to_owned()),
        (None, Some(id)) => Some(format!("it is signed by key {id}, which is in no file of {folder}")),
    };
    if let (Trust::Require, Some(doubt)) = (settings.trust, &doubt) {
        let way_out = match id {
            None => "[extensions] trust = \"require\" lets only signed packs in".to_owned(),
            Some(_) => format!(
                "if its publisher tells that this is the key, put the publisher's public key there, as NAME.pub ({} so far)",
                keys.trusted().map(|(name, _)| format!("{name}.pub")).collect::<Vec<_>>().join(", ")
            ),
        };
        let faults: Vec<_> = keys.faults().map(|fault| format!("\nwaga-ext: {fault}")).collect();
        bail!("{doubt}: {}{}", way_out.replace(" ( so far)", ""), faults.concat());
    }
    if let Some(before) = before {
        same_signer(before, trusted.as_ref().map(|signer| &signer.key), id.as_deref(), &keys)?;
    }
    let signed = match (&trusted, &id) {
        (Some(Signer { name, key }), _) => format!("{name}, key {} ({key})", key.id()),
        (None, Some(id)) => format!("key {id}, which nobody here knows"),
        (None, None) => "nobody".to_owned(),
    };
    let doubt = doubt.filter(|_| settings.trust == Trust::Warn);
    Ok(Judged { receipt, signed, doubt })
}

/// What there is to be known of a pack once it is installed.
pub(crate) fn receipt_of(pack: &Pack, archive: &[u8], signer: Option<Signer>) -> Receipt {
    let manifest = pack.manifest();
    Receipt {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        publisher: manifest.publisher.clone(),
        description: manifest.description.clone(),
        digest: pack.digest(),
        archive: waga_pack::sha256(archive),
        signer,
        component: manifest.component.clone(),
        scripts: manifest.scripts.clone(),
        files: pack.digests().map(|(name, digest)| (name.to_owned(), digest)).collect(),
    }
}

/// Who signed a version signs those after it.
fn same_signer(before: &Receipt, now: Option<&Key>, id: Option<&str>, keys: &Keys) -> Result<()> {
    let Some(signer) = &before.signer else { return Ok(()) };
    if now == Some(&signer.key) {
        return Ok(());
    }
    // Whether it is by that key is not looked at, for that one is not trusted now: it may as well be somebody's who gave another its id.
    if now.is_none() && id == Some(&signer.key.id()) {
        bail!(
            "the key that signed {} {} that is installed, {}, is in no file of {} any more: put {}.pub back there to go on with its packs",
            before.name,
            before.version,
            signer.key.id(),
            keys.folder().display(),
            signer.name
        );
    }
    let now = id.map_or_else(|| "nobody".to_owned(), |id| format!("key {id}"));
    bail!(
        "{} {} that is installed is signed by {} (key {}), and this one by {now}: another signer's pack does not take its place. \
         If its publisher has another key by now, and says so, remove the pack and install this one",
        before.name,
        before.version,
        signer.name,
        signer.key.id()
    )
}

/// The receipt of a version that is in the store.
///
/// # Errors
/// It cannot be read.
pub(crate) fn receipt(folder: &std::path::Path) -> Result<Receipt> {
    Receipt::read(folder).map_err(anyhow::Error::msg).with_context(|| folder.display().to_string())
}
