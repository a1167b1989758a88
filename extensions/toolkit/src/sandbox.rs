//! The sandbox that the agent has, without an agent: a component compiled and loaded, to be called once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use waga::extension::description::Description;
use waga::extension::engine::{self, Engine};
use waga::extension::sandbox::Sandbox;
use waga::extension::scripts;
use wasmtime::component::Component;

use crate::compile::{Runtime, in_child};

/// Stack of a component, as the agent has it unless told otherwise.
const STACK: usize = 512 << 10;

/// A component that can be called once its imports are there.
pub(crate) struct Loaded {
    pub(crate) engine: Arc<Engine>,
    pub(crate) description: Description,
    /// How long it took to compile.
    pub(crate) compiled: Duration,
    component: Component,
}

impl Loaded {
    /// Of the bytes of a component. `name`: what people call it.
    ///
    /// # Errors
    /// It cannot be compiled or loaded.
    pub(crate) fn new(bytes: Vec<u8>, runtime: Runtime, name: &str) -> Result<Self> {
        let kind = engine::Kind::from(runtime);
        let engine = engine::config(kind, STACK).and_then(|config| wasmtime::Engine::new(&config));
        let engine = engine.map_err(|error| anyhow!("cannot set up the engine: {error}"))?;
        let begun = Instant::now();
        let made = in_child(bytes, runtime, STACK);
        let made = made.map_err(|text| anyhow!("cannot compile {name}: {text}"))?;
        let compiled = begun.elapsed();
        let component =
            made.load(&engine).map_err(|text| anyhow!("cannot load what {name} was compiled to: {text}"))?;
        let engine = Arc::new(Engine::start(engine, kind).context("cannot start the engine")?);
        Ok(Self { engine, description: made.description, compiled, component })
    }

    /// The engine of scripts.
    ///
    /// # Errors
    /// It is not installed; and as [`Self::new`].
    pub(crate) fn of_scripts(runtime: Runtime, name: &str) -> Result<Self> {
        let path = scripts::engine();
        ensure!(path.exists(), "{}", scripts::no_engine(&path));
        Self::new(crate::inspect::read(&path)?, runtime, name)
    }

    /// Where it is called.
    ///
    /// # Errors
    /// What of its imports nobody has, in words that follow its name.
    pub(crate) fn sandbox(&self) -> Result<Arc<Sandbox>, String> {
        Sandbox::new(&self.component, &self.description).map(Arc::new).map_err(|unfit| unfit.to_string())
    }
}
