//! Which interface a component asks for or provides, and in which version.

/// Whether `name` (`waga:extension/log@1.0.0`) is this interface (`waga:extension/log`) in a version that goes with `major`.
pub(crate) fn is_interface(name: &str, interface: &str, major: &str) -> bool {
    match name.split_once('@') {
        Some((path, version)) => path == interface && version.split('.').next() == Some(major),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_versions() {
        assert!(is_interface("waga:extension/log@1.2.0", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/log@2.0.0", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/log", "waga:extension/log", "1"));
        assert!(!is_interface("waga:extension/logs@1.0.0", "waga:extension/log", "1"));
    }
}
