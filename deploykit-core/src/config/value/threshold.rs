//! Amounts that must stay free.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// An amount that must stay free: absolute (`4096`, `"512MiB"`), or a share of the whole (`"5%"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// So many bytes or inodes.
    Absolute(u64),
    /// So many hundredths of the whole.
    Percent(u8),
}

impl Threshold {
    /// The amount, of a whole of `total`.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Absolute(amount) => amount,
            Self::Percent(percent) => {
                u64::try_from(u128::from(total) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an amount such as 4096, 512MiB or 5%");
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
        let factor: u64 = match trimmed[digits..].trim_start() {
            "%" if number <= 100 => {
                return Ok(Self::Percent(u8::try_from(number).unwrap_or(100)));
            }
            "" | "B" => 1,
            "KiB" | "K" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "TiB" | "T" => 1 << 40,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self::Absolute).ok_or_else(wrong)
    }
}

/// As it is read back: whole mebibytes and more with their unit, other amounts as a number.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Absolute(amount) => {
                let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")];
                match units.into_iter().find(|(size, _)| amount > 0 && amount % size == 0) {
                    Some((size, unit)) => write!(f, "{}{unit}", amount / size),
                    None => write!(f, "{amount}"),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ThresholdVisitor;
        impl Visitor<'_> for ThresholdVisitor {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 4096, \"512MiB\" or \"5%\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Threshold, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, amount: i64) -> Result<Threshold, E> {
                amount.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, amount: u64) -> Result<Threshold, E> {
                Ok(Threshold::Absolute(amount))
            }
        }
        deserializer.deserialize_any(ThresholdVisitor)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.to_string();
        // TOML has signed numbers of 64 bits only.
        match shown.parse::<i64>() {
            Ok(amount) => serializer.serialize_i64(amount),
            Err(_) => serializer.serialize_str(&shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_is_taken_of_the_whole() {
        assert_eq!(Threshold::Percent(5).of(1000), 50);
        assert_eq!(Threshold::Percent(100).of(u64::MAX), u64::MAX);
        assert_eq!(Threshold::Absolute(7).of(1000), 7);
    }

    fn any_threshold() -> impl Strategy<Value = Threshold> {
        let whole = (0u64..1 << 24, 0u32..5).prop_map(|(n, unit)| n << (10 * unit));
        prop_oneof![
            (0u8..=100).prop_map(Threshold::Percent),
            any::<u64>().prop_map(Threshold::Absolute),
            whole.prop_map(Threshold::Absolute),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(threshold in any_threshold()) {
            prop_assert_eq!(threshold.to_string().parse::<Threshold>(), Ok(threshold));
            let json = serde_json::to_string(&threshold).unwrap();
            prop_assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), threshold);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,12}", amount in "[0-9]{0,22} ?[%a-zA-Z]{0,4}") {
            let _ = text.parse::<Threshold>();
            let _ = amount.parse::<Threshold>();
        }
    }
}
