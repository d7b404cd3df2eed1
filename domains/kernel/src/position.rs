//! Where in a stream, and the token that lets a reader wait for its own write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most positions in one token: one for each stream, and some to spare.
const TOKEN_POSITIONS_MAX: usize = 16;

/// Longest stream name in a token, in bytes.
const STREAM_NAME_LENGTH_MAX: usize = 32;

/// A place in a stream, written `ORDER:1042`. Positions of two streams don't compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The stream's name, upper case.
    pub stream: String,
    /// The stream sequence, from 1; 0 = before the first event.
    pub sequence: u64,
}

impl Position {
    /// Place `sequence` of `stream`.
    pub fn new(stream: impl Into<String>, sequence: u64) -> Self {
        Self {
            stream: stream.into(),
            sequence,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.sequence)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stream, sequence) = text.split_once(':').ok_or(PositionError::Malformed)?;
        let named = (1..=STREAM_NAME_LENGTH_MAX).contains(&stream.len())
            && stream.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let digits = !sequence.is_empty() && sequence.bytes().all(|b| b.is_ascii_digit());
        if !named || !digits {
            return Err(PositionError::Malformed);
        }
        let sequence = sequence.parse().map_err(|_| PositionError::Malformed)?;
        Ok(Self::new(stream, sequence))
    }
}

impl TryFrom<String> for Position {
    type Error = PositionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

/// What a write answers and a read may send: `ORDER:1042,PAYMENT:77`, one position a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyToken(Vec<Position>);

impl ConsistencyToken {
    /// The positions, in the order in which they were named.
    pub fn positions(&self) -> &[Position] {
        &self.0
    }

    /// The sequence to wait for in `stream`, if it is named.
    pub fn sequence(&self, stream: &str) -> Option<u64> {
        self.0
            .iter()
            .find(|p| p.stream == stream)
            .map(|p| p.sequence)
    }
}

impl From<Position> for ConsistencyToken {
    fn from(position: Position) -> Self {
        Self(vec![position])
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, position) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{position}")?;
        }
        Ok(())
    }
}

impl FromStr for ConsistencyToken {
    type Err = PositionError;

    /// A stream named twice means the later of its positions.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut token = Self::default();
        for part in text.split(',') {
            let position: Position = part.trim().parse()?;
            if let Some(known) = token.0.iter_mut().find(|p| p.stream == position.stream) {
                known.sequence = known.sequence.max(position.sequence);
            } else {
                token.0.push(position);
            }
        }
        if token.0.len() > TOKEN_POSITIONS_MAX {
            return Err(PositionError::TooMany);
        }
        Ok(token)
    }
}

/// Why a text is no position or token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PositionError {
    /// Not `STREAM:sequence`.
    #[error("a position is written STREAM:sequence, as in ORDER:1042")]
    Malformed,
    /// More positions than there are streams.
    #[error("a token names at most {TOKEN_POSITIONS_MAX} streams")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips() {
        let token: ConsistencyToken = "ORDER:1042, PAYMENT:77,ORDER:9".parse().unwrap();
        assert_eq!(token.to_string(), "ORDER:1042,PAYMENT:77");
        assert_eq!(token.sequence("PAYMENT"), Some(77));
        assert_eq!(token.sequence("USER"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "", "ORDER", "ORDER:", "ORDER:-1", "order:1", "ORDER:1,", "ORDER:+1",
        ] {
            assert!(bad.parse::<ConsistencyToken>().is_err(), "{bad:?}");
        }
    }
}
