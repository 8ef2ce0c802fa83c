//! Settings that may be left without a value, written `none`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::value::Value;
use crate::types::ClusterId;

impl Value for ClusterId {
    const UNIT: &'static str = "32 hexadecimal digits";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "must be 32 hexadecimal digits, as from `openssl rand -hex 16`, the same for all members"
                .to_owned()
        })
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

/// Declares that a kind of value need not be there.
macro_rules! optional {
    ($( $kind:ty: $unit:literal ),+) => { $(
        impl Value for Option<$kind> {
            const UNIT: &'static str = $unit;

            fn parse(text: &str) -> Result<Self, String> {
                if text == "none" {
                    return Ok(None);
                }
                <$kind>::parse(text).map(Some).map_err(|why| format!("{why}, or `none`"))
            }

            fn render(&self) -> String {
                self.as_ref().map_or_else(|| "none".to_owned(), Value::render)
            }
        }
    )+ };
}

optional!(
    ClusterId: "32 hexadecimal digits or `none`",
    PathBuf: "path or `none`",
    SocketAddr: "address:port or `none`"
);

/// A time after which something happens, if it does.
impl Value for Option<Duration> {
    const UNIT: &'static str = "time or `none`";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(None);
        }
        Duration::parse(text).map(Some).map_err(|why| format!("{why}, or `none`"))
    }

    fn render(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Value::render)
    }

    /// Never lies within every bound.
    fn held_to(self, bound: &RangeInclusive<Self>) -> Result<Self, String> {
        if self.is_none() || bound.contains(&self) {
            return Ok(self);
        }
        Err(format!("must be from {} to {}, or `none`", bound.start().render(), bound.end().render()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Value>(text: &str) {
        assert_eq!(T::parse(text).map(|value| value.render()).as_deref(), Ok(text));
    }

    #[test]
    fn what_may_be_left_out_reads_back_with_and_without_a_value() {
        check::<Option<ClusterId>>("none");
        check::<Option<ClusterId>>("0123456789abcdef0123456789abcdef");
        check::<Option<PathBuf>>("none");
        check::<Option<PathBuf>>("./none");
        check::<Option<SocketAddr>>("[::1]:4637");
        check::<Option<Duration>>("none");
        check::<Option<Duration>>("15m");
        let bound = Some(Duration::from_secs(1))..=Some(Duration::from_mins(1));
        assert_eq!(None.held_to(&bound), Ok(None));
        assert!(Some(Duration::from_mins(2)).held_to(&bound).unwrap_err().ends_with("or `none`"));
        let refusal = Option::<ClusterId>::parse("0123").unwrap_err();
        assert!(refusal.starts_with("must be 32 hex") && refusal.ends_with("or `none`"), "{refusal}");
        assert!(Option::<SocketAddr>::parse("localhost").is_err());
    }
}
