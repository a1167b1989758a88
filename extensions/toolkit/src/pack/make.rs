//! `waga-ext pack`: from an extension's folder to a pack.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use toml_edit::DocumentMut;
use waga_pack::{MANIFEST, Pack};

use super::{check, scripts, write};
use crate::build;

/// Makes a pack of an extension.
///
/// The folder has a pack.toml that says what the pack is and what it asks for,
/// and a README.md. Its component is the file that pack.toml names, or is built
/// as `waga-ext build` builds it. The WIT, licences (LICENSE*, COPYING*) and the
/// schema of the configuration go into it too, and nothing else. The same files
/// make the same bytes.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The extension's folder.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// A file, or the folder for NAME-VERSION.waga.
    #[arg(short, long, value_name = "PATH", default_value = ".")]
    output: PathBuf,
    /// Where builds are kept [default: ~/.cache/waga-ext].
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Fetch nothing, not even crates.
    #[arg(long)]
    offline: bool,
}

/// Makes it; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = &options.path;
    let mut files = BTreeMap::new();
    let manifest = folder.join(MANIFEST);
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}, which says what the pack is", manifest.display()))?;
    let mut document: DocumentMut = text.parse().with_context(|| manifest.display().to_string())?;
    let named =
        |document: &DocumentMut, key: &str| document.get(key).and_then(|it| it.as_str()).map(str::to_owned);

    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == "README.md"
            || ["LICENSE", "LICENCE", "COPYING"].iter().any(|start| name.starts_with(start))
        {
            add(&mut files, folder, name)?;
        }
    }
    add_folder(&mut files, folder, "wit", "wit")?;
    if let Some(schema) = named(&document, "config-schema") {
        add(&mut files, folder, &schema)?;
    }
    match (named(&document, "scripts"), named(&document, "component")) {
        (Some(scripts), _) => {
            ["js", "json"].iter().try_for_each(|end| add_folder(&mut files, folder, &scripts, end))?;
        }
        (None, Some(component)) => add(&mut files, folder, &component)?,
        (None, None) => {
            let Some(name) = named(&document, "name") else {
                bail!("{}: name is missing", manifest.display())
            };
            let component = format!("{name}.wasm");
            let built =
                build::component(&build::Options::of(folder, options.cache.clone(), options.offline))?;
            files.insert(component.clone(), built.bytes);
            document["component"] = toml_edit::value(component);
        }
    }
    files.insert(MANIFEST.to_owned(), document.to_string().into_bytes());
    let pack = Pack::new(files).with_context(|| folder.display().to_string())?;
    let in_folder = || folder.display().to_string();
    let remarks = check::whole(&pack).with_context(in_folder)?;
    let config = check::declared(pack.manifest())?.config;
    let of_scripts = scripts::check(&pack, folder, &config).with_context(in_folder)?;
    for remark in remarks.iter().chain(&of_scripts) {
        eprintln!("waga-ext: {remark}");
    }
    let output = match options.output.is_dir() {
        true => options.output.join(pack.file_name()),
        false => options.output.clone(),
    };
    let archive = pack.to_archive();
    ensure!(
        archive.len() as u64 <= waga_pack::LARGEST,
        "it would have more than {} MiB, which nobody installs",
        waga_pack::LARGEST >> 20
    );
    write(&output, &archive, 0o644)?;
    let (path, count) = (output.display(), pack.files().len());
    Ok(format!("{path}: {} bytes, {count} files\ndigest sha256:{}\n", archive.len(), pack.digest()))
}

/// One file of the folder.
fn add(files: &mut BTreeMap<String, Vec<u8>>, folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    files.insert(name.to_owned(), bytes);
    Ok(())
}

/// All of a folder within it, and of those within that, whose names end so.
fn add_folder(files: &mut BTreeMap<String, Vec<u8>>, folder: &Path, name: &str, end: &str) -> Result<()> {
    let path = folder.join(name);
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry?;
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let inner = format!("{name}/{file}");
        if entry.path().is_dir() {
            add_folder(files, folder, &inner, end)?;
        } else if file.ends_with(&format!(".{end}")) && !file.starts_with('.') {
            add(files, folder, &inner)?;
        }
    }
    Ok(())
}
