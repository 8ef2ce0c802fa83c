//! Errors as clients see them: `application/problem+json` with a stable code, and whether the request was refused or
//! may have happened.

use bytes::Bytes;

use super::ResponseHead;

/// What became of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did not happen.
    Refused,
    /// It may have happened.
    Unknown,
}

/// One kind of error. `code` is stable: clients match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable, snake_case.
    pub code: &'static str,
    /// For people.
    pub title: &'static str,
    /// Whether it can have happened.
    pub outcome: Outcome,
    /// Seconds after which trying again makes sense.
    pub retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A refusal that the client has to change something about.
    #[must_use]
    pub const fn refused(status: u16, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title, outcome: Outcome::Refused, retry_after_seconds: None }
    }

    /// The same, but trying again makes sense.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The same, but it may have happened.
    #[must_use]
    pub const fn unknown(mut self) -> Self {
        self.outcome = Outcome::Unknown;
        self
    }

    /// Writes status and headers, and returns the body. Further headers may follow.
    pub fn write(&self, out: &mut ResponseHead, detail: &str) -> Bytes {
        self.write_with(out, detail, serde_json::Value::Null)
    }

    /// The same with further members in the body, those of a JSON object.
    pub fn write_with(&self, out: &mut ResponseHead, detail: &str, members: serde_json::Value) -> Bytes {
        out.begin(self.status);
        out.refuse_with(self.code);
        out.header("Content-Type", b"application/problem+json");
        out.header("Cache-Control", b"no-store");
        if let Some(seconds) = self.retry_after_seconds {
            out.number("Retry-After", u64::from(seconds));
        }
        let outcome = match self.outcome {
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        };
        let mut body = serde_json::json!({
            "type": format!("urn:thalweg:problem:{}", self.code),
            "code": self.code,
            "title": self.title,
            "status": self.status,
            "detail": detail,
            "outcome": outcome,
        });
        if let (Some(body), serde_json::Value::Object(members)) = (body.as_object_mut(), members) {
            body.extend(members);
        }
        Bytes::from(body.to_string())
    }
}
