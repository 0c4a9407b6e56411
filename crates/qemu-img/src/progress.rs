/// The finished part in a line such as `    (25.00/100%)`, from 0.0 to 1.0.
pub(crate) fn fraction(line: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let percent: f64 = text.strip_prefix('(')?.strip_suffix("/100%)")?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::fraction;

    #[test]
    fn reads_what_qemu_img_prints() {
        assert_eq!(fraction(b"    (0.00/100%)"), Some(0.0));
        assert_eq!(fraction(b"    (25.50/100%)"), Some(0.255));
        assert_eq!(fraction(b"    (100.00/100%)"), Some(1.0));
    }

    #[test]
    fn anything_else_is_no_progress() {
        for line in [
            &b"Image committed."[..],
            b"(NaN/100%)",
            b"(101.00/100%)",
            b"(-1/100%)",
            b"(/100%)",
            b"",
            b"\xff",
        ] {
            assert_eq!(fraction(line), None);
        }
    }
}
