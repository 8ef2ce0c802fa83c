//! The words for a call that came to nothing as a whole: `application/problem+json`, as from every port of a node.

use serde::{Deserialize, Serialize};

use super::Addressee;

/// Why a call came to nothing. `outcome` says whether something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}")]
pub struct Trouble {
    /// `urn:thalweg:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Stable; programs go by it.
    pub code: String,
    /// For people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong with this call, and what to do.
    pub detail: String,
    /// Whether something may have happened.
    pub outcome: Fate,
    /// Who answers, where another one was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Box<Addressee>>,
}

/// What became of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing happened.
    Refused,
    /// It may have happened.
    Unknown,
}

impl Trouble {
    /// A refusal: nothing happened.
    #[must_use]
    pub fn refused(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:thalweg:problem:{code}"),
            code: code.to_owned(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            outcome: Fate::Refused,
            found: None,
        }
    }

    /// The same when something may have happened.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.outcome = Fate::Unknown;
        self
    }

    /// Says who was found instead of whom was meant.
    #[must_use]
    pub fn found(mut self, found: Addressee) -> Self {
        self.found = Some(Box::new(found));
        self
    }
}
