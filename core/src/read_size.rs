//! How much to read from a socket at once.

use crate::limits;

/// Doubled by a read that filled its buffer, halved by one that filled less than a quarter. So a chatty connection
/// takes little memory, and a bulky one few calls.
#[derive(Debug)]
pub(crate) struct ReadSize(usize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(limits::READ_BYTES_MIN)
    }
}

impl ReadSize {
    /// For the next read, bytes.
    pub(crate) fn next(&self) -> usize {
        self.0
    }

    /// That read found so many bytes.
    pub(crate) fn learn(&mut self, bytes: usize) {
        if bytes >= self.0 {
            self.0 = (self.0 * 2).min(limits::READ_BYTES_MAX);
        } else if bytes < self.0 / 4 {
            self.0 = (self.0 / 2).max(limits::READ_BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_size_follows_the_load_within_its_bounds() {
        let mut size = ReadSize::default();
        for _ in 0..20 {
            size.learn(size.next());
        }
        assert_eq!(size.next(), limits::READ_BYTES_MAX);
        for _ in 0..20 {
            size.learn(10);
        }
        assert_eq!(size.next(), limits::READ_BYTES_MIN);
    }
}
