//! What programs tell of mounted filesystems: `df` of their inodes, the kernel's table of mounts of what is read-only.

/// Inodes of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    pub total: u64,
    pub used: u64,
    pub free: u64,
}

/// What `df -P -i` tells of the filesystem at a mount point, or else of that on a device. `None` if it has no such line, or a filesystem
/// without a bound on inodes.
///
/// A line is the device, four figures, the mount point; device and mount point may have blanks. Of several at one mount point the last one is
/// what is seen there.
pub fn inodes(text: &str, mountpoint: &str, device: &str) -> Option<Inodes> {
    let lines: Vec<_> = text.lines().skip(1).filter_map(line).collect();
    let at_place = lines.iter().rev().find(|line| line.mountpoint == mountpoint);
    let figures = at_place.or_else(|| lines.iter().find(|line| line.device == device))?.figures;
    match figures {
        [Some(total), Some(used), Some(free)] if total > 0 => Some(Inodes { total, used, free }),
        _ => None,
    }
}

/// A line of `df`.
struct Line<'a> {
    device: &'a str,
    /// All, used, free.
    figures: [Option<u64>; 3],
    mountpoint: &'a str,
}

fn line(text: &str) -> Option<Line<'_>> {
    let words = words(text);
    // Where the figures begin.
    let at = (1..words.len().checked_sub(4)?).find(|&at| {
        let is_figure = |word: &str| word == "-" || word.bytes().all(|byte| byte.is_ascii_digit());
        let percent = words[at + 3].1;
        words[at..at + 3].iter().all(|(_, word)| is_figure(word))
            && (percent == "-" || percent.ends_with('%'))
    })?;
    Some(Line {
        device: text[..words[at].0].trim(),
        figures: [0, 1, 2].map(|nth| words[at + nth].1.parse().ok()),
        mountpoint: &text[words[at + 4].0..],
    })
}

/// The words of a line, each with where it begins.
fn words(line: &str) -> Vec<(usize, &str)> {
    let at = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    line.split_ascii_whitespace().map(|word| (at(word), word)).collect()
}

/// Whether what is mounted at a place is read-only, from the kernel's table of mounts; `None` if nothing is mounted there.
pub fn is_read_only(table: &str, mountpoint: &str) -> Option<bool> {
    let (_, options) = mount(table, mountpoint)?;
    Some(options.split(',').any(|option| option == "ro"))
}

/// What is mounted at a place, from the same.
pub fn device(table: &str, mountpoint: &str) -> Option<String> {
    mount(table, mountpoint).map(|(device, _)| unescaped(device))
}

/// Device and options of what is mounted at a place: the last one is what is seen there.
fn mount<'a>(table: &'a str, mountpoint: &str) -> Option<(&'a str, &'a str)> {
    let mut at_place = table.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, options) = (words.next()?, words.next()?, words.nth(1)?);
        (unescaped(place) == mountpoint).then_some((device, options))
    });
    at_place.next_back()
}

/// The kernel writes blanks, tabs, line feeds and backslashes as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                whole.push(char::from(byte));
                whole.push_str(&part[3..]);
            }
            None => {
                whole.push('\\');
                whole.push_str(part);
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const DF: &str = "Filesystem                Inodes  IUsed    IFree IUse% Mounted on
devtmpfs                 3083608    114  3083494    1% /dev
/dev/vda                16777216 518752 16258464    4% /
/dev/vdb1                      0      0        0     - /srv/btrfs
a b 7                        100     90       10   90% /mnt/my disk
/dev/vdc                     200      2      198    1% /mnt/1 2 3 4%
-                              -      -        -     - /over
/dev/vdd                      10      4        6   40% /over
";

    #[test]
    fn inodes_are_told_by_mount_point() {
        let some = |total, used, free| Some(Inodes { total, used, free });
        for (mountpoint, expected) in [
            ("/", some(16_777_216, 518_752, 16_258_464)),
            ("/mnt/my disk", some(100, 90, 10)),
            ("/mnt/1 2 3 4%", some(200, 2, 198)),
            ("/over", some(10, 4, 6)),
            ("/srv/btrfs", None),
            ("/mnt/my", None),
            ("disk", None),
            ("on", None),
        ] {
            assert_eq!(inodes(DF, mountpoint, "none"), expected, "{mountpoint}");
        }
        assert_eq!(inodes(DF, "/elsewhere", "/dev/vdc"), some(200, 2, 198));
        assert_eq!(inodes(DF, "/", "/dev/vdc"), some(16_777_216, 518_752, 16_258_464));
        assert_eq!(inodes(DF, "/elsewhere", "a b 7"), some(100, 90, 10));
        assert_eq!(inodes("", "/", "/dev/vda"), None);
        assert_eq!(inodes("df: unrecognized option\nUsage: df -i", "-i", "Usage:"), None);
    }

    #[test]
    fn the_last_mount_of_a_place_is_what_is_seen_there() {
        let table = "/dev/vda / ext4 rw,relatime,errors=remount-ro 0 0
/dev/vdb /srv ext4 rw 0 0
/dev/vdc /srv xfs ro,noatime 0 0
/dev/vdd /mnt/my\\040disk\\134x ext4 rw,nosuid 0 0
";
        for (mountpoint, expected) in
            [("/", Some(false)), ("/srv", Some(true)), ("/mnt/my disk\\x", Some(false)), ("/none", None)]
        {
            assert_eq!(is_read_only(table, mountpoint), expected, "{mountpoint}");
        }
        assert_eq!(device(table, "/srv").as_deref(), Some("/dev/vdc"));
        assert_eq!(unescaped("\\0\\8zz\\"), "\\0\\8zz\\");
    }
}
