//! The form of the one table that everything about a setting is read off, and the macro that it is written with.

use super::Config;

/// Where a setting's value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The file of this name.
    File(String),
    /// The variable of this name.
    Environment(String),
    /// A flag.
    Flag,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One row of [`super::SETTINGS`].
#[derive(Debug)]
pub struct Setting {
    /// The field of [`Config`].
    pub field: &'static str,
    /// The heading that it stands under.
    pub group: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// What the value counts, or its forms.
    pub unit: &'static str,
    pub(super) bound: fn() -> Option<(String, String)>,
    pub(super) get: fn(&Config) -> String,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// The key in a file, and the flag without its dashes.
    #[must_use]
    pub fn key(&self) -> String {
        self.field.replace('_', "-")
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::layers::PREFIX, self.field.to_ascii_uppercase())
    }

    /// The value that holds if nobody says anything.
    #[must_use]
    pub fn default(&self) -> String {
        (self.get)(&Config::default())
    }

    /// Smallest and largest value, as one text.
    #[must_use]
    pub fn bound(&self) -> String {
        (self.bound)().map_or_else(|| "-".to_owned(), |(low, high)| format!("{low} to {high}"))
    }
}

/// Declares [`Config`] and [`super::SETTINGS`] from one list of rows:
/// `/// doc`, `field: Kind = default, within low..=high, because "reason";` (the bound may be left out).
macro_rules! settings {
    ($( $group:literal { $(
        $(#[doc = $doc:literal])+
        $field:ident: $kind:ty = $default:expr, $(within $bound:expr,)? because $reason:literal;
    )+ } )+) => {
        /// Every setting of a node, within its bounds.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $($( $(#[doc = $doc])+ pub $field: $kind, )+)+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $($( $field: $default, )+)+ }
            }
        }

        /// All settings, in the order in which they are shown.
        pub static SETTINGS: &[Setting] = &[$($( Setting {
            field: stringify!($field),
            group: $group,
            doc: concat!($($doc),+),
            reason: $reason,
            unit: <$kind as Value>::UNIT,
            bound: || {
                let bound: Option<RangeInclusive<$kind>> = None $(.or(Some($bound)))?;
                bound.map(|bound| (bound.start().render(), bound.end().render()))
            },
            get: |config| config.$field.render(),
            set: |config, text| {
                config.$field = <$kind as Value>::parse(text)? $(.held_to(&$bound)?)?;
                Ok(())
            },
        }, )+)+];
    };
}

pub(super) use settings;
