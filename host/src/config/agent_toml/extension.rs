//! `[extensions]` and `[extension.NAME]`: what they mean.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use waga_builtins::FAMILIES;

use super::super::command_name::{LONGEST, is_command, is_extension, is_protected};
use super::super::extension::{CallLimits, Code, Extension, LARGEST_STATE, OnFailure, Runtime, Said};
use super::super::pack::{Pack, Trust, is_version};
use super::super::schema::{ExtensionTable, ExtensionsTable, InOrder, LimitsTable, Size};
use super::super::{ConfigError, size};
use super::Source;
use crate::policy::Origin;

/// No call and no compilation is to take longer.
const LONGEST_TIME: Duration = Duration::from_secs(3600);

// What may be written; beyond, nothing useful works, or the agent itself is in danger.
const STACK: RangeInclusive<u64> = 64 << 10..=8 << 20;
const COMPILE_MEMORY: RangeInclusive<u64> = 16 << 20..=64 << 30;
const MODULE_SIZE: RangeInclusive<u64> = 1 << 10..=256 << 20;
const MEMORY: RangeInclusive<u64> = 64 << 10..=4 << 30;
const MESSAGE: RangeInclusive<u64> = 1 << 10..=64 << 20;
const LOG: RangeInclusive<u64> = 0..=64 << 20;
const STATE: RangeInclusive<u64> = 0..=LARGEST_STATE;
const HOST_CALLS: RangeInclusive<u64> = 0..=1_000_000_000;
const CONCURRENCY: RangeInclusive<u64> = 1..=8;

impl Source<'_> {
    pub(super) fn extensions(
        &self,
        table: ExtensionsTable,
        list: InOrder<ExtensionTable>,
    ) -> Result<Said, ConfigError> {
        let runtimes = Runtime::ALL.map(|runtime| (runtime.as_str(), runtime));
        let trusts = Trust::ALL.map(|trust| (trust.as_str(), trust));
        let compile = table.compile.unwrap_or_default();
        let mut said = Said {
            runtime: table.runtime.map(|word| self.word("runtime", &word, &runtimes)).transpose()?,
            cache: table.cache.map(|path| self.some_path(path, "a cache needs a folder")).transpose()?,
            state: table.state.map(|path| self.some_path(path, "state needs a folder")).transpose()?,
            stack: self.number(table.stack.as_ref(), "stack", STACK)?,
            compile_memory: self.number(compile.memory.as_ref(), "compile.memory", COMPILE_MEMORY)?,
            compile_time: self.bounded_time(compile.time.as_ref())?,
            module_size: self.number(table.module_size.as_ref(), "module-size", MODULE_SIZE)?,
            trust: table.trust.map(|word| self.word("trust", &word, &trusts)).transpose()?,
            trusted_keys: table
                .trusted_keys
                .map(|path| self.some_path(path, "keys need a folder"))
                .transpose()?,
            packs: table.packs.map(|path| self.some_path(path, "packs need a folder")).transpose()?,
            ..Said::default()
        };
        for (name, table) in list.0 {
            let settings = table.config.as_ref().map(|config| config.get_ref().clone());
            said.list.push(self.extension(&name, table)?);
            said.settings.push(settings.filter(|settings| !settings.is_empty()));
        }
        Ok(said)
    }

    fn extension(&self, name: &Spanned<String>, table: ExtensionTable) -> Result<Extension, ConfigError> {
        let place = name.span();
        if !cfg!(feature = "extensions") {
            return Err(self.error(&place, "this build of waga runs no extensions"));
        }
        let name = name.get_ref();
        if !is_extension(name) {
            let text = format!(
                "'{}' is no name for an extension: write small letters, digits and '-', a letter first, {LONGEST} at most",
                name.escape_debug()
            );
            return Err(self.error(&place, text));
        }
        let key = format!("[extension.{name}]");
        let code = self.code(&key, &place, table.module, table.scripts, table.pack, table.version)?;
        let config = match table.config {
            Some(config) => {
                let json = object(config.get_ref(), "config");
                json.map_err(|text| self.error(&config.span(), text))?.to_string()
            }
            None => "{}".to_owned(),
        };
        let all = OnFailure::ALL.map(|word| (word.as_str(), word));
        let on_failure = table.on_failure.map(|word| self.word("on-failure", &word, &all)).transpose()?;
        let mut provided = Vec::new();
        Ok(Extension {
            name: name.as_str().into(),
            origin: self.origin(&place, key.clone()),
            code,
            enabled: table.enabled.unwrap_or(true),
            add: match table.add {
                None => None,
                names => Some(self.provided("add", names, &key, &mut provided)?),
            },
            overrides: self.provided("override", table.overrides, &key, &mut provided)?,
            wraps: self.provided("wrap", table.wrap, &key, &mut provided)?,
            commands: self.granted(table.commands, &key)?,
            env: self.environment(table.env)?,
            freeze_hooks: table.freeze_hooks.unwrap_or_default(),
            while_frozen: table.while_frozen.unwrap_or_default(),
            on_failure: on_failure.unwrap_or(OnFailure::Error),
            config,
            exec: self.programs(&table.exec.unwrap_or_default())?,
            read: self.places(table.read, &key, "read")?,
            write: self.places(table.write, &key, "write")?,
            limits: self.call_limits(&table.limits.unwrap_or_default())?,
        })
    }

    /// Where the commands come from: the one key of three that says so.
    fn code(
        &self,
        key: &str,
        place: &Range<usize>,
        module: Option<Spanned<PathBuf>>,
        scripts: Option<Spanned<PathBuf>>,
        pack: Option<Spanned<String>>,
        version: Option<Spanned<String>>,
    ) -> Result<Code, ConfigError> {
        if let (None, Some(version)) = (&pack, &version) {
            return Err(
                self.error(&version.span(), format!("{key} has a 'version' and no 'pack' that it is of"))
            );
        }
        match (module, scripts, pack) {
            (Some(module), None, None) => Ok(Code::Module(self.some_path(module, "a module needs a file")?)),
            (None, Some(scripts), None) => {
                Ok(Code::Scripts(self.some_path(scripts, "scripts need a folder")?))
            }
            (None, None, Some(pack)) => {
                if !is_extension(pack.get_ref()) {
                    let text = format!("'{}' is no name of a pack", pack.get_ref().escape_debug());
                    return Err(self.error(&pack.span(), text));
                }
                let Some(version) = version else {
                    let text = format!(
                        "{key} needs the key 'version', the one of the pack that is to run: waga-ext list tells which there are"
                    );
                    return Err(self.error(&pack.span(), text));
                };
                if !is_version(version.get_ref()) {
                    let text =
                        format!("'{}' is no version, as 1.2.0 is one", version.get_ref().escape_debug());
                    return Err(self.error(&version.span(), text));
                }
                Ok(Code::Pack(Pack::named(pack.get_ref(), version.get_ref())))
            }
            (None, None, None) => {
                let text = format!(
                    "{key} needs the key 'module', the file of a component, 'scripts', a folder of JavaScript files, or 'pack', the name of one that is installed"
                );
                Err(self.error(place, text))
            }
            (module, scripts, pack) => {
                let keys = [
                    module.map(|key| ("module", key.span())),
                    scripts.map(|key| ("scripts", key.span())),
                    pack.map(|key| ("pack", key.span())),
                ];
                let keys: Vec<_> = keys.into_iter().flatten().collect();
                let names: Vec<_> = keys.iter().map(|(name, _)| format!("'{name}'")).collect();
                let both = if names.len() == 2 { "both " } else { "" };
                let text = format!("{key} has {both}{}: give each a table of its own", names.join(" and "));
                let place = keys.last().map_or_else(|| place.clone(), |(_, place)| place.clone());
                Err(self.error(&place, text))
            }
        }
    }

    /// The commands of one mode, which are those of no other mode.
    fn provided(
        &self,
        key: &str,
        names: Option<Vec<Spanned<String>>>,
        table: &str,
        others: &mut Vec<(Arc<str>, Origin)>,
    ) -> Result<Vec<(Arc<str>, Origin)>, ConfigError> {
        let mut provided: Vec<(Arc<str>, Origin)> = Vec::new();
        for name in names.unwrap_or_default() {
            let (place, name) = (name.span(), name.into_inner());
            let fault = if is_protected(&name) {
                Some(format!("'{name}' is protected: no extension may provide it"))
            } else if !is_command(&name) {
                Some(no_command(&name))
            } else {
                twice(&name, &provided).or_else(|| {
                    let (_, other) = others.iter().find(|(other, _)| **other == *name)?;
                    Some(format!("'{name}' is also named by {other}: an extension provides it in one way"))
                })
            };
            if let Some(text) = fault {
                return Err(self.error(&place, text));
            }
            provided.push((name.into(), self.origin(&place, format!("{table} {key}"))));
        }
        others.extend(provided.iter().cloned());
        Ok(provided)
    }

    /// The commands that it may call.
    fn granted(
        &self,
        names: Option<Vec<Spanned<String>>>,
        table: &str,
    ) -> Result<Vec<(Arc<str>, Origin)>, ConfigError> {
        let mut granted: Vec<(Arc<str>, Origin)> = Vec::new();
        for name in names.unwrap_or_default() {
            let (place, name) = (name.span(), name.into_inner());
            let own = FAMILIES.iter().copied().flatten().find(|builtin| builtin.name == name);
            let fault = if is_protected(&name) || own.is_some_and(|builtin| !builtin.grantable) {
                Some(format!(
                    "'{name}' cannot be granted: extensions may be let call commands that tell something of the guest (guest-get-…), and those of other extensions"
                ))
            } else if !is_command(&name) {
                Some(no_command(&name))
            } else {
                twice(&name, &granted)
            };
            if let Some(text) = fault {
                return Err(self.error(&place, text));
            }
            granted.push((name.into(), self.origin(&place, format!("{table} commands"))));
        }
        Ok(granted)
    }

    /// What a component sees as its environment.
    fn environment(
        &self,
        table: Option<BTreeMap<String, Spanned<String>>>,
    ) -> Result<Vec<(String, String)>, ConfigError> {
        let mut environment = Vec::new();
        for (name, value) in table.unwrap_or_default() {
            let place = value.span();
            let value = value.into_inner();
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let text = format!("'{}' cannot be a variable of an environment", name.escape_debug());
                return Err(self.error(&place, text));
            }
            environment.push((name, value));
        }
        Ok(environment)
    }

    /// The files and folders of `read` or `write`. What is there is looked at when they are opened.
    fn places(
        &self,
        paths: Vec<Spanned<String>>,
        table: &str,
        key: &str,
    ) -> Result<Vec<String>, ConfigError> {
        let mut places = Vec::new();
        for path in paths {
            let (span, path) = (path.span(), path.into_inner());
            let shown = path.escape_debug();
            let fault = if !path.starts_with('/') {
                Some(format!("'{shown}' is not an absolute path: write it from '/' on"))
            } else if path.split('/').any(|part| part == "..") {
                Some(format!("'{shown}' contains '..': write the path that it means"))
            } else if path.contains('\0') {
                Some(format!("'{shown}' contains a NUL character, which no path does: leave it out"))
            } else if path.split('/').all(|part| part.is_empty() || part == ".") {
                Some(format!(
                    "'{shown}' is everything: name the files and folders that {table} needs in '{key}'"
                ))
            } else if places.contains(&path) {
                Some(format!("'{shown}' stands twice"))
            } else {
                None
            };
            if let Some(text) = fault {
                return Err(self.error(&span, text));
            }
            places.push(path);
        }
        Ok(places)
    }

    fn call_limits(&self, table: &LimitsTable) -> Result<CallLimits, ConfigError> {
        let default = CallLimits::default();
        let plain = |number: &Option<Spanned<u64>>, key, range| {
            number
                .as_ref()
                .map(|number| {
                    self.in_range(*number.get_ref(), number.span(), key, range, &|number| number.to_string())
                })
                .transpose()
        };
        let time = self.bounded_time(table.time.as_ref())?;
        Ok(CallLimits {
            cpu: self.bounded_time(table.cpu.as_ref())?.unwrap_or(default.cpu),
            time: time.unwrap_or(default.time),
            time_over: time.unwrap_or(default.time_over),
            memory: self.number(table.memory.as_ref(), "limits.memory", MEMORY)?.unwrap_or(default.memory),
            message: self
                .number(table.message.as_ref(), "limits.message", MESSAGE)?
                .unwrap_or(default.message),
            host_calls: plain(&table.host_calls, "limits.host-calls", HOST_CALLS)?
                .unwrap_or(default.host_calls),
            concurrency: plain(&table.concurrency, "limits.concurrency", CONCURRENCY)?
                .and_then(|number| number.try_into().ok())
                .unwrap_or(default.concurrency),
            log: self.number(table.log.as_ref(), "limits.log", LOG)?.unwrap_or(default.log),
            state: self.number(table.state.as_ref(), "limits.state", STATE)?.unwrap_or(default.state),
        })
    }

    fn some_path(&self, path: Spanned<PathBuf>, fault: &str) -> Result<PathBuf, ConfigError> {
        match path.get_ref().as_os_str().is_empty() {
            true => Err(self.error(&path.span(), fault)),
            false => Ok(path.into_inner()),
        }
    }

    fn bounded_time(&self, text: Option<&Spanned<String>>) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let time = self.time(text, "")?;
        if time > LONGEST_TIME {
            let text_of_fault = format!("'{}' is too long: 1h is the most", text.get_ref());
            return Err(self.error(&text.span(), text_of_fault));
        }
        Ok(Some(time))
    }

    /// A size within a range.
    fn number<T: TryFrom<u64>>(
        &self,
        size: Option<&Spanned<Size>>,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(size) = size else { return Ok(None) };
        let bytes = match size.get_ref() {
            Size::Bytes(bytes) => *bytes,
            Size::Text(text) => size::parse(text).ok_or_else(|| {
                let text = format!(
                    "'{}' is no size: write \"512KiB\", \"32MiB\", \"1GiB\" or a number of bytes",
                    text.escape_debug()
                );
                self.error(&size.span(), text)
            })?,
        };
        let bytes = self.in_range(bytes, size.span(), key, range, &size::format)?;
        // What is in range fits.
        Ok(bytes.try_into().ok())
    }

    fn in_range(
        &self,
        number: u64,
        span: Range<usize>,
        key: &str,
        range: RangeInclusive<u64>,
        show: &dyn Fn(u64) -> String,
    ) -> Result<u64, ConfigError> {
        if range.contains(&number) {
            return Ok(number);
        }
        let (least, most, number) = (show(*range.start()), show(*range.end()), show(number));
        Err(self.error(&span, format!("{number} is out of range: '{key}' is from {least} to {most}")))
    }
}

/// That a name cannot be a command's.
fn no_command(name: &str) -> String {
    format!(
        "'{}' is no name for a command: write \"guest-VENDOR-NAME\", small letters and digits, each word with a letter first, {LONGEST} characters at most",
        name.escape_debug()
    )
}

/// That a name is there already.
fn twice(name: &str, names: &[(Arc<str>, Origin)]) -> Option<String> {
    names.iter().any(|(other, _)| **other == *name).then(|| format!("'{name}' stands twice"))
}

/// A table as JSON; `path` leads to it.
fn object(table: &toml::Table, path: &str) -> Result<Value, String> {
    let member = |(key, value): (&String, &toml::Value)| {
        Ok((key.clone(), json(value, &format_args!("{path}.{key}"))?))
    };
    Ok(Value::Object(table.iter().map(member).collect::<Result<Map<_, _>, String>>()?))
}

fn json(value: &toml::Value, path: &dyn Display) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::Number((*number).into()),
        toml::Value::Float(number) => Value::Number(Number::from_f64(*number).ok_or_else(|| {
            format!("'{path}' is {number}, which JSON cannot say: write a number or a string")
        })?),
        toml::Value::Boolean(truth) => Value::Bool(*truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => {
            let item = |(place, value)| json(value, &format_args!("{path}[{place}]"));
            Value::Array(values.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => object(table, &path.to_string())?,
    })
}
