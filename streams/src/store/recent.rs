//! Which commands were done lately on an aggregate.

use std::collections::VecDeque;

use uuid::Uuid;

/// The last command ids of an aggregate and where their first event stands, 16 bytes each. The first of all, which
/// made it, is never forgotten: a creation whose id says nothing of its key is known by it.
///
/// Only half of an id is kept, so a hit is a hint: the stored event has the whole id.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    tags: VecDeque<u64>,
    sequences: VecDeque<u64>,
}

impl Recent {
    /// Takes in an event of command `id` at `sequence`; beyond `max` forgets the oldest command but the first.
    pub(super) fn note(&mut self, id: Uuid, sequence: u64, max: usize) {
        let tag = tag(id);
        // Several events of one command follow each other: the first one counts.
        if self.tags.back() == Some(&tag) {
            return;
        }
        self.tags.push_back(tag);
        self.sequences.push_back(sequence);
        let oldest = usize::from(max > 1);
        while self.tags.len() > max {
            self.tags.remove(oldest);
            self.sequences.remove(oldest);
        }
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        (self.tags.capacity() + self.sequences.capacity()) * size_of::<u64>()
    }

    /// All of them, oldest first: half of the id, and where the first event stands.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, u64)> {
        let sequences = self.sequences.iter().copied();
        self.tags.iter().copied().zip(sequences)
    }

    /// What [`Recent::entries`] gave.
    pub(super) fn from_entries(entries: Vec<(u64, u64)>) -> Self {
        let (tags, sequences) = entries.into_iter().unzip();
        Self { tags, sequences }
    }

    /// Where the first event of command `id` stands, as far as is remembered.
    pub(super) fn find(&self, id: Uuid) -> Option<u64> {
        let tag = tag(id);
        // Hardly ever is it there, and `contains` compares several at once.
        let (older, newer) = self.tags.as_slices();
        if !newer.contains(&tag) && !older.contains(&tag) {
            return None;
        }
        // The newest first: a client repeats what it did just now.
        let index = self.tags.iter().rposition(|known| *known == tag)?;
        self.sequences.get(index).copied()
    }
}

/// The second half: all random in versions 4 and 7, all hash in 5 and 8, but for two bits.
fn tag(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_but_the_first_are_forgotten() {
        let found = |max| {
            let mut recent = Recent::default();
            for n in 1..=5_u64 {
                recent.note(Uuid::from_u64_pair(0, n), n * 10, max);
            }
            [1, 2, 3, 4, 5].map(|n| recent.find(Uuid::from_u64_pair(0, n)))
        };
        assert_eq!(found(3), [Some(10), None, None, Some(40), Some(50)]);
        assert_eq!(found(1), [None, None, None, None, Some(50)]);
        assert_eq!(found(0), [None; 5]);
    }

    #[test]
    fn several_events_of_one_command_are_one() {
        let mut recent = Recent::default();
        let id = Uuid::from_u64_pair(1, 7);
        recent.note(id, 5, 3);
        recent.note(id, 6, 3);
        assert_eq!(recent.find(id), Some(5));
        assert_eq!(recent.tags.len(), 1);
    }
}
