//! From texts to a configuration: defaults, then the file, then the environment, then flags; later ones win.
//!
//! Pure but for [`Layers::read_file`]: the same texts give the same configuration or the same error.

use super::declare::{Setting, Source};
use super::nearest::nearest;
use super::{Config, ConfigError, SETTINGS, relations};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "THALWEG_";

/// Begins like a setting and is none: the file's name.
const NOT_A_SETTING: &str = "THALWEG_CONFIG";

/// How many characters of a text that was given an error repeats.
const LINE_SHOWN_CHARS: usize = 80;

/// A configuration and where each of its values came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The configuration.
    pub config: Config,
    /// One per row of [`SETTINGS`].
    pub sources: Vec<Source>,
}

/// Collects layers; each call lies over the ones before it.
#[derive(Debug)]
pub struct Layers(Effective);

impl Default for Layers {
    fn default() -> Self {
        let sources = vec![Source::Default; SETTINGS.len()];
        Self(Effective { config: Config::default(), sources })
    }
}

impl Layers {
    /// Lays the file of this name over what is there.
    pub fn read_file(self, path: &str) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), why: error.to_string() })?;
        self.file(path, &text)
    }

    /// Lays a file's text over what is there.
    pub fn file(mut self, place: &str, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            place: place.to_owned(),
            why: syntax_fault(text, &error),
        })?;
        for (key, value) in table {
            let (row, _) = SETTINGS
                .iter()
                .enumerate()
                .find(|(_, setting)| setting.key() == key)
                .ok_or_else(|| unknown(place, &key, Setting::key))?;
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(true) => "on".to_owned(),
                toml::Value::Boolean(false) => "off".to_owned(),
                other => {
                    let why = "must be one plain value in quotes".to_owned();
                    return Err(refused(place, &key, &other.to_string(), why));
                }
            };
            self.set(row, &key, &text, place, Source::File(place.to_owned()))?;
        }
        Ok(self)
    }

    /// Lays the variables that begin with `THALWEG_` over what is there; others are not looked at.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        const PLACE: &str = "environment";
        for (name, text) in variables {
            if !name.starts_with(PREFIX) || name == NOT_A_SETTING || is_service_link(&name, &text) {
                continue;
            }
            let (row, _) = SETTINGS
                .iter()
                .enumerate()
                .find(|(_, setting)| setting.variable() == name)
                .ok_or_else(|| unknown(PLACE, &name, Setting::variable))?;
            self.set(row, &name, &text, PLACE, Source::Environment(name.clone()))?;
        }
        Ok(self)
    }

    /// Lays one flag over what is there; `row` is its place in [`SETTINGS`].
    pub(super) fn flag(mut self, row: usize, text: &str) -> Result<Self, ConfigError> {
        let name = SETTINGS.get(row).map(|setting| format!("--{}", setting.key())).unwrap_or_default();
        self.set(row, &name, text, "command line", Source::Flag)?;
        Ok(self)
    }

    /// Checks how the values go together.
    pub fn finish(self) -> Result<Effective, ConfigError> {
        relations::check(&self.0.config)?;
        Ok(self.0)
    }

    fn set(
        &mut self,
        row: usize,
        name: &str,
        text: &str,
        place: &str,
        source: Source,
    ) -> Result<(), ConfigError> {
        if let (Some(setting), Some(slot)) = (SETTINGS.get(row), self.0.sources.get_mut(row)) {
            (setting.set)(&mut self.0.config, text).map_err(|why| refused(place, name, text, why))?;
            *slot = source;
        }
        Ok(())
    }
}

impl Config {
    /// The configuration that a file's text alone gives.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Ok(Layers::default().file("file", text)?.finish()?.config)
    }
}

/// Kubernetes puts the addresses of every service into the environment of each pod; a service called `thalweg` gives
/// `THALWEG_SERVICE_HOST`, `THALWEG_PORT` and `THALWEG_PORT_4437_TCP_ADDR`, which nobody meant as settings.
/// So do services called `thalweg-…`; of theirs, only what looks like Kubernetes' own is let pass, lest a misspelt setting is.
fn is_service_link(name: &str, text: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let numbered = |(_, rest): (&str, &str)| rest.starts_with(|first: char| first.is_ascii_digit());
    rest == "PORT"
        || rest.starts_with("PORT_")
        || rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.split_once("_PORT_").is_some_and(numbered)
        || (rest.ends_with("_PORT") && text.contains("://"))
}

fn unknown(place: &str, name: &str, spelling: fn(&Setting) -> String) -> ConfigError {
    // What all variables begin with says nothing about which one was meant.
    let prefix = if name.starts_with(PREFIX) { PREFIX } else { "" };
    let bare = |spelled: String| spelled.strip_prefix(prefix).map(str::to_owned).unwrap_or(spelled);
    let nearest = nearest(&bare(name.to_owned()), SETTINGS.iter().map(|setting| bare(spelling(setting))));
    let nearest = nearest.map(|nearest| format!("{prefix}{nearest}"));
    ConfigError::Unknown { place: place.to_owned(), name: shortened(name), nearest }
}

fn refused(place: &str, name: &str, text: &str, why: String) -> ConfigError {
    ConfigError::Value { place: place.to_owned(), name: name.to_owned(), text: shortened(text), why }
}

/// Where the fault is, what it is, and as much of its line as helps to find it.
fn syntax_fault(text: &str, error: &toml::de::Error) -> String {
    let why = shortened(error.message());
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before else { return why };
    let (number, column) =
        (before.split('\n').count(), before.rsplit('\n').next().map_or(0, |s| s.chars().count()));
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let seen: String =
        line.chars().skip(column.saturating_sub(LINE_SHOWN_CHARS / 2)).take(LINE_SHOWN_CHARS).collect();
    format!("line {number}, column {}: {why}, at {seen:?}", column + 1)
}

/// A hostile value may be megabytes long; a message need not be.
fn shortened(text: &str) -> String {
    text.chars().take(LINE_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
