//! What the operator says: how full is too full, and which filesystems do not count.

use serde::Deserialize;

/// `config` of the extension's table in `agent.toml`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Percent of the space or the inodes.
    pub warning: u8,
    pub critical: u8,
    /// Exceptions; the first that fits holds.
    mounts: Vec<Exception>,
    /// Names of types and mount points, in which `*` stands for any text.
    ignore_types: Vec<String>,
    ignore_mounts: Vec<String>,
    /// Whether `df` is asked for inodes, and the kernel for what is read-only.
    pub inodes: bool,
    pub read_only: bool,
    /// Where the programs are.
    pub df: String,
    pub cat: String,
}

/// Other shares, for some mount points.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    mount: String,
    warning: Option<u8>,
    critical: Option<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            warning: 80,
            critical: 90,
            mounts: Vec::new(),
            // What is made full, once and for all.
            ignore_types: ["squashfs", "iso9660", "erofs", "udf"].map(Into::into).into(),
            ignore_mounts: Vec::new(),
            inodes: true,
            read_only: true,
            df: "/usr/bin/df".into(),
            cat: "/usr/bin/cat".into(),
        }
    }
}

impl Settings {
    /// Reads the configuration, which is JSON; says what is wrong with it.
    pub fn read(config: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(config).map_err(|why| format!("config: {why}"))?;
        for (warning, critical) in
            settings.mounts.iter().map(|it| settings.with(Some(it))).chain([settings.with(None)])
        {
            if !(1..=critical).contains(&warning) || critical > 100 {
                return Err(format!(
                    "config: warning = {warning} and critical = {critical}: they are percentages, and the first is no larger"
                ));
            }
        }
        Ok(settings)
    }

    fn with(&self, exception: Option<&Exception>) -> (u8, u8) {
        let Some(exception) = exception else { return (self.warning, self.critical) };
        let critical = exception.critical.unwrap_or(self.critical);
        (exception.warning.unwrap_or(self.warning.min(critical)), critical)
    }

    /// From which shares on one at this mount point is too full.
    pub fn shares(&self, mountpoint: &str) -> (u8, u8) {
        self.with(self.mounts.iter().find(|it| matches(&it.mount, mountpoint)))
    }

    /// Whether it is left out.
    pub fn ignores(&self, mountpoint: &str, fs_type: &str) -> bool {
        self.ignore_types.iter().any(|pattern| matches(pattern, fs_type))
            || self.ignore_mounts.iter().any(|pattern| matches(pattern, mountpoint))
    }
}

/// Whether a name is one of a pattern's.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let mut ends = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
            ends.any(|end| matches(rest, end))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_exception_that_fits_holds() {
        let settings = Settings::read(
            r#"{"warning": 70, "mounts": [{"mount": "/var/lib/*", "warning": 95, "critical": 99}, {"mount": "/var/*", "critical": 60}]}"#,
        )
        .unwrap();
        for (mountpoint, shares) in [
            ("/", (70, 90)),
            ("/var/lib/db", (95, 99)),
            // A warning does not come after what is critical.
            ("/var/log", (60, 60)),
            ("/var", (70, 90)),
        ] {
            assert_eq!(settings.shares(mountpoint), shares, "{mountpoint}");
        }
        let settings = Settings::read(r#"{"ignore-mounts": ["/mnt/*"]}"#).unwrap();
        assert!(settings.ignores("/mnt/a", "ext4") && settings.ignores("/snap/x", "squashfs"));
        assert!(!settings.ignores("/mnt", "ext4"));
    }

    #[test]
    fn what_is_wrong_with_the_configuration_is_said() {
        for (config, expected) in [
            (r#"{"waning": 70}"#, "unknown field `waning`"),
            (r#"{"warning": 95}"#, "warning = 95 and critical = 90"),
            (r#"{"critical": 101}"#, "critical = 101"),
            (r#"{"warning": 0}"#, "warning = 0"),
            (r#"{"mounts": [{"mount": "/", "warning": 99}]}"#, "warning = 99"),
            (r#"{"mounts": [{"warning": 99}]}"#, "missing field `mount`"),
        ] {
            let said = Settings::read(config).err().unwrap();
            assert!(said.starts_with("config: ") && said.contains(expected), "{said}");
        }
    }
}
