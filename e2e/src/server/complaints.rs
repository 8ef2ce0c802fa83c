//! Log lines that fail a test: every WARN and ERROR that is not listed here with its reason.

/// Part of a line, and why a healthy run may print it.
const EXPECTED: &[(&str, &str)] = &[];

/// The WARN and ERROR lines that nobody expects. `expected` adds to the list for one test.
#[must_use]
pub fn complaints(log: &[String], expected: &[&str]) -> Vec<String> {
    log.iter()
        .filter(|line| is_complaint(line))
        .filter(|line| !EXPECTED.iter().any(|(part, _)| line.contains(part)))
        .filter(|line| !expected.iter().any(|part| line.contains(part)))
        .cloned()
        .collect()
}

/// Whether a line of a log is a warning or an error.
#[must_use]
pub fn is_complaint(line: &str) -> bool {
    let bare = without_colours(line);
    let level = bare.split_whitespace().take(3).any(|word| word == "WARN" || word == "ERROR");
    level
        || bare.contains("\"level\":\"WARN\"")
        || bare.contains("\"level\":\"ERROR\"")
        || bare.contains("panicked at")
}

fn without_colours(line: &str) -> String {
    let mut bare = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        bare.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    bare.push_str(rest);
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unlisted_warning_error_and_panic_is_a_complaint() {
        for (line, expected) in [
            ("2026-11-21T11:52:49Z  WARN thalweg_node::aol: torn tail cut", true),
            ("\u{1b}[2m2026-11-21\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m node: gone", true),
            ("{\"timestamp\":\"…\",\"level\":\"ERROR\",\"fields\":{}}", true),
            ("thread 'lane-0' panicked at src/main.rs:1:1", true),
            ("2026-11-21T11:52:49Z  INFO node: no WARN lines so far", false),
            ("listening on http://127.0.0.1:4437", false),
        ] {
            assert_eq!(!complaints(&[line.to_owned()], &[]).is_empty(), expected, "{line}");
        }
        let listed = ["WARN node: expected trouble".to_owned()];
        assert!(complaints(&listed, &["expected trouble"]).is_empty());
    }
}
