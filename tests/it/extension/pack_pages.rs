//! The pages about packs, followed one after the other: what a vendor publishes on the first, an operator has in a guest on the second.

use std::fs;
use std::path::{Path, PathBuf};

use waga_tests::agent::{Agent, left_out};
use waga_tests::pty::Pty;

use super::script::{engine, fill};
use super::script_pages::{tool, tools};
use crate::docs::{blocks, root};
use crate::page::{Done, Reader};
use crate::program;

/// The id of a key that a page shows.
const ID: &str = "61328A8BB4D05D04";
/// Of a key that somebody has at hand.
const PASSWORD: &str = "not so secret";

/// An agent that reads its configuration from a folder, with nothing in it but where things are.
fn agent() -> Option<Agent> {
    engine()?;
    let setup = program().setup();
    let (etc, var) = (setup.dir().join("etc"), setup.dir().join("var"));
    [&etc, &etc.join("agent.d"), &var].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let places = ["cache", "state", "packs"].map(|key| format!("{key} = '{}'\n", var.join(key).display()));
    fs::write(etc.join("agent.toml"), format!("[extensions]\n{}", places.concat())).unwrap();
    fill(&var.join("cache"));
    Some(setup.options(["-c".into(), etc]).start())
}

/// `waga-ext` and `minisign` for somebody at a terminal, who knows the password and agrees to what is asked: as both see it, and the answers
/// where a terminal shows them.
fn at_a_terminal(bin: &Path, etc: &Path, terminal: &Path) {
    let waga_ext = program().path().with_file_name("waga-ext");
    let password = bin.join("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let (etc, password) = (etc.display(), password.display());
    let text = format!(
        "case $1 in
        keygen) printf 'Password of the secret key: \\nOnce more: \\n'; set -- \"$@\" --password-file {password} ;;
        sign) case \"$*\" in *--key*) printf 'Password of acme.key: \\n'; set -- \"$@\" --password-file {password} ;; esac ;;
        verify) set -- \"$@\" --trusted-keys {etc}/trust.d ;;
        install|upgrade|rollback|list|enable|disable|remove|doctor|compile) set -- \"$@\" -c {etc} ;;
        esac
        {} \"$@\" <{} 2>&1 | sed 's/\\[y\\/N\\] /&y\\n/'",
        waga_ext.display(),
        terminal.display()
    );
    tool(&bin.join("waga-ext"), &text);
    let minisign = which("minisign").unwrap();
    tool(&bin.join("minisign"), &format!("exec {} \"$@\" <{password}", minisign.display()));
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[test]
fn what_one_page_publishes_the_other_installs() {
    for name in ["minisign", "zstd"] {
        if which(name).is_none() {
            return left_out(&format!("{name} (tests/install-packages)"));
        }
    }
    let Some(agent) = agent() else { return };
    let [etc, var, here] = ["etc", "var", "here"].map(|name| agent.dir().join(name));
    fs::create_dir(&here).unwrap();
    let path = tools(&agent, &etc);
    let (terminal, mut person) = Pty::new().unwrap();
    at_a_terminal(&agent.dir().join("bin"), &etc, terminal.path());
    // One for each question.
    for _ in 0..2 {
        person.send("y\n").unwrap();
    }
    let mut reader = Reader::new(&here)
        .place("/etc/waga", &etc)
        .place("/var/lib/waga", &var)
        .place("/run/vm.agent", agent.socket())
        .env("PATH", path);
    let mut ran = 0;
    for page in ["docs/publish-a-pack.md", "docs/trust-and-install-packs.md"] {
        for block in blocks(&root().join(page)) {
            match reader.follow(&block) {
                Done::Ran => ran += 1,
                Done::Wrote(_) | Done::Compared => {}
                // A configuration, which `docs` looks at, or lines to be revoked.
                Done::Nothing => assert!(["toml", ""].contains(&&*block.language), "{}", block.place),
            }
        }
        let public = fs::read_to_string(here.join("acme.pub")).unwrap();
        let id = public.lines().next().unwrap().split(' ').next_back().unwrap();
        reader = reader.place(ID, id);
    }
    assert!(ran >= 20, "{ran}");
}
