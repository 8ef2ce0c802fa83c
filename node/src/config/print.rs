//! The configuration as people read it: `--print-config`, and the page `docs/configuration.md`.

use std::fmt::Write;

use super::SETTINGS;
use super::layers::Effective;

impl Effective {
    /// A TOML file that gives the same configuration, each value with its unit, bound, reason and source.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut page = format!(
            "# Thalweg {}: the effective configuration. Later wins: default < file < environment < flag.\n",
            env!("CARGO_PKG_VERSION")
        );
        let mut group = "";
        for (setting, source) in SETTINGS.iter().zip(&self.sources) {
            if setting.group != group {
                group = setting.group;
                let _ = write!(page, "\n# ---- {group} ----\n");
            }
            let value = toml::Value::String((setting.get)(&self.config));
            let _ = write!(
                page,
                "\n#{}\n# unit: {} · bound: {} · default: {} · from: {source}\n# why: {}\n{} = {value}\n",
                setting.doc,
                setting.unit,
                setting.bound(),
                setting.default(),
                setting.reason,
                setting.key(),
            );
        }
        page
    }
}

/// Who holds memory, and how much of it at most. Each bound is a setting above, or stands where its reason does.
const MEMORY: &str = include_str!("memory.md");
/// What `relations.rs` refuses.
const RELATIONS: &str = include_str!("relations.md");

/// The page `docs/configuration.md`. A test holds the file to it.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from `node/src/config/settings.rs`; `make docs` writes it anew, a test fails when it is old.\n\n\
         A setting is taken from its default, then the file (`--config FILE` or `THALWEG_CONFIG`), then the\n\
         environment, then flags; later ones win. Unknown keys, variables and flags are refused;\n\
         only the addresses that Kubernetes adds for a Service named `thalweg` (`THALWEG_PORT`, `THALWEG_PORT_…`,\n\
         `THALWEG_SERVICE_HOST`, `THALWEG_SERVICE_PORT…`) or `thalweg-…` are ignored.\n\
         Flag `--long-poll-timeout`, variable `THALWEG_LONG_POLL_TIMEOUT` and key `long-poll-timeout` are the same setting.\n\
         Times are written `250ms`, `2s`, `5m`, `12h`, `7d`; sizes `64MiB`, `1GiB` or plain bytes.\n\
         `node --print-config` prints the values in force, where each came from, and why the default is what it is.\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(
                page,
                "\n## {group}\n\n| setting | default | bound | unit | what it does, and why the default |\n|---|---|---|---|---|\n"
            );
        }
        let row = [
            format!("`{}`", setting.key()),
            format!("`{}`", setting.default()),
            setting.bound(),
            setting.unit.replace('|', "\\|"),
            format!("{} *{}.*", setting.doc.trim(), setting.reason),
        ];
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
    page.push_str(MEMORY);
    page.push_str(RELATIONS);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    #[test]
    fn the_printed_configuration_is_a_file_that_gives_the_same_one() {
        let layers =
            Layers::default().file("f", "data = 'a \"b\\c'\nfsync = 'interval=7ms'\nlanes = 2").unwrap();
        let effective = layers.finish().unwrap();
        assert_eq!(Config::from_toml(&effective.toml()).unwrap(), effective.config);
        assert!(effective.toml().contains("from: file f\n"));
    }

    #[test]
    fn the_documentation_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == markdown(), "docs/configuration.md is old: run `make docs` and commit the page");
    }
}
