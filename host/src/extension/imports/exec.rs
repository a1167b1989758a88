//! `waga:extension/exec`: programs of the guest, those that the operator granted. While one runs, time on the wall passes for the call and
//! no CPU time; when the call ends before it, it is killed with all that it started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waga_builtins::captured::{Captured, Failure, Outcome};
use waga_builtins::exec::Unlisted;
use waga_builtins::os_text;
use waga_builtins::qapi::shorten;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::config::{GrantedProgram, size, trust};
use crate::extension::call::{Call, Grant};

/// What became of a program.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct Output {
    #[component(name = "exit-code")]
    exit_code: Option<i32>,
    signal: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

type Request = (String, Vec<String>, Option<Vec<u8>>);

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:extension/exec@1.0.0")?;
    instance.func_wrap_async("run", |mut cx: StoreContextMut<'_, Call>, request: Request| {
        Box::new(async move {
            cx.data_mut().count()?;
            let grant = cx.data().grant.clone();
            Ok((run(&grant, request).await,))
        })
    })
}

async fn run(grant: &Grant, (program, args, input): Request) -> Result<Output, String> {
    let bound = grant.limits.message;
    let limit = || format!("(limits.message = \"{}\")", size::format(bound));
    let text = program.len() + args.iter().map(String::len).sum::<usize>();
    let given = text + input.as_ref().map_or(0, Vec::len);
    if given as u64 > bound {
        return Err(format!("no program gets {given} bytes {}", limit()));
    }
    let env = grant.exec.environment(&program, &args).map_err(|unlisted| match unlisted {
        Unlisted::Program => format!("the key exec does not grant '{}'", shorten(&program)),
        Unlisted::Arguments => format!("the key exec does not grant '{program}' with these arguments"),
    })?;
    may_run(grant)?;
    let path = program.clone();
    smol::unblock(move || doubt(&path)).await.map_or(Ok(()), Err)?;
    let most = usize::try_from(bound).unwrap_or(usize::MAX);
    let run = Captured { program: program.clone(), args, env, input, most };
    let Outcome { code, stdout, stderr } = run.run().await.map_err(|failure| match failure {
        Failure::Start(error) => format!("'{program}' does not start: {}", os_text(&error)),
        Failure::TooMuch => format!("'{program}' wrote more than a message may hold {}", limit()),
        Failure::Lost(error) => format!("'{program}' was lost: {}", os_text(&error)),
    })?;
    Ok(Output { exit_code: code.ok(), signal: code.err(), stdout, stderr })
}

/// Programs may write, and what waits for a thaw cannot be killed: while filesystems are frozen the operator has to have said that this
/// extension does as it should.
fn may_run(grant: &Grant) -> Result<(), String> {
    match !grant.while_frozen && grant.agent.upgrade().is_some_and(|agent| agent.freeze.is_frozen()) {
        true => Err("filesystems are frozen: no program is run now".into()),
        false => Ok(()),
    }
}

/// Why a program is not to be run: it is none, or others could have written it. May wait for a disk.
fn doubt(program: &str) -> Option<String> {
    let path = Path::new(program);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("'{program}' does not start: {}", os_text(&error))),
    };
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Some(format!("'{program}' is no program"));
    }
    trust::opened(path, &metadata).err().map(|error| format!("not trusted: {error}"))
}

/// Why an extension is not loaded that may run these: others could have written one of them. What is not there may yet come. May wait for a
/// disk.
pub(in crate::extension) fn distrust(granted: &[GrantedProgram]) -> Option<String> {
    let there = granted.iter().filter(|granted| Path::new(&granted.program).exists());
    there.filter_map(|granted| doubt(&granted.program)).next().map(|doubt| format!("exec: {doubt}"))
}
