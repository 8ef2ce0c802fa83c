//! The pattern of a subscription: which stream names it means.
//!
//! Names and patterns are compared segment by segment (`/` separates them). `**` as a whole segment stands for any number
//! of segments, also none; `*` as a whole segment for one that is not empty; `*` inside a segment for any run of characters
//! in it. Everything else stands for itself. Invariant: matching never tries more than (pattern bytes) × (name bytes) steps,
//! whatever the pattern: one step back is remembered, never a tree of them.

use std::fmt;

use super::StreamName;
use super::limits::PATTERN_BYTES_MAX;

/// A pattern that was checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Box<str>);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing would match.
    #[error("a pattern must not be empty")]
    Empty,
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// No stream name has them.
    #[error("a pattern must not contain control characters")]
    Control,
    /// No stream name begins so.
    #[error("names below __ds/ are reserved, no stream can match")]
    Reserved,
}

impl Glob {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(GlobError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(GlobError::Control);
        }
        if text == "__ds" || text.starts_with("__ds/") {
            return Err(GlobError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every matching name begins with: a listing need not look elsewhere.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.split('*').next().map_or("", |head| {
            // `a/**` also means `a`, so the separator before a `**` need not be there.
            let rest = self.0.get(head.len()..).unwrap_or("");
            if rest.starts_with("**") { head.strip_suffix('/').unwrap_or(head) } else { head }
        })
    }

    /// Whether a stream of this name is meant.
    #[must_use]
    pub fn matches(&self, name: &StreamName) -> bool {
        greedy(
            &self.0.split('/').collect::<Vec<_>>(),
            &name.as_str().split('/').collect::<Vec<_>>(),
            |part| *part == "**",
            |part, segment| segment_matches(part, segment),
        )
    }
}

/// Whether one segment of a pattern means one segment of a name.
fn segment_matches(part: &str, segment: &str) -> bool {
    if part == "*" {
        return !segment.is_empty();
    }
    greedy(part.as_bytes(), segment.as_bytes(), |byte| *byte == b'*', |byte, other| byte == other)
}

/// The classic walk: after a star, the latest star alone need ever take one more item.
fn greedy<P, N>(
    pattern: &[P],
    items: &[N],
    star: impl Fn(&P) -> bool,
    same: impl Fn(&P, &N) -> bool,
) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut back = None;
    while let Some(next) = items.get(item) {
        match pattern.get(at) {
            Some(part) if star(part) => {
                back = Some((at, item));
                at += 1;
            }
            Some(part) if same(part, next) => (at, item) = (at + 1, item + 1),
            _ => match back {
                Some((star_at, taken)) => {
                    back = Some((star_at, taken + 1));
                    (at, item) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(star)
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    fn name(text: &str) -> StreamName {
        StreamName::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_star_means_one_segment_and_two_mean_any_number() {
        for (pattern, text, expected) in [
            ("events/*", "events/a", true),
            ("events/*", "events/a/b", false),
            ("events/*", "events", false),
            ("events/*", "events/", false),
            ("events/**", "events", true),
            ("events/**", "events/a/b", true),
            ("**", "anything/at/all", true),
            ("**/log", "log", true),
            ("**/log", "a/b/log", true),
            ("**/log", "a/b/logs", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/z/z", true),
            ("a/**/z", "a/b", false),
            ("a-*", "a-17", true),
            ("a-*", "a-", true),
            ("a-*", "a-1/b", false),
            ("*-*-z", "a-b-c-z", true),
            ("a.b", "aXb", false),
            ("ä*/ö", "äx/ö", true),
        ] {
            assert_eq!(glob(pattern).matches(&name(text)), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_makes_others_explode_takes_a_moment() {
        let hostile = glob(&format!("{}b", "*a".repeat(PATTERN_BYTES_MAX / 2 - 1)));
        assert!(!hostile.matches(&name(&"a".repeat(1000))));
        let hostile = glob(&format!("{}b", "**/a/".repeat(PATTERN_BYTES_MAX / 5 - 1)));
        assert!(!hostile.matches(&name(&"a/".repeat(500))));
    }

    #[test]
    fn what_no_stream_can_match_is_refused() {
        for (text, error) in [
            ("", GlobError::Empty),
            ("a\n", GlobError::Control),
            ("__ds/x", GlobError::Reserved),
            ("__ds", GlobError::Reserved),
        ] {
            assert_eq!(Glob::parse(text), Err(error), "{text:?}");
        }
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        assert_eq!(Glob::parse(&long), Err(GlobError::TooLong(PATTERN_BYTES_MAX + 1)));
    }

    /// The definition, tried in every way.
    fn naive(pattern: &[&str], segments: &[&str]) -> bool {
        match (pattern.split_first(), segments.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((&"**", left)), rest) => {
                naive(left, segments) || rest.is_some_and(|(_, behind)| naive(pattern, behind))
            }
            (Some(_), None) => false,
            (Some((part, left)), Some((segment, behind))) => {
                naive_segment(part, segment) && naive(left, behind)
            }
        }
    }

    fn naive_segment(part: &str, segment: &str) -> bool {
        fn run(part: &[u8], segment: &[u8]) -> bool {
            match (part.split_first(), segment.split_first()) {
                (None, rest) => rest.is_none(),
                (Some((b'*', left)), rest) => {
                    run(left, segment) || rest.is_some_and(|(_, behind)| run(part, behind))
                }
                (Some(_), None) => false,
                (Some((byte, left)), Some((other, behind))) => byte == other && run(left, behind),
            }
        }
        if part == "*" { !segment.is_empty() } else { run(part.as_bytes(), segment.as_bytes()) }
    }

    proptest! {
        #[test]
        fn the_walk_agrees_with_trying_everything(pattern in "[ab*/]{1,9}", text in "[ab/]{1,9}") {
            let (glob, text) = (glob(&pattern), name(&text));
            let parts: Vec<&str> = pattern.split('/').collect();
            let segments: Vec<&str> = text.as_str().split('/').collect();
            let matches = glob.matches(&text);
            prop_assert_eq!(matches, naive(&parts, &segments));
            prop_assert!(!matches || text.as_str().starts_with(glob.prefix()));
        }
    }
}
