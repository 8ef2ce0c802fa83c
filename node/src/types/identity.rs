//! Who a cluster and a volume are. Both are drawn once and never change; they are written as 32 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hexadecimal digits")]
pub struct IdentityError;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(sixteen(text)?))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

identity!(
    /// The cluster that a volume belongs to.
    ClusterId
);
identity!(
    /// One life of one volume: drawn when it is formatted. Votes and acknowledgements are keyed by it.
    VolumeIncarnation
);

fn sixteen(text: &str) -> Result<[u8; 16], IdentityError> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(IdentityError);
    }
    u128::from_str_radix(text, 16).map(u128::to_be_bytes).map_err(|_| IdentityError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_as_it_was_written() {
        let id = ClusterId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", "+0000000000000000000000000000000", "zz000000000000000000000000000000"] {
            assert_eq!(bad.parse::<ClusterId>(), Err(IdentityError), "{bad}");
        }
    }
}
