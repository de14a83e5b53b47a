//! Limits of config.json as the kernel takes them.
//!
//! "No limit" is 2^64 - 1, which a host whose numbers are doubles cannot write: the nearest that it can is a
//! little less, or a little too much. No resource has 2^63 of anything, so whatever is beyond that is no limit.

use serde_json::{Value, json};

const NO_LIMIT_FROM: u64 = 1 << 63;

/// Rounds `soft` and `hard` of every `process.rlimits` up to infinity where that was meant.
pub fn widen(process: &mut Value) {
    let rlimits = process.get_mut("rlimits").and_then(Value::as_array_mut);
    for rlimit in rlimits.into_iter().flatten() {
        for member in ["soft", "hard"] {
            if rlimit.get(member).and_then(Value::as_u64).is_some_and(|value| value >= NO_LIMIT_FROM) {
                rlimit[member] = json!(u64::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_as_infinity_becomes_it() {
        let text = r#"{"rlimits": [
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709550000},
            {"type": "RLIMIT_MEMLOCK", "soft": 9223372036854775808, "hard": 18446744073709551615},
            {"type": "RLIMIT_STACK", "soft": 9223372036854775807, "hard": 9223372036854775807}
        ]}"#;
        let mut process: Value = serde_json::from_str(text).unwrap();
        widen(&mut process);
        let limits = |index: usize| {
            (process["rlimits"][index]["soft"].as_u64(), process["rlimits"][index]["hard"].as_u64())
        };
        assert_eq!(limits(0), (Some(0), Some(u64::MAX)));
        assert_eq!(limits(1), (Some(u64::MAX), Some(u64::MAX)));
        assert_eq!(limits(2), (Some((1 << 63) - 1), Some((1 << 63) - 1)));
    }

    #[test]
    fn what_is_not_there_stays_so() {
        for text in ["{}", r#"{"rlimits": null}"#, r#"{"rlimits": [{}, 1, "x"]}"#] {
            let mut process: Value = serde_json::from_str(text).unwrap();
            let before = process.clone();
            widen(&mut process);
            assert_eq!(process, before);
        }
    }
}
