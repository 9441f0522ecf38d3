//! Durations as people write them: `500ms`, `10m`, `1h30m`.

use std::time::Duration;

/// Reads a duration. The error is a fragment that says how to write one.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a duration; write a number and a unit (ms, s, m, h, d), for example \
             \"90s\" or \"1h30m\""
        )
    };
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number
            .checked_mul(factor)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// The same for one that must leave some time.
pub fn positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!(
            "`{text}` leaves no time; write for example \"10m\""
        )),
        duration => Ok(duration),
    }
}

/// Writes a duration so that it reads back the same, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if ms >= size {
            out.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for (text, ms) in [
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(ms));
            assert_eq!(format(Duration::from_millis(ms)), text);
        }
        assert_eq!(format(parse("90s").unwrap()), "1m30s");
        assert_eq!(format(parse("30d").unwrap()), "720h");
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_way_to_write_it() {
        for text in [
            "",
            "10",
            "m",
            "10 m",
            "1.5h",
            "10min",
            "-1s",
            "99999999999999999h",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("write a number and a unit"), "{error}");
        }
    }
}
