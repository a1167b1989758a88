//! `waga-ext call`: one call of a component in the sandbox that the agent has, without an agent.

mod log;

use std::ffi::OsString;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use waga::config::CallLimits;
use waga::extension::answer::Answer;
use waga::extension::description::{Command, Description, Kind};
use waga::extension::engine;
use waga::extension::files::Files;
use waga::extension::scripts::Alone;
use waga::extension::{Grant, Standing, standing};
use waga::wire::{Event, Framer, Request};

use crate::compile::Runtime;
use crate::sandbox::Loaded;

/// Calls one command of a component, under the agent's default limits.
///
/// Arguments are written as for `waga call`: key=value, where the value is JSON
/// if it can be read as JSON, else a string; or all in one JSON object; or - for
/// such an object from stdin. Printed is what the command returns, as JSON.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The component, or a script (NAME.js).
    file: PathBuf,
    /// The command.
    command: String,
    /// Its arguments.
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
    /// Its configuration, a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// A file that it may read, by its absolute path.
    ///
    /// Or a folder with all that is in it. May be given several times.
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// One that it may write, too.
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// What it runs as: native or pulley.
    #[arg(long, value_enum, default_value = "native", hide_possible_values = true)]
    runtime: Runtime,
    /// Say on stderr what took how long.
    ///
    /// And what it logs for debugging. The rest of its log is always there.
    #[arg(short, long)]
    verbose: bool,
}

/// Calls and prints the result.
pub(crate) fn run(options: &Options) -> Result<()> {
    let config: serde_json::Value = serde_json::from_str(&options.config)
        .with_context(|| format!("--config '{}' is no JSON", options.config))?;
    ensure!(config.is_object(), "--config '{}' is no JSON object", options.config);
    let arguments = waga::call::arguments(&options.arguments).map_err(|text| anyhow!(text))?;
    let request = request(&arguments)?;

    let is_script = options.file.extension().is_some_and(|end| end == "js");
    let name = options.file.display().to_string();
    let begun = Instant::now();
    let loaded = match is_script {
        true => Loaded::of_scripts(options.runtime, &name)?,
        false => Loaded::new(crate::inspect::read(&options.file)?, options.runtime, &name)?,
    };
    let mut description = loaded.description.clone();
    if !is_script {
        permitted(&description).with_context(|| format!("{name} cannot be called here"))?;
    }
    let sandbox = loaded.sandbox().map_err(|text| anyhow!("{name} {text}"))?;
    let (engine, compiled) = (&loaded.engine, loaded.compiled);
    let loading = begun.elapsed().saturating_sub(compiled);

    let limits = Arc::new(CallLimits::default());
    let mut grant = Grant {
        name: "call".into(),
        config: config.to_string().into(),
        limits: limits.clone(),
        files: Arc::new(files(options, limits.concurrency)?),
        ..Grant::default()
    };
    log::start(options.verbose);
    if is_script {
        let alone = Alone::read(&options.file, engine, sandbox.clone(), grant.clone());
        let alone = smol::block_on(alone).map_err(|text| anyhow!(plain(&text)))?;
        alone.faults().iter().for_each(|fault| eprintln!("waga-ext: not used: {}", plain(fault)));
        description.commands = alone.commands().collect();
        let command = provided(&description, &options.command)?;
        if let Some(names) = alone.arguments(&command.name) {
            known(&command.name, &names, &arguments)?;
        }
        alone.check(&command.name, request.arguments.text()).map_err(|text| anyhow!(text))?;
        grant.script = alone.script(&command.name);
    } else if let command = provided(&description, &options.command)?
        && let Kind::Typed(signature) = &command.kind
    {
        let names: Vec<&str> = signature.params.iter().map(|(name, _)| name.as_str()).collect();
        known(&command.name, &names, &arguments)?;
    }
    let begun = Instant::now();
    let call = sandbox.call(engine, grant, &options.command, request.arguments, begun + limits.time);
    let ending = smol::block_on(call);
    if options.verbose {
        let kind = engine::Kind::from(options.runtime);
        let (wall, cpu) = (micros(begun.elapsed()), micros(ending.cpu));
        eprintln!("compiled as {} in {}, loaded in {}", kind.as_str(), micros(compiled), micros(loading));
        eprintln!("called in {wall}, of which {cpu} CPU time");
    }
    match ending.result {
        Ok(Answer::Returned(text)) => {
            let text = String::from_utf8(text).context("what it returned is no text")?;
            waga::call::print(&text).map_err(|text| anyhow!(text))
        }
        Ok(Answer::Failed(error)) => bail!("{}: {}", options.command, plain(&error.desc)),
        Err(failure) => bail!("{}: it {}", options.command, plain(&failure.text(&limits))),
    }
}

/// What it is granted, as the agent grants it.
fn files(options: &Options, concurrency: usize) -> Result<Files> {
    let paths = |paths: &[PathBuf], option: &str| {
        let path = |path: &PathBuf| {
            let text = path.to_str().filter(|_| path.is_absolute());
            let text = text.filter(|_| !path.components().any(|part| part == Component::ParentDir));
            let text = text.with_context(|| {
                format!("--{option} {}: write the path from '/' on, without '..'", path.display())
            });
            text.map(str::to_owned)
        };
        paths.iter().map(path).collect::<Result<Vec<_>>>()
    };
    let (read, write) = (paths(&options.read, "read")?, paths(&options.write, "write")?);
    let files = Files::new(&read, &write, concurrency, &Arc::default());
    files.open().map_err(|text| anyhow!(text))?;
    Ok(files)
}

/// The arguments as the agent has them: checked, and with the bounds of a message.
fn request(arguments: &str) -> Result<Request> {
    let text = format!("{{\"execute\":\"call\",\"arguments\":{arguments}}}\n");
    match Framer::default().feed(text.as_bytes()).1 {
        Some(Event::Message(message)) => {
            Request::try_from(message).map_err(|_| anyhow!("the arguments are no JSON object"))
        }
        _ => bail!("the arguments are not such as an agent takes"),
    }
}

/// Nobody grants anything here.
fn permitted(description: &Description) -> Result<()> {
    for import in &description.imports {
        match standing(import) {
            Standing::Free => {}
            Standing::Granted(line) => bail!("it imports {import}, which only agent.toml grants: {line}"),
            Standing::Forbidden(reason) => bail!("it imports {import}, and {reason}"),
            Standing::Unknown => bail!("it imports {import}, which no agent of this version has"),
        }
    }
    Ok(())
}

/// The command; if there is none of this name, which was probably meant, or which there are.
fn provided<'a>(description: &'a Description, name: &str) -> Result<&'a Command> {
    if let Some(command) = description.commands.iter().find(|command| command.name == name) {
        return match &command.kind {
            Kind::Refused(reason) => bail!("{name}: {reason}"),
            Kind::Typed(_) | Kind::Handler => Ok(command),
        };
    }
    let names: Vec<&str> = description.commands.iter().map(|command| command.name.as_str()).collect();
    match waga::nearest(name, names.iter().copied()) {
        Some(near) => bail!("there is no command {name}; did you mean {near}?"),
        None if names.is_empty() => bail!("there is no command {name}: the component has none at all"),
        None => bail!("there is no command {name}; the component has: {}", names.join(", ")),
    }
}

/// Whether the command has all these arguments. The sandbox looks, too, but says what is missing first, which a slip leads to.
fn known(command: &str, names: &[&str], arguments: &str) -> Result<()> {
    let given: serde_json::Map<String, serde_json::Value> = serde_json::from_str(arguments)?;
    let Some(wrong) = given.keys().find(|key| !names.contains(&key.as_str())) else { return Ok(()) };
    let told = format!("{command} has no argument '{}'", plain(wrong));
    match waga::nearest(wrong, names.iter().copied()) {
        Some(near) => bail!("{told}; did you mean '{near}'?"),
        None if names.is_empty() => bail!("{told}: it takes none"),
        None => bail!("{told}; it takes: {}", names.join(", ")),
    }
}

fn micros(time: Duration) -> String {
    match time.as_micros() {
        few @ 0..10_000 => format!("{few} µs"),
        many => format!("{} ms", many / 1000),
    }
}

/// What a component says, so that it does nothing to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
