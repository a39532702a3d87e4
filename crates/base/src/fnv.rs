//! FNV-1a with 64 bits: a sum over bytes that is the same in the next process, and for all time, which the standard
//! hasher is not. It keeps out nobody who wants two things to have one sum.

/// A sum, as it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Goes on from a sum.
    pub fn after(sum: u64) -> Fnv {
        Fnv(sum)
    }

    /// The sum of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> u64 {
        let mut sum = Fnv::default();
        sum.add(bytes.as_ref());
        sum.value()
    }

    /// Goes on with these.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// What it is by now.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of draft-eastlake-fnv, appendix C.
    #[test]
    fn sums_are_those_of_the_specification() {
        assert_eq!(Fnv::of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of("foobar"), 0x8594_4171_f739_67e8);
        let mut sum = Fnv::default();
        sum.add(b"foo");
        sum.add(b"bar");
        assert_eq!(sum.value(), Fnv::of("foobar"));
        let mut rest = Fnv::after(Fnv::of("foo"));
        rest.add(b"bar");
        assert_eq!(rest, sum);
    }
}
