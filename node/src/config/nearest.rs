//! The known word that is most like an unknown one.

/// The candidate with the fewest edits; the first of several. `None` if more than a third of it would have to change: a
/// word that is merely the least different one leads astray.
pub(super) fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    // A hostile key may be megabytes long; no known key comes near this bound.
    let word: Vec<char> = word.chars().take(64).collect();
    let distances = candidates.map(|candidate| (edits(&word, &candidate), candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (candidate.chars().count() / 3).max(1)).then_some(candidate)
}

/// How many characters must be inserted, removed or replaced to turn one into the other (Levenshtein).
fn edits(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (&above, &given) in row.iter().skip(1).zip(from) {
            let replaced = diagonal + usize::from(given != wanted);
            left = replaced.min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_word_is_found() {
        let words = || ["listen", "lanes", "long-poll-timeout", "idle-timeout"].map(String::from).into_iter();
        assert_eq!(nearest("lisen", words()).as_deref(), Some("listen"));
        assert_eq!(nearest("longpoll-timeout", words()).as_deref(), Some("long-poll-timeout"));
        assert_eq!(nearest("lane", words()).as_deref(), Some("lanes"));
        assert_eq!(nearest("x", std::iter::empty()), None);
    }

    #[test]
    fn a_word_that_is_like_none_gets_no_hint() {
        let words = || ["aol", "data", "listen"].map(String::from).into_iter();
        for word in ["foo", "x", "", "server", &"data".repeat(1000)] {
            assert_eq!(nearest(word, words()), None, "{word}");
        }
        assert_eq!(nearest("aoll", words()).as_deref(), Some("aol"));
    }

    #[test]
    fn edits_are_counted() {
        let count = |from: &str, to| edits(&from.chars().collect::<Vec<_>>(), to);
        assert_eq!([count("", "abc"), count("abc", ""), count("abc", "abc")], [3, 3, 0]);
        assert_eq!([count("kitten", "sitting"), count("ab", "ba")], [3, 2]);
    }
}
