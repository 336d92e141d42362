//! Sizes, durations and names as people write them in a manifest.

/// Reads a size: a whole number and K, M or G (powers of 1024; `KiB` and the like are understood too).
///
/// # Errors
/// Says what would be right.
pub fn size(text: &str) -> Result<u64, String> {
    let help = "write a whole number and K, M or G (powers of 1024), such as \"256M\"";
    let (number, unit) = split(text);
    let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(help.into()),
    };
    let number: u64 = number.parse().map_err(|_| help.to_string())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the most that can be written is 17179869183G".into())
}

/// Reads a duration in milliseconds: a whole number and `ms` or `s`.
///
/// # Errors
/// Says what would be right.
pub fn duration_ms(text: &str) -> Result<u32, String> {
    let help = "write a whole number and ms or s, such as \"100ms\"";
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        _ => return Err(help.into()),
    };
    let number: u32 = number.parse().map_err(|_| help.to_string())?;
    match number.checked_mul(factor) {
        Some(0) => Err("no time is no duration; leave it out to have none".into()),
        Some(milliseconds) => Ok(milliseconds),
        None => Err("the longest is 4294967295ms".into()),
    }
}

/// Longest name: what fits in a console line's tag and in a device tree node's name.
pub const NAME_MAX: usize = 31;

/// Checks a name: it is written on the console, in messages and in device trees.
///
/// # Errors
/// Says what would be right.
pub fn name(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && text.len() <= NAME_MAX && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(format!(
            "a name is a letter and then letters, digits, - and _, at most {NAME_MAX} in all"
        ))
    }
}

/// A size as a person reads it: in the largest unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(size("4M"), Ok(4_194_304));
        assert_eq!(size("64K"), Ok(65_536));
        assert_eq!(size("2GiB"), Ok(2_147_483_648));
        for bad in ["", "M", "4", "4MB", "1.5G", "-4M", "4 T", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_in_milliseconds() {
        assert_eq!(duration_ms("100ms"), Ok(100));
        assert_eq!(duration_ms("2s"), Ok(2000));
        for bad in ["", "100", "0ms", "1h", "5000000s", "1.5s"] {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name("control-2"), Ok(()));
        for bad in [
            "",
            "2",
            "a b",
            "ä",
            "a/b",
            "abcdefghijklmnopqrstuvwxyz012345",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_whole_unit() {
        assert_eq!(show_size(268_435_456), "256M");
        assert_eq!(show_size(4097), "4097 bytes");
        assert_eq!(show_size(0), "0 bytes");
        assert_eq!(show_size(1 << 31), "2G");
    }
}
