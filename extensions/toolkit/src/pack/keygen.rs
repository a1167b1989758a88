//! `waga-ext keygen`: a pair of keys to sign packs with.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use waga::config::pack::Key;

use super::{password, write};

/// Makes a pair of keys to sign packs with.
///
/// NAME.key is secret, and closed with a password; NAME.pub is for everybody
/// who is to trust your packs. Both are as minisign has them, so its keys do as
/// well as these.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What the keys are called: your own or your firm's name, most often.
    name: String,
    /// Where they go.
    #[arg(short, long, value_name = "FOLDER", default_value = ".")]
    output: PathBuf,
    /// Close the key with the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// Leave the secret key open, for whoever reads it.
    #[arg(long)]
    no_password: bool,
}

/// Makes them; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let name = &options.name;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    ensure!(
        !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(is_plain),
        "'{}' cannot be the name of a file of keys: write letters, digits, '.', '_' and '-'",
        name.escape_debug()
    );
    let [public, secret] = ["pub", "key"].map(|end| options.output.join(format!("{name}.{end}")));
    for path in [&public, &secret] {
        let there = path.symlink_metadata().is_ok();
        ensure!(!there, "{} is there already: a key that is lost cannot be had back", path.display());
    }
    let closed_with = match options.no_password {
        true => None,
        false => {
            let file = options.password_file.as_deref();
            let first = password(file, "Password of the secret key: ")?;
            ensure!(
                !first.is_empty(),
                "an empty password closes nothing: say --no-password if that is meant"
            );
            ensure!(
                file.is_some() || password(None, "Once more: ")? == first,
                "these were two passwords; nothing is written"
            );
            Some(first)
        }
    };
    let (public_text, secret_text) = waga_pack::key_pair(closed_with, &format!("secret key of {name}"))?;
    let key = Key::of_file(&public_text).map_err(anyhow::Error::msg).context("the key that was made")?;
    write(&secret, secret_text.as_bytes(), 0o600)?;
    write(&public, public_text.as_bytes(), 0o644)?;
    Ok(format!(
        "secret key  {}: keep it where nobody else reads it\npublic key  {}: publish it, and this line of it\n            {key}\nkey id      {}\n",
        secret.display(),
        public.display(),
        key.id()
    ))
}
