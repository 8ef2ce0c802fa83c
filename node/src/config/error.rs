//! Why a configuration was refused; each text says what to do about it.

/// A configuration that is not taken. Nothing was started or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {why}")]
    Unreadable {
        /// As given.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The file is no TOML.
    #[error("{place} is not valid TOML: {why}")]
    Syntax {
        /// Which file.
        place: String,
        /// Where and why.
        why: String,
    },
    /// A key or variable that means nothing. Refused, because a misspelt setting would silently stay at its default.
    #[error("{place}: {name} is no setting{} (`node --help` lists them all)", hint(nearest.as_deref()))]
    Unknown {
        /// File or environment.
        place: String,
        /// As written.
        name: String,
        /// The one that was meant, as far as one can tell.
        nearest: Option<String>,
    },
    /// A value that the setting does not take.
    #[error("{place}: {name} {why}; it is {text:?}")]
    Value {
        /// Where it was said.
        place: String,
        /// Key, variable or flag.
        name: String,
        /// As written.
        text: String,
        /// What would be taken.
        why: String,
    },
    /// Two settings that do not go together.
    #[error("{0}")]
    Relation(String),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}
