//! Amounts of bytes as people write them: `64MiB`, `1GiB`, or plain bytes.

use std::fmt;
use std::ops::RangeInclusive;

use super::value::Value;

/// An amount of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Largest first, so that rendering takes the largest unit that divides.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Size {
    /// Plain bytes.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// Kibibytes.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// Mebibytes.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// Gibibytes.
    #[must_use]
    pub const fn gib(count: u32) -> Self {
        Self((count as u64) << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; saturates where the machine's addresses end.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in UNITS {
            if self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Value for Size {
    const UNIT: &'static str = "bytes";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be a size, as in 64MiB, 1GiB or 65536".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            unit => {
                UNITS.iter().find(|(name, _)| *name == unit).map(|&(_, bytes)| bytes).ok_or_else(wrong)?
            }
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

/// A bound that need not be there.
impl Value for Option<Size> {
    const UNIT: &'static str = "bytes or `unlimited`";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(None);
        }
        Size::parse(text).map(Some).map_err(|_| "must be a size, as in 64GiB, or `unlimited`".to_owned())
    }

    fn render(&self) -> String {
        self.map_or_else(|| "unlimited".to_owned(), |size| size.to_string())
    }

    /// No limit lies within every bound.
    fn held_to(self, bound: &RangeInclusive<Self>) -> Result<Self, String> {
        if self.is_none() || bound.contains(&self) {
            return Ok(self);
        }
        Err(format!("must be from {} to {}, or `unlimited`", bound.start().render(), bound.end().render()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(Size::parse("64MiB"), Ok(Size::mib(64)));
        assert_eq!(Size::parse("1 GiB"), Ok(Size::gib(1)));
        assert_eq!(Size::parse("65536"), Ok(Size::kib(64)));
        for bad in ["", "MiB", "-1", "1.5MiB", "64MB", "64mib", "99999999999TiB", "0x10", "1 0"] {
            assert!(Size::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_size_reads_back(count: u64) {
            prop_assert_eq!(Size::parse(&Size(count).render()), Ok(Size(count)));
        }

        #[test]
        fn any_text_gives_a_size_or_an_error(text in ".{0,20}") {
            let _ = Size::parse(&text);
        }
    }
}
