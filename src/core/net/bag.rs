//! Items that are there as often as they were put: several may say the same, and each takes back but its own word.

use std::collections::BTreeMap;

/// A bag of items in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bag<T>(BTreeMap<T, usize>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Bag<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists items, each once.
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    pub(super) fn put(&mut self, item: T) {
        *self.0.entry(item).or_default() += 1;
    }

    /// Takes an item away once.
    pub(super) fn take(&mut self, item: &T) {
        let Some(count) = self.0.get_mut(item) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(item);
        }
    }
}
