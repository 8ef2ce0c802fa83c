//! Spans of time as people write them: `250ms`, `2s`, `5m`, `12h`, `7d`.

use std::time::Duration;

use super::value::Value;

/// Largest first, so that rendering takes the largest unit that divides.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Value for Duration {
    const UNIT: &'static str = "time";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be a time with its unit, as in 250ms, 2s, 5m, 12h or 7d".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let &(_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(millis).map(Self::from_millis).ok_or_else(wrong)
    }

    fn render(&self) -> String {
        let whole = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        let (unit, millis) =
            UNITS.into_iter().find(|(_, millis)| whole.is_multiple_of(*millis)).unwrap_or(("ms", 1));
        if whole == 0 { "0s".to_owned() } else { format!("{}{unit}", whole / millis) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_need_their_unit() {
        assert_eq!(Duration::parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Duration::parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(Duration::parse("7d"), Ok(Duration::from_hours(168)));
        for bad in ["", "2", "s", "2 s", "1.5s", "-2s", "2S", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_time_reads_back(millis: u64) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(Duration::parse(&time.render()), Ok(time));
        }
    }
}
