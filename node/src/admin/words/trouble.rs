//! The words for a call that came to nothing as a whole: `application/problem+json`, as from every port of a node.

use serde::{Deserialize, Serialize};

use super::Addressee;

/// Why a call came to nothing. Nothing happened unless `outcome` says `unknown`.
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
    /// `refused` or `unknown`.
    pub outcome: String,
    /// Who answers, where another one was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Addressee>,
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
            outcome: "refused".to_owned(),
            found: None,
        }
    }

    /// The same when something may have happened.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        "unknown".clone_into(&mut self.outcome);
        self
    }

    /// Says who was found instead of whom was meant.
    #[must_use]
    pub fn found(mut self, found: Addressee) -> Self {
        self.found = Some(found);
        self
    }
}
