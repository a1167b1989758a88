//! Opening within places while somebody swaps and moves what the path leads through.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{RenameFlags, renameat_with};

use super::*;

/// Opens in all ways, thousands of times, while somebody swaps what the path leads through.
fn race(site: &Site, swap: &(dyn Fn() + Sync), path: &str, inside: &[&str]) -> usize {
    let over = AtomicBool::new(false);
    let mut opened = 0;
    std::thread::scope(|scope| {
        // However this ends, a failed assertion included.
        let _end = End(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                swap();
            }
        });
        for round in 0..4000 {
            let word = ["r", "w", "a", "r+", "w+"][round % 5];
            match site.open(path, word) {
                Ok(mut file) => {
                    opened += 1;
                    if word.starts_with('r') {
                        let mut text = String::new();
                        file.read_to_string(&mut text).unwrap();
                        assert!(inside.contains(&text.as_str()), "{text}");
                    }
                }
                Err(text) => {
                    let known = [REFUSED, MISSING, "Resource temporarily unavailable"];
                    assert!(known.contains(&text.as_str()), "{text}");
                }
            }
        }
    });
    site.assert_secrets_whole();
    opened
}

/// Tells the other thread that it is over.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn exchange(one: &str, other: &str) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn nobody_gets_out_by_swapping_folders_for_links() {
    let site = Site::new();
    site.link("../outside", "place/trap");
    let (folder, trap) = (site.path("place/sub"), site.path("place/trap"));
    let opened = race(&site, &|| exchange(&folder, &trap), "place/sub/deep", &["deep", ""]);
    assert!(opened > 0);
}

#[test]
fn nobody_gets_out_by_swapping_files_for_links_or_moving_folders_up() {
    let mut site = Site::new();
    site.link("../secret", "place/trap");
    let (file, trap) = (site.path("place/file"), site.path("place/trap"));
    race(&site, &|| exchange(&file, &trap), "place/file", &["file", ""]);
    // The place itself.
    site.link("outside", "trap");
    fs::write(site.root.join("place/deep"), "deep").unwrap();
    let (folder, trap) = (site.path("place"), site.path("trap"));
    race(&site, &|| exchange(&folder, &trap), "place/deep", &["deep", ""]);
    // `..` while the folder is moved out of the place and back.
    site = Site::new();
    fs::create_dir(site.root.join("place/sub/a")).unwrap();
    let (inside, outside) = (site.path("place/sub/a"), site.path("outside/a"));
    let swap = || {
        fs::rename(&inside, &outside).unwrap();
        fs::rename(&outside, &inside).unwrap();
    };
    race(&site, &swap, "place/sub/a/../deep", &["deep", ""]);
}

#[test]
fn layers_agree_on_one_file_while_it_is_swapped() {
    let mut site = Site::new();
    fs::write(site.root.join("place/sub/open"), "open").unwrap();
    fs::write(site.root.join("place/file"), SECRET).unwrap();
    // Only the second layer keeps from `place/file`.
    site.link("../file", "place/sub/trap");
    site.layer(&["place/sub"], &["place/sub"]);
    let (file, trap) = (site.path("place/sub/open"), site.path("place/sub/trap"));
    race(&site, &|| exchange(&file, &trap), "place/sub/open", &["open", ""]);
    assert_eq!(fs::read_to_string(site.root.join("place/file")).unwrap(), SECRET);
}
