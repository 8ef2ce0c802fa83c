//! The `Date` header, formatted once per second. Two words of eight bytes and more would tear, so each thread keeps
//! the text of the second it last saw.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::types::UnixMillis;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) type DateText = [u8; 29];

/// The current second.
#[derive(Debug, Default)]
pub(super) struct DateCache(AtomicI64);

thread_local! {
    static LAST: Cell<(i64, DateText)> = const { Cell::new((i64::MIN, [b' '; 29])) };
}

impl DateCache {
    pub(super) fn set(&self, now: UnixMillis) {
        self.0.store(now.0.div_euclid(1000), Ordering::Relaxed);
    }

    pub(super) fn text(&self) -> DateText {
        let second = self.0.load(Ordering::Relaxed);
        LAST.with(|last| {
            let (known, text) = last.get();
            if known == second {
                return text;
            }
            let text = format(second);
            last.set((second, text));
            text
        })
    }
}

fn format(unix_seconds: i64) -> DateText {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let days = unix_seconds.div_euclid(86_400);
    let second = unix_seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or_default();
    text[..3].copy_from_slice(DAYS[weekday]);
    text[8..11].copy_from_slice(MONTHS[usize::try_from(month - 1).unwrap_or_default().min(11)]);
    for (at, value) in [
        (5, day),
        (12, year / 100),
        (14, year % 100),
        (17, second / 3600),
        (20, second / 60 % 60),
        (23, second % 60),
    ] {
        text[at] = digit(value / 10);
        text[at + 1] = digit(value);
    }
    text
}

fn digit(value: i64) -> u8 {
    b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or_default()
}

/// Year, month and day of a day count since 1970-01-01 (proleptic Gregorian; eras of 400 years that begin in March).
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_the_standard() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&format(second)).unwrap(), text);
        }
    }
}
