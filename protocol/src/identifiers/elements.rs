//! Many elements in one buffer.

use std::fmt;

use zeroize::Zeroizing;

use super::element::{ENCODING_VERSION, Element};

/// A list of elements in the order they came in, one after another in one buffer: a chunk of
/// thousands costs two allocations and not one each.
///
/// Secret, as [`Element`] is: wiped on drop, hidden in Debug, not cloned.
#[derive(Default)]
pub struct Elements {
    bytes: Zeroizing<Vec<u8>>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Elements {
    /// An empty list with room for `count` elements of usual length.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(count.saturating_mul(32))),
            ends: Vec::with_capacity(count),
        }
    }

    /// Appends an element.
    pub fn push(&mut self, element: &Element) {
        self.append(element.as_bytes());
    }

    /// Appends the bytes of an element that was kept elsewhere ([`Element::as_bytes`]). Bytes that
    /// are no element's are not taken: then the answer is false.
    #[must_use]
    pub fn push_bytes(&mut self, bytes: &[u8]) -> bool {
        let whole = is_encoding(bytes);
        if whole {
            self.append(bytes);
        }
        whole
    }

    fn append(&mut self, bytes: &[u8]) {
        let need = self.bytes.len() + bytes.len();
        if need > self.bytes.capacity() {
            // By hand: `Vec` would free the old bytes without wiping them.
            let mut larger = Zeroizing::new(Vec::with_capacity(need.next_power_of_two()));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The canonical bytes of each, in order. Secret.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let element = &self.bytes[start..*end];
            start = *end;
            element
        })
    }
}

impl From<Vec<Element>> for Elements {
    fn from(elements: Vec<Element>) -> Self {
        let mut list = Self::with_capacity(elements.len());
        for element in &elements {
            list.push(element);
        }
        list
    }
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elements({})", self.len())
    }
}

/// Whether these bytes are the encoding of an element: version, and fields that fill it exactly.
fn is_encoding(bytes: &[u8]) -> bool {
    let field = |rest: &[u8]| -> Option<usize> { Some(1 + usize::from(*rest.first()?)) };
    let value = || -> Option<(usize, usize)> {
        let (version, rest) = bytes.split_first()?;
        let rest = rest.get(field(rest)?..)?;
        let rest = rest.get(field(rest)?..)?;
        let (length, value) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        (*version == ENCODING_VERSION).then_some((length, value.len()))
    };
    value().is_some_and(|(stated, length)| stated == length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_out_as_they_went_in() {
        let element = |i: usize| Element::encode("text", "", &vec![b'x'; i % 90]);
        let mut list = Elements::default();
        for i in 0..500 {
            match i % 2 {
                0 => list.push(&element(i)),
                _ => assert!(list.push_bytes(element(i).as_bytes())),
            }
        }
        assert_eq!((list.len(), list.is_empty()), (500, false));
        for (i, bytes) in list.iter().enumerate() {
            assert_eq!(bytes, element(i).as_bytes());
        }
        let all: Vec<Element> = (0..500).map(element).collect();
        assert!(Elements::from(all).iter().eq(list.iter()));
        assert_eq!(format!("{list:?}"), "Elements(500)");
    }

    #[test]
    fn bytes_that_are_no_element_are_not_taken() {
        let good = Element::encode("text", "UTO", b"AB");
        let good = good.as_bytes();
        let mut list = Elements::default();
        for cut in 0..good.len() {
            assert!(!list.push_bytes(&good[..cut]), "cut at {cut}");
        }
        assert!(!list.push_bytes(&[good, b"x"].concat()));
        let mut other = good.to_vec();
        other[0] = ENCODING_VERSION + 1;
        assert!(!list.push_bytes(&other));
        assert!(list.is_empty());
        assert!(list.push_bytes(good));
    }
}
