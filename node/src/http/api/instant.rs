//! RFC 3339 instants, both ways. Total over any bytes; years 0 to 9999.

use crate::http::wire::civil;
use crate::types::UnixMillis;

const DAY_SECONDS: i64 = 86_400;

/// Parses `2030-01-31T12:00:00[.123]Z` or with a numeric offset. Digits behind the millisecond are dropped.
pub fn parse_instant(text: &[u8]) -> Option<UnixMillis> {
    let (date, rest) = text.split_at_checked(10)?;
    let (separator, rest) = rest.split_first()?;
    if !b"Tt ".contains(separator) || *date.get(4)? != b'-' || *date.get(7)? != b'-' {
        return None;
    }
    let (time, rest) = rest.split_at_checked(8)?;
    if *time.get(2)? != b':' || *time.get(5)? != b':' {
        return None;
    }
    let days = days(number(date, 0, 4)?, number(date, 5, 7)?, number(date, 8, 10)?)?;
    let (hour, minute, second) = (number(time, 0, 2)?, number(time, 3, 5)?, number(time, 6, 8)?);
    // A leap second counts as the second before it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, zone) = fraction(rest)?;
    let local = days * DAY_SECONDS + hour * 3600 + minute * 60 + second.min(59);
    Some(UnixMillis((local - offset_seconds(zone)?) * 1000 + millis))
}

fn number(text: &[u8], from: usize, to: usize) -> Option<i64> {
    text.get(from..to)?
        .iter()
        .try_fold(0i64, |sum, &digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(behind) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = behind.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (digits, zone) = behind.split_at(count);
    let millis = (0..3).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |d| i64::from(d - b'0')));
    Some((millis, zone))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), time @ ..] if time.len() == 5 && time.get(2) == Some(&b':') => {
            let (hour, minute) = (number(time, 0, 2)?, number(time, 3, 5)?);
            let seconds = hour * 3600 + minute * 60;
            (hour <= 23 && minute <= 59).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Days since 1970-01-01, when the date exists.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// The form that `Date.prototype.toISOString` gives: UTC with milliseconds.
pub(crate) fn format_instant(at: UnixMillis) -> String {
    let (year, month, day) = civil(at.0.div_euclid(DAY_SECONDS * 1000));
    let millis = at.0.rem_euclid(DAY_SECONDS * 1000);
    let (second, milli) = (millis / 1000, millis % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants_of_the_standard_are_understood() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.5Z", 500),
            ("1970-01-01t00:00:00.123456789z", 123),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse_instant(text.as_bytes()), Some(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "now",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-32T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00+24:00",
            "24-01-01T00:00:00Z",
            "2024-1-1T0:0:0Z",
            "+2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00Zx",
            "2024/01/01T00:00:00Z",
        ] {
            assert_eq!(parse_instant(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_instant_are_one(millis in -62_135_596_800_000i64..253_402_300_800_000) {
            let text = format_instant(UnixMillis(millis));
            prop_assert_eq!(parse_instant(text.as_bytes()), Some(UnixMillis(millis)), "{}", text);
        }

        #[test]
        fn any_bytes_give_an_instant_or_none(raw: Vec<u8>) {
            let _ = parse_instant(&raw);
        }
    }
}
