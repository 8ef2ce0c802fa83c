//! Rust text with comments and literals blanked, so that the rules look at code only. Line breaks stay where they are.

/// Blanks comments, strings and characters.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` if none begins here.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    if rest.starts_with(b"\"") {
        return quoted_end(bytes, at);
    }
    if !in_word && (rest.starts_with(b"r\"") || rest.starts_with(b"r#") || rest.starts_with(b"br")) {
        return raw_string_end(bytes, at);
    }
    if rest.starts_with(b"'") {
        return character_end(bytes, at);
    }
    at
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let after_letters = start + if bytes[start] == b'b' { 2 } else { 1 };
    let hashes = bytes[after_letters..].iter().take_while(|&&b| b == b'#').count();
    if bytes.get(after_letters + hashes) != Some(&b'"') {
        return start; // a raw identifier, or a word that begins with `br`
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = after_letters + hashes + 1;
    let length = bytes[body..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| body + length + close.len())
}

/// A character literal; a lifetime is left alone.
fn character_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start + 1..];
    let escaped = rest.first() == Some(&b'\\');
    let from = if escaped { 2 } else { 1 };
    // The longest character literal, '\u{10ffff}', has ten bytes between its quotes.
    let close = rest.iter().take(12).skip(from).position(|&b| b == b'\'').map(|at| at + from);
    let text = |at| std::str::from_utf8(&rest[..at]).is_ok_and(|text| escaped || text.chars().count() == 1);
    match close {
        Some(at) if text(at) => start + at + 2,
        _ => start,
    }
}

/// Blanks every item that stands behind `#[cfg(test)]`. Takes code whose literals are blanked already.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let end = item_end(out.as_bytes(), start + MARK.len());
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Where the item ends: at its `;`, or at the brace that closes its first one.
fn item_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Where the block that opens at or behind `start` closes; `None` if a `;` comes first.
pub(crate) fn block_end(code: &str, start: usize) -> Option<usize> {
    let opens = code[start..].find(['{', ';'])? + start;
    if code.as_bytes()[opens] == b';' {
        return None;
    }
    Some(item_end(code.as_bytes(), opens))
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "let a = \"x // y\"; // z\nlet b = 'c'; let d: &'static str = r#\"e \" f\"#; /* g /* h */ i */ j('\\'', '\"', k);";
    let masked = code(text);
    assert_eq!(
        masked.split_whitespace().collect::<Vec<_>>().join(" "),
        "let a = ; let b = ; let d: &'static str = ; j( , , k);"
    );
    assert_eq!(masked.lines().count(), text.lines().count());
}

#[test]
fn what_only_tests_compile_is_blanked() {
    let masked = without_tests(
        "fn a() { b() }\n#[cfg(test)]\nmod tests {\n fn c() { d() }\n}\nfn e() {}\n#[cfg(test)]\nmod f;\nfn g() {}",
    );
    let kept: Vec<&str> = masked.split_whitespace().collect();
    assert_eq!(kept.join(" "), "fn a() { b() } fn e() {} fn g() {}");
}
