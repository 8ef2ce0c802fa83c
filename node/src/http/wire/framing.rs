//! Where a request body ends. Every doubt is an error: two readers that disagree about the end of a request let one
//! client's bytes become another client's request.

use super::HeadError;

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, or 0 when there is none.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// Decides from the two header values (each known to occur at most once).
    pub(super) fn decide(
        content_length: Option<&[u8]>,
        transfer_encoding: Option<&[u8]>,
        http_10: bool,
    ) -> Result<Self, HeadError> {
        match (content_length, transfer_encoding) {
            (None, None) => Ok(Self::Length(0)),
            (Some(_), Some(_)) => {
                Err(HeadError::Malformed("Content-Length and Transfer-Encoding contradict each other"))
            }
            (Some(length), None) => parse_length(length),
            (None, Some(_)) if http_10 => Err(HeadError::Malformed("HTTP/1.0 knows no Transfer-Encoding")),
            (None, Some(codings)) => parse_codings(codings),
        }
    }
}

fn parse_length(value: &[u8]) -> Result<Framing, HeadError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Malformed("Content-Length must be a decimal number"));
    }
    let saturated =
        value.iter().fold(0u64, |sum, &digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Ok(Framing::Length(saturated))
}

fn parse_codings(value: &[u8]) -> Result<Framing, HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let mut codings = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let last_is_chunked = codings.clone().next_back().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
    let chunked_count = codings.clone().filter(|c| c.eq_ignore_ascii_case(b"chunked")).count();
    if codings.any(<[u8]>::is_empty) || (chunked_count > 0 && !last_is_chunked) || chunked_count > 1 {
        return Err(HeadError::Malformed("chunked must be the last transfer coding, once"));
    }
    Err(HeadError::UnknownCoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_one_end_or_is_refused() {
        let decide = |cl: Option<&str>, te: Option<&str>| {
            Framing::decide(cl.map(str::as_bytes), te.map(str::as_bytes), false)
        };
        assert_eq!(decide(None, None), Ok(Framing::Length(0)));
        assert_eq!(decide(Some("5"), None), Ok(Framing::Length(5)));
        assert_eq!(decide(Some("99999999999999999999999"), None), Ok(Framing::Length(u64::MAX)));
        assert_eq!(decide(None, Some("Chunked")), Ok(Framing::Chunked));
        for bad in ["", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "\u{663}"] {
            assert!(matches!(decide(Some(bad), None), Err(HeadError::Malformed(_))), "{bad:?}");
        }
        for bad in ["", "chunked, gzip", "chunked,chunked", ",chunked", "chunked,"] {
            assert!(matches!(decide(None, Some(bad)), Err(HeadError::Malformed(_))), "{bad:?}");
        }
        for unknown in ["gzip", "gzip, chunked", "xchunked", "identity", "chunked;q=1"] {
            assert_eq!(decide(None, Some(unknown)), Err(HeadError::UnknownCoding), "{unknown:?}");
        }
        assert!(matches!(decide(Some("5"), Some("chunked")), Err(HeadError::Malformed(_))));
        assert!(matches!(Framing::decide(None, Some(b"chunked"), true), Err(HeadError::Malformed(_))));
    }
}
