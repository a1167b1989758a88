//! The grammar of numbers, a byte at a time.

/// How far into a number the lexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What a byte means to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to it.
    Goes(Number),
    /// The number ended before it.
    Ends,
    /// The number cannot go on like this.
    Fails,
}

impl Number {
    /// The state after a number's first byte, `-` or a digit.
    pub(super) fn start(byte: u8) -> Self {
        match byte {
            b'-' => Self::Minus,
            b'0' => Self::Zero,
            _ => Self::Digits,
        }
    }

    pub(super) fn step(self, byte: u8) -> Step {
        use Number::{Digits, Exponent, ExponentDigits, ExponentSign, Fraction, Minus, Point, Zero};
        match (self, byte) {
            (Minus, b'0') => Step::Goes(Zero),
            (Minus, b'1'..=b'9') | (Digits, b'0'..=b'9') => Step::Goes(Digits),
            (Zero | Digits, b'.') => Step::Goes(Point),
            (Zero | Digits | Fraction, b'e' | b'E') => Step::Goes(Exponent),
            (Point | Fraction, b'0'..=b'9') => Step::Goes(Fraction),
            (Exponent, b'+' | b'-') => Step::Goes(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Step::Goes(ExponentDigits),
            (Zero, b'0'..=b'9') | (Minus | Point | Exponent | ExponentSign, _) => Step::Fails,
            (Zero | Digits | Fraction | ExponentDigits, _) => Step::Ends,
        }
    }
}
