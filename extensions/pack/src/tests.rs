//! Packs as they are written, and as nobody good would have written them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

const TOML: &str = r#"
name = "a"
version = "1.2.0"
publisher = "Acme"
licence = "MIT"
description = "Does something"
component = "a.wasm"
[[command]]
name = "guest-acme-a"
mode = "add"
[[permission]]
read = ["/proc/meminfo"]
reason = "What it tells."
[[permission]]
exec = [{ program = "/bin/a", args = ["x y", "*"], env = ["N=1"] }]
reason = "How it does it."
"#;

/// The beginning of a component, which is all that is looked at.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0rest";

fn files(more: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let all = [(MANIFEST, TOML.as_bytes()), ("a.wasm", COMPONENT), ("README.md", b"# a\n")];
    all.iter().chain(more).map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

fn pack() -> Pack {
    Pack::new(files(&[("wit/a.wit", b"package a:a;")])).unwrap()
}

/// What is wrong with a pack of these files.
fn fault(more: &[(&str, &[u8])]) -> String {
    Pack::new(files(more)).unwrap_err().to_string()
}

fn manifest_fault(from: &str, to: &str) -> String {
    assert!(TOML.contains(from), "{from}");
    fault(&[(MANIFEST, TOML.replace(from, to).as_bytes())])
}

#[test]
fn the_same_files_make_the_same_bytes_and_are_read_back() {
    let written = pack().to_archive();
    assert_eq!(written, pack().to_archive());
    let read = Pack::read(&written).unwrap();
    assert_eq!(read, pack());
    assert_eq!((read.file_name(), read.component()), ("a-1.2.0.waga".into(), Some(COMPONENT)));
    assert_eq!(read.digest(), sha256(read.sums().as_bytes()));
    // As sha256sum has it.
    let readme = format!("{}  README.md\n", sha256(b"# a\n"));
    assert!(read.sums().starts_with(&readme), "{}", read.sums());
    // A trillion zeros would fit: what is unpacked is bounded, not what is read.
    assert!(written.len() < 1500, "{}", written.len());
}

#[test]
fn a_signature_is_of_these_files_by_that_key() {
    let (public, secret) = key_pair(None, "test").unwrap();
    let key = waga::config::pack::Key::of_file(&public).unwrap();
    let (other, _) = key_pair(None, "test").unwrap();
    let other = waga::config::pack::Key::of_file(&other).unwrap();
    let secret = Secret::open(&secret, None).unwrap();
    assert_eq!(secret.public().unwrap(), key);
    let mut signed = pack();
    assert_eq!(signed.verify(&key).unwrap_err().to_string(), "it is not signed");
    signed.sign(&secret).unwrap();
    let archive = signed.to_archive();
    let read = Pack::read(&archive).unwrap();
    read.verify(&key).unwrap();
    assert_eq!(read.signed_by(), Some(key.id()));
    assert!(
        read.verify(&other)
            .unwrap_err()
            .to_string()
            .starts_with(&format!("it is signed by key {}", key.id()))
    );
    assert_eq!(read.digest(), pack().digest());
    // Signed again it is the same file, though each signature is another one.
    let mut again = read.clone();
    again.sign(&secret).unwrap();
    assert_eq!(again.to_archive(), archive);
    let mut anew = pack();
    anew.sign(&secret).unwrap();
    assert!(anew.verify(&key).is_ok() && anew != read);
    // That signature says nothing of other files.
    let mut changed = Pack::new(files(&[("README.md", b"# b\n")])).unwrap();
    changed.attach(signed.signature().unwrap().as_bytes()).unwrap();
    assert!(changed.verify(&key).unwrap_err().to_string().contains("is wrong"));
    assert!(changed.attach(b"x").is_err() && changed.attach(&[0xff; 9]).is_err());
}

#[test]
fn a_manifest_is_understood_whole_or_refused() {
    let (manifest, table) = (pack().manifest().clone(), pack().manifest().table());
    let asks: Vec<_> = manifest.permissions.iter().flat_map(Permission::asks).collect();
    let shown: Vec<_> = asks.iter().map(|ask| format!("{} {}", ask.key, ask.what)).collect();
    assert_eq!(shown, ["read /proc/meminfo", "exec N=1 /bin/a 'x y' *"]);
    assert_eq!(
        toml::to_string(&table).unwrap(),
        "pack = \"a\"\nversion = \"1.2.0\"\nadd = [\"guest-acme-a\"]\nread = [\"/proc/meminfo\"]\n\n[[exec]]\nprogram = \"/bin/a\"\nargs = [\"x y\", \"*\"]\nenv = [\"N=1\"]\n"
    );
    assert!(manifest.runs_on("0.1.0"));
    let wants = Manifest { agent: Some(">=0.2, <1".into()), ..manifest };
    assert_eq!(["0.1.9", "0.2.0", "1.0.0"].map(|agent| wants.runs_on(agent)), [false, true, false]);
    for (from, to, expected) in [
        ("\"a\"", "\"../a\"", "name '../a' is none for a pack"),
        ("1.2.0", "1.2", "version '1.2' is none"),
        ("1.2.0", "01.2.0", "version '01.2.0' is none"),
        ("\"MIT\"", "\" \"", "licence says nothing"),
        ("Does something", "Does\\u001b[2J", "description has a character that cannot be shown: \\u{1b}"),
        ("Does something", "Does\\u202e", "description has a character that cannot be shown: \\u{202e}"),
        ("Does something", &"x".repeat(201), "description has more than 200 characters"),
        ("What it tells.", &"x".repeat(201), "reason has more than 200 characters"),
        ("/proc/meminfo", &format!("/{}", "x".repeat(200)), "a permission has more than 200 characters"),
        ("/proc/meminfo", "/\\u001b[2J", "a permission has a character that cannot be shown: \\u{1b}"),
        ("licence =", "license =", "pack.toml:5: unknown field `license`"),
        ("component = \"a.wasm\"", "", "needs the key 'component'"),
        ("component =", "scripts = 's'\ncomponent =", "has both 'component' and 'scripts'"),
        ("component = \"a.wasm\"", "scripts = 's'", "there is no script in 's'"),
        ("a.wasm", "b.wasm", "there is no 'b.wasm', the component"),
        ("a.wasm", "README.md", "'README.md' is no WebAssembly component"),
        ("guest-acme-a", "guest-ping", "'guest-ping' is no command"),
        ("guest-acme-a", "guest-fsfreeze-thaw", "'guest-fsfreeze-thaw' is no command"),
        ("\"add\"", "\"replace\"", "unknown variant `replace`"),
        ("read = [\"/proc/meminfo\"]", "", "a permission asks for nothing: What it tells."),
        ("read =", "write = ['/x']\nread =", "a permission asks for several things"),
        ("[\"/proc/meminfo\"]", "['/a', '/a']", "two permissions ask for the same thing"),
        ("reason = \"What it tells.\"", "", "missing field `reason`"),
        ("licence =", "config-schema = 'x.json'\nlicence =", "there is no 'x.json', the schema"),
        ("licence =", "agent = 'new'\nlicence =", "agent 'new': "),
    ] {
        let found = manifest_fault(from, to);
        assert!(found.contains(expected), "{found}: {expected}");
    }
    assert_eq!(fault(&[(MANIFEST, b"\xff")]), "pack.toml: is not UTF-8");
    // What of it is somebody else's word does nothing to a terminal.
    let fault = manifest_fault("licence =", "\"\\u001b[2J\\u202e\" = 1\nlicence =");
    assert!(fault.contains("\\u{1b}[2J\\u{202e}") && !fault.contains('\u{1b}'), "{fault}");
    let long = format!("{TOML}[config]\nx = [{}]\n", "1,".repeat(40_000));
    assert!(Manifest::parse(&long).unwrap_err().to_string().contains("more than 65536 bytes"));
    let commands: String =
        (0..256).map(|n| format!("[[command]]\nname='guest-a-{n}'\nmode='add'\n")).collect();
    let permissions: String =
        (0..255).map(|n| format!("[[permission]]\nread=['/{n}']\nreason='r'\n")).collect();
    for many in [commands, permissions] {
        let fault = Manifest::parse(&format!("{TOML}{many}")).unwrap_err().to_string();
        assert!(fault.contains("has more than 256 commands or permissions"), "{fault}");
    }
    let mut without = files(&[]);
    without.remove("README.md");
    assert!(Pack::new(without).unwrap_err().to_string().starts_with("there is no README.md"));
}

#[test]
fn files_that_could_be_something_else_on_a_disk_are_refused() {
    for (path, expected) in [
        ("../x", "'../x' cannot be a file of a pack: '..' leads out of it"),
        ("a/../../x", "'..' leads out of it"),
        ("/etc/passwd", "its path is absolute"),
        ("a//b", "a name in its path is empty"),
        ("./a", "a name in its path is empty, or '.'"),
        ("a/", "a name in its path is empty"),
        ("a\\b", "names have letters and digits"),
        ("a\u{0}b", "names have letters and digits"),
        ("caf\u{e9}", "names have letters and digits"),
        (".hidden", "begins with '.' or '-'"),
        ("-rf", "begins with '.' or '-'"),
        ("readme.md", "'readme.md' and 'README.md' would lie in the same place"),
        ("A.wasm/x", "would lie in the same place"),
        ("a.wasm/x", "would lie in the same place"),
        ("receipt.json", "that name is taken by the pack itself"),
        ("sha256sums", "that name is taken by the pack itself"),
    ] {
        let found = fault(&[(path, b"x")]);
        assert!(found.contains(expected), "{found}: {expected}");
    }
    let long = "a".repeat(101);
    assert!(fault(&[(&long, b"x")]).contains("more than 100 characters"));
    assert!(Pack::new(files(&[(&long[1..], b"x")])).is_ok());
    assert!(fault(&[("a.cwasm", b"\x7fELF\x02rest")]).contains("nothing compiled is taken from a pack"));
}

/// One member, with whatever is done to its header.
fn member(name: &str, bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    change(&mut header);
    header.set_cksum();
    let mut member = [header.as_bytes(), bytes].concat();
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// A tar of these members and its end.
fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// The members of a good one.
fn good() -> Vec<Vec<u8>> {
    let pack = pack();
    let sums = pack.sums();
    let names = [MANIFEST, "README.md", "a.wasm", "wit/a.wit"];
    let first = [(SUMS, sums.as_bytes())].into_iter();
    let all = first.chain(names.map(|name| (name, pack.files()[name].as_slice())));
    all.map(|(name, bytes)| member(name, bytes, |_| ())).collect()
}

#[test]
fn a_tar_that_waga_ext_would_not_write_is_refused() {
    assert_eq!(Pack::of_tar(&tar(&good())).unwrap(), pack());
    let with = |more: Vec<u8>| tar(&[good(), vec![more]].concat());
    let linked = |kind| with(member("z", b"", |header| header.set_entry_type(kind)));
    let mut swapped = good();
    swapped.swap(3, 4);
    let mut unsigned = good();
    unsigned.remove(0);
    let mut missing = good();
    missing.remove(4);
    let mut other = good();
    other[3] = member("a.wasm", b"\0asm\x0d\0\x01\0other", |_| ());
    let mut hidden = with(member("z", b"x", |_| ()));
    let end = hidden.len();
    hidden[end - 1025] = 1;
    let numbered: Vec<_> = (0..1025).map(|n| member(&format!("z{n}"), b"", |_| ())).collect();
    for (tar, expected) in [
        (linked(EntryType::Symlink), "member 'z' is a link: a pack has regular files only"),
        (linked(EntryType::Link), "is a link"),
        (linked(EntryType::Char), "is a device"),
        (linked(EntryType::Block), "is a device"),
        (linked(EntryType::Fifo), "is a FIFO"),
        (linked(EntryType::Directory), "is a folder by itself"),
        (linked(EntryType::XHeader), "is nothing that a pack has"),
        (linked(EntryType::GNULongName), "is nothing that a pack has"),
        (with(member("z", b"x", |_| ())), "'z' is not in SHA256SUMS: nobody signed it"),
        (with(member("../z", b"x", |_| ())), "'..' leads out of it"),
        (with(member("a.wasm", COMPONENT, |_| ())), "member 'a.wasm' stands twice"),
        (
            with(member("z", b"x", |header| header.set_mode(0o4755))),
            "has a header that waga-ext does not write",
        ),
        (with(member("z", b"x", |header| header.set_uid(1))), "has a header"),
        (with(member("z", b"x", |header| header.set_mtime(1))), "has a header"),
        (with(member("z", b"x", |header| header.set_size(u64::MAX))), "its tar is cut off"),
        (
            with(member("z", b"x", |header| header.as_old_mut().size = [b'x'; 12])),
            "has no size that makes sense",
        ),
        (hidden, "something is hidden behind member 'z'"),
        (tar(&swapped), "do not stand in the order of their names"),
        (tar(&unsigned), "the first member is not SHA256SUMS"),
        (tar(&missing), "'wit/a.wit' is in SHA256SUMS and not in the pack"),
        (tar(&other), "'a.wasm' is not the one that SHA256SUMS tells of"),
        ([tar(&good()), vec![0; 512]].concat(), "something follows them"),
        (good().concat(), "its tar is cut off"),
        (Vec::new(), "its tar is cut off"),
        (vec![0; 1024], "the first member is not SHA256SUMS"),
        (tar(&numbered), "has more than 1024 members"),
    ] {
        let found = Pack::of_tar(&tar).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}: {expected}");
    }
}

#[test]
fn what_is_unpacked_is_bounded_and_the_file_is_all_there_is() {
    let bomb = archive::compress(&vec![0; usize::try_from(UNPACKED).unwrap() + 1]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(Pack::read(&bomb).unwrap_err().to_string(), "is unpacked to more than 64 MiB");
    // Of a frame with nothing in it, by how far its decoder would have to look back: 8 MiB, and 16.
    let looking_back = |window: u8| Pack::read(&[0x28, 0xb5, 0x2f, 0xfd, 0, window, 1, 0, 0]).unwrap_err();
    assert_eq!(looking_back(0x68).to_string(), "its tar is cut off");
    assert!(looking_back(0x70).to_string().ends_with("zstd does not unpack it"));
    let good = pack().to_archive();
    let longer = [good.clone(), vec![0]].concat();
    assert_eq!(Pack::read(&longer).unwrap_err().to_string(), "something follows its end");
    // Another frame, which other programs would go on with.
    assert!(Pack::read(&[good.clone(), good.clone()].concat()).is_err());
    assert!(Pack::read(b"").is_err() && Pack::read(b"PK").is_err());
    for cut in 0..good.len() {
        assert!(Pack::read(&good[..cut]).is_err(), "{cut}");
    }
}

proptest! {
    /// Whatever is changed of a file, it is another pack or none: never one that passes for it.
    #[test]
    fn no_change_goes_unseen(place in 0.0f64..1.0, bit in 0u8..8) {
        let (public, secret) = KEYS.get_or_init(|| key_pair(None, "test").unwrap());
        let key = waga::config::pack::Key::of_file(public).unwrap();
        let mut signed = pack();
        signed.sign(&Secret::open(secret, None).unwrap()).unwrap();
        let good = archive::pack(&signed);
        let mut tar = good.clone();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "it is within")]
        let place = (place * tar.len() as f64) as usize;
        tar[place] ^= 1 << bit;
        if let Ok(read) = Pack::of_tar(&tar) {
            // Of the signature's first line nobody is sure, as with minisign.
            prop_assert_eq!(read.files(), signed.files());
            prop_assert_eq!(archive::pack(&read), tar);
            let _ = read.verify(&key);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        oracle::pack(&bytes);
    }

    /// Of names as somebody would choose them who wants out.
    #[test]
    fn any_names_stay_within_their_folder(
        names in prop::collection::vec("(\\.\\./|/|[a-cA-C]/|\\./|[a-c.]{1,3}|README\\.md|\u{0}| ){1,4}", 1..4)
    ) {
        let parts: Vec<_> = names.iter().map(|name| format!("{name}\u{1}x")).collect();
        let input: Vec<u8> = parts.join("\u{1}").bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
        oracle::pack(&[&[3], &*input].concat());
    }

    /// Of manifests that are right but for a piece.
    #[test]
    fn any_manifest_is_understood_or_refused(place in 0..TOML.len(), with in "\\PC{0,8}") {
        let text = format!("{}{with}{}", &TOML[..place], &TOML[place..]);
        oracle::pack(&[b"\x02", text.as_bytes()].concat());
    }
}

static KEYS: std::sync::OnceLock<(String, String)> = std::sync::OnceLock::new();
