//! Whether a pack is what its manifest says, as far as that can be told without running anything of it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use waga::config::{Config, Extension, Proposed};
use waga::extension::{Standing, standing};
use waga_pack::{Manifest, Pack};

use crate::store::table;

/// Checks that the agent would understand what the manifest asks for, that the configuration is as its schema has it, and that the
/// component has the commands and imports nothing else; what its author should know all the same.
///
/// # Errors
/// The first thing that is otherwise.
pub(crate) fn whole(pack: &Pack) -> Result<Vec<String>> {
    let manifest = pack.manifest();
    let extension = declared(manifest)?;
    config(pack, &extension.config)?;
    let Some(component) = pack.component() else { return Ok(Vec::new()) };
    let seen = Seen::of(component)?;
    imports(&seen, &extension)?;
    commands(&seen, manifest)
}

/// The extension that its table declares.
///
/// # Errors
/// What the agent would say of that table.
pub(crate) fn declared(manifest: &Manifest) -> Result<Extension> {
    // None of it is read: only the text counts.
    let folder = std::path::Path::new("/nonexistent");
    let path = folder.join("agent.d").join(table::file_name(&manifest.name));
    let proposed = Proposed { path, text: Some(table::text(manifest)) };
    let config = Config::of_folder(folder, Some(&proposed)).map_err(|error| {
        let text = error.to_string();
        let text = text.split_once(": ").map_or(text.as_str(), |(_, text)| text).to_owned();
        anyhow::anyhow!("pack.toml asks for what no agent.toml can say: {text}")
    })?;
    config.extensions.list.into_iter().next().context("its table declares nothing")
}

/// Whether a configuration, as JSON, is what the pack's schema has.
///
/// # Errors
/// What is not, or what is wrong with the schema.
pub(crate) fn config(pack: &Pack, config: &str) -> Result<()> {
    let Some(name) = &pack.manifest().config_schema else { return Ok(()) };
    let schema: Value =
        serde_json::from_slice(&pack.files()[name]).with_context(|| format!("{name} is no JSON"))?;
    waga::extension::scripts::check(&schema, config)
        .map_err(|fault| anyhow::anyhow!("the configuration is not as {name} has it: {fault}"))
}

/// What a component is, as far as it matters here. It may be anybody's: a process that can do nothing else looks.
#[derive(Debug, Deserialize)]
struct Seen {
    commands: Vec<Named>,
    handler: bool,
    imports: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl Seen {
    fn of(component: &[u8]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .args(["inspect", "--json", "/dev/stdin"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start what looks at the component")?;
        let input = child.stdin.take();
        let output = thread::scope(|scope| {
            // One that reads no more says why as it ends.
            scope.spawn(move || input.map(|mut input| input.write_all(component)));
            child.wait_with_output()
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).replace("/dev/stdin", "the component");
            bail!("{}", said.trim().trim_start_matches("waga-ext: "));
        }
        serde_json::from_slice(&output.stdout)
            .context("what looks at the component says nothing that makes sense")
    }
}

/// Whether all that it imports is asked for.
fn imports(seen: &Seen, extension: &Extension) -> Result<()> {
    let may_call = |name: &str| extension.commands.iter().any(|(command, _)| **command == *name);
    for import in seen.imports.iter().map(|it| it.name.as_str()) {
        let asked = match standing(import) {
            Standing::Free => true,
            Standing::Forbidden(reason) => bail!("its component imports {import}: {reason}"),
            Standing::Unknown => bail!("its component imports {import}, which no agent has"),
            Standing::Granted(_) if import.starts_with("waga:extension/exec") => !extension.exec.is_empty(),
            Standing::Granted(_) => {
                match import.strip_prefix("waga:guest/").and_then(|it| it.split_once('@')) {
                    Some((command, _)) => may_call(command),
                    None => !extension.commands.is_empty(),
                }
            }
        };
        if let (false, Standing::Granted(line)) = (asked, standing(import)) {
            bail!("its component imports {import}, and no [[permission]] of pack.toml asks for it: {line}");
        }
    }
    Ok(())
}

/// Whether it has the commands that it is said to have.
fn commands(seen: &Seen, manifest: &Manifest) -> Result<Vec<String>> {
    let has: Vec<&str> = seen.commands.iter().map(|it| it.name.as_str()).collect();
    for command in &manifest.commands {
        ensure!(
            seen.handler || has.contains(&command.name.as_str()),
            "its component has no command {}, which pack.toml names",
            command.name
        );
    }
    let unsaid = has.iter().filter(|name| !manifest.commands.iter().any(|command| command.name == **name));
    let remark = |name: &&str| {
        format!("its component has {name}, which pack.toml does not name: nobody will be able to call it")
    };
    Ok(unsaid.map(remark).collect())
}
