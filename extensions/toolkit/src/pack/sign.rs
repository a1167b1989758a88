//! `waga-ext sign`: a signature over all of a pack.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use waga::config::pack::Key;
use waga_pack::{SUMS, Secret};

use super::{password, read, write};

/// Signs a pack.
///
/// What is signed is the list of digests of all its files, SHA256SUMS. A key
/// that this machine must not see signs that elsewhere: `waga-ext sign PACK
/// --sums` prints it, `minisign -Sm SHA256SUMS` signs it there, and --attach
/// SHA256SUMS.minisig brings the signature into the pack.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The pack, NAME-VERSION.waga.
    pack: PathBuf,
    /// The secret key, of `waga-ext keygen` or minisign.
    #[arg(short, long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The key's password: the first line of this file.
    #[arg(long, value_name = "FILE", requires = "key")]
    password_file: Option<PathBuf>,
    /// Take a signature that was made elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    attach: Option<PathBuf>,
    /// Print what is to be signed.
    #[arg(long, conflicts_with_all = ["key", "attach"])]
    sums: bool,
    /// Where it goes [default: in the pack's place].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Signs; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (mut pack, _) = read(&options.pack)?;
    if options.sums {
        return Ok(pack.sums());
    }
    match (&options.key, &options.attach) {
        (Some(path), _) => {
            let named = || path.display().to_string();
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let is_public = Key::of_file(&text).is_ok();
            ensure!(!is_public, "{} is the public key: the secret one signs, NAME.key", path.display());
            let closed = Secret::is_closed(&text);
            let prompt = format!("Password of {}: ", path.display());
            let with = closed.then(|| password(options.password_file.as_deref(), &prompt)).transpose()?;
            pack.sign(&Secret::open(&text, with).with_context(named)?).with_context(named)?;
        }
        (None, Some(path)) => {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            pack.attach(&text).with_context(|| path.display().to_string())?;
        }
        (None, None) => bail!(
            "say --key FILE, the secret key (waga-ext keygen makes one), or --attach a signature over {SUMS}"
        ),
    }
    let output = options.output.as_ref().unwrap_or(&options.pack);
    write(output, &pack.to_archive(), 0o644)?;
    let id = pack.signed_by().unwrap_or_default();
    Ok(format!("{}: signed by key {id}\n", output.display()))
}
