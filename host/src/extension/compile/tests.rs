//! The daemon's side of a compilation, with stand-ins for the compiler that answer well, badly or never.

use std::fs::{self, Permissions};
use std::io::Read;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use smol::future::or;

use super::*;

/// What begins every module here, a script that the stand-in runs: `answer ARTIFACT DESCRIPTION` answers as a compiler does.
const PRELUDE: &str = r#"
D='{"format":2,"commands":[],"imports":[],"memory":0}'
answer() { printf '{"artifact": %d, "description": %d}\n%s%s' ${#1} ${#2} "$1" "$2"; }
"#;

/// A folder with a `waga-ext` that does as the module says that it gets.
static STAND_IN: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    fs::write(&path, "#!/bin/sh\neval \"$(cat)\"\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    // A child that another test starts just now may have it open for writing as long as it is none yet.
    loop {
        let run =
            Filter::new(path.to_str().unwrap(), [], Duration::from_secs(60)).run(io::empty(), io::sink());
        match smol::block_on(run) {
            Err(Failure::Start(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
            other => break assert_eq!(other.unwrap().code, Ok(0)),
        }
    }
    folder
});

fn settings() -> Extensions {
    Extensions { compile_time: Duration::from_secs(60), ..Extensions::default() }
}

fn module(folder: &tempfile::TempDir, script: &str) -> (Arc<Module>, Digest) {
    let path = folder.path().join("module");
    fs::write(&path, format!("{PRELUDE}{script}")).unwrap();
    let module = Module::open(&path, 1 << 20).unwrap();
    let digest = module.digest().unwrap();
    (Arc::new(module), digest)
}

fn compile_with(script: &str, settings: &Extensions) -> Result<Compiled, CompileError> {
    let folder = tempfile::tempdir().unwrap();
    let (module, digest) = module(&folder, script);
    let compiler = Compiler::in_folders([STAND_IN.path().to_owned()]);
    smol::block_on(compiler.compile(settings, module, digest, Kind::Native))
}

fn compile(script: &str) -> Result<Compiled, CompileError> {
    compile_with(script, &settings())
}

fn text(mut file: fs::File) -> String {
    let mut text = String::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn an_answer_is_taken() {
    let compiled = compile("answer machine-code \"$D\"").unwrap();
    assert_eq!(text(compiled.artifact.file), "machine-code");
    assert_eq!(compiled.artifact.size, 12);
    let settings = Extensions { compile_time: Duration::from_millis(59_001), ..settings() };
    let compiled = compile_with("answer \"$*\" \"$D\"", &settings).unwrap();
    assert_eq!(
        text(compiled.artifact.file),
        "compile --runtime native --stack 524288 --memory 1073741824 --time 60 --module-size 33554432"
    );
}

/// Kernels differ in that; the first words about it are kept, and are in the log once.
#[test]
fn what_the_compiler_says_beside_its_answer_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::in_folders([STAND_IN.path().to_owned()]);
    let compile = |script: &str| {
        let (module, digest) = module(&folder, script);
        smol::block_on(compiler.compile(&settings(), module, digest, Kind::Native)).is_ok()
    };
    assert!(compile("answer x \"$D\""));
    assert_eq!(compiler.lacks.get(), None);
    assert!(!compile("echo something >&2; exit 1"));
    assert_eq!(compiler.lacks.get(), None);
    assert!(compile("answer x \"$D\"; printf 'not kept: \\033files\\n' >&2"));
    assert!(compile("answer x \"$D\"; echo other >&2"));
    assert_eq!(compiler.lacks.get().map(String::as_str), Some("not kept:  files"));
}

#[test]
fn what_went_wrong_is_told_and_whose_fault_it_is() {
    for (script, expected) in [
        ("exit 1", "failed: the compiler failed with exit code 1"),
        ("echo 'no idea' >&2; exit 1", "failed: no idea"),
        ("exit 77", "failed: the compiler failed with exit code 77"),
        ("printf 'not a component\\n\\033[2J\\n' >&2; exit 2", "refused: not a component  [2J"),
        ("exit 2", "refused: the compiler refuses the module and gives no reason"),
        (
            "echo 'compile = { memory } is too little' >&2; exit 3",
            "limit: compile = { memory } is too little",
        ),
        ("exit 3", "limit: compiling takes more than [extensions] compile = { memory, time } allows"),
        ("kill -9 $$", "failed: signal 9 ended the compiler"),
        ("echo bad >&2; kill -11 $$", "failed: signal 11 ended the compiler: bad"),
        (
            "kill -XCPU $$",
            "limit: compiling takes longer than [extensions] compile = { time = \"1m\" } allows",
        ),
        (
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            "limit: compiling takes more than [extensions] compile = { memory = \"1GiB\" } allows",
        ),
        (
            "answer x",
            "failed: the compiler's description cannot be read: EOF while parsing a value at line 1 column 0",
        ),
        ("answer x '{}'", "failed: the compiler's description cannot be read: missing field `format`"),
        ("answer x \"$D\"; echo more", "failed: the compiler said more than it announced"),
        (
            "echo '{\"artifact\": 10, \"description\": 10}'; echo x",
            "failed: the compiler's answer ends early",
        ),
        ("", "failed: the compiler's answer ends early"),
        ("cat /dev/zero", "failed: the compiler's answer does not begin with its sizes"),
        (
            "echo '{\"artifact\": 536870913, \"description\": 10}'; sleep 1000",
            "failed: the compiler made an artifact of 536870913 bytes: 536870912 are the most",
        ),
        (
            "echo '{\"artifact\": 1, \"description\": 1}'; exec cat /dev/zero",
            "failed: the compiler said more than it announced",
        ),
    ] {
        let error = compile(script).unwrap_err();
        let kind = match &error {
            CompileError::Missing(_) => "missing",
            CompileError::Refused(_) => "refused",
            CompileError::Limit(_) => "limit",
            CompileError::Failed(_) => "failed",
        };
        let found = format!("{kind}: {error}");
        assert!(found.starts_with(expected), "{script}\n{found}\nexpected {expected}");
    }
}

#[test]
fn what_takes_too_long_or_leaves_something_behind_holds_nobody_up() {
    let settings = Extensions { compile_time: Duration::from_secs(1), ..settings() };
    let begun = Instant::now();
    for script in
        ["sleep 1000", "answer x \"$D\"; sleep 1000", "setsid sleep 1000 & wait", "while :; do :; done"]
    {
        let error = compile_with(script, &settings).unwrap_err();
        assert_eq!(
            error.to_string(),
            "compiling takes longer than [extensions] compile = { time = \"1s\" } allows",
            "{script}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(compile("answer x \"$D\"; setsid sleep 1000 &").is_ok());
    assert!(begun.elapsed() < Duration::from_secs(120));
}

#[test]
fn a_module_that_changes_meanwhile_is_not_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let (module, digest) = module(&folder, "answer one \"$D\"");
    fs::write(module.path(), format!("{PRELUDE}answer two \"$D\"")).unwrap();
    let compiler = Compiler::in_folders([STAND_IN.path().to_owned()]);
    let compiled = smol::block_on(compiler.compile(&settings(), module, digest, Kind::Pulley));
    let error = compiled.unwrap_err();
    assert!(matches!(error, CompileError::Failed(_)));
    assert!(error.to_string().ends_with("/module: changed while it was read; try again"), "{error}");
}

#[test]
fn a_compiler_that_is_not_there_or_not_ours_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (module, digest) = module(&folder, "");
    let run = |folders: &[&Path]| {
        let compiler = Compiler::in_folders(folders.iter().map(|&folder| folder.to_owned()));
        smol::block_on(compiler.compile(&settings(), module.clone(), digest, Kind::Pulley)).unwrap_err()
    };
    let error = run(&[folder.path(), Path::new("/nonexistent")]);
    let expected = format!(
        "needs compiling, and waga-ext is not installed (looked in {}, /nonexistent)",
        folder.path().display()
    );
    assert!(matches!(error, CompileError::Missing(_)));
    assert_eq!(error.to_string(), expected);
    let path = folder.path().join(NAME);
    fs::write(&path, "#!/bin/sh\n").unwrap();
    // Nothing that could be run.
    assert_eq!(run(&[folder.path(), Path::new("/nonexistent")]).to_string(), expected);
    fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
    let error = run(&[folder.path(), STAND_IN.path()]).to_string();
    let expected = format!("needs compiling, and {}: others than its owner may write to it", path.display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn one_is_compiled_after_the_other_and_one_that_nobody_wants_stops() {
    let folder = tempfile::tempdir().unwrap();
    let busy = folder.path().join("busy");
    // Whoever finds another at work fails.
    let script = format!("mkdir {0} || exit 1; sleep 0.1; rmdir {0}; answer x \"$D\"", busy.display());
    let compiler = Compiler::in_folders([STAND_IN.path().to_owned()]);
    let (first, digest) = module(&folder, &script);
    let settings = settings();
    let compile = || async {
        let compiled = compiler.compile(&settings, first.clone(), digest, Kind::Pulley).await;
        compiled.map(|_| ()).map_err(|error| error.to_string())
    };
    let both = smol::block_on(smol::future::zip(compile(), compile()));
    assert_eq!(both, (Ok(()), Ok(())));
    let begun = folder.path().join("begun");
    let other = tempfile::tempdir().unwrap();
    let (endless, endless_digest) = module(&other, &format!("echo $$ >{}; sleep 1000", begun.display()));
    let abandoned = compiler.compile(&settings, endless, endless_digest, Kind::Pulley);
    let seen = async {
        while !begun.exists() {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    };
    smol::block_on(or(async { drop(abandoned.await) }, seen));
    // The turn is over.
    assert_eq!(smol::block_on(compile()), Ok(()));
}
