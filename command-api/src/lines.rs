//! A body of any length, line by line: never more of it in memory than one line and what the socket
//! gave last.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use edge::{Deadline, Problem};
use futures::StreamExt;

/// Longest line, in bytes, without its line break: the longest texts of a product fit, however they
/// are escaped.
pub(crate) const LINE_BYTES_MAX: usize = 160 * 1024;

/// One line of a body, without its line break.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its first [`LINE_BYTES_MAX`] bytes; the others are forgotten.
    pub(crate) text: Vec<u8>,
    /// How long it is.
    pub(crate) bytes: u64,
}

impl Line {
    /// Is there more of it than [`LINE_BYTES_MAX`] bytes?
    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes > LINE_BYTES_MAX as u64
    }

    /// Is there nothing on it?
    pub(crate) fn is_blank(&self) -> bool {
        !self.is_too_long() && self.text.iter().all(u8::is_ascii_whitespace)
    }

    fn push(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.text.len());
        self.text
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
    }
}

/// The lines that are still to come.
pub(crate) struct Lines {
    source: BodyDataStream,
    deadline: Deadline,
    /// What the socket gave last and no line has taken yet.
    rest: Bytes,
    /// The line in the making.
    line: Line,
}

impl Lines {
    /// The lines of `body`; each piece of it moves the request's deadline, and each line.
    pub(crate) fn of(body: Body, deadline: Deadline) -> Self {
        Self {
            source: body.into_data_stream(),
            deadline,
            rest: Bytes::new(),
            line: Line::default(),
        }
    }

    /// The next line; `None` = that was the last one. A last line may lack its line break.
    ///
    /// # Errors
    /// The body broke off, or nothing came for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            if let Some(line) = self.take() {
                // The socket may give many at once, and each takes its time.
                self.deadline.extend();
                return Ok(Some(line));
            }
            let piece = tokio::time::timeout(self.patience(), self.source.next()).await;
            self.deadline.extend();
            match piece {
                Ok(Some(Ok(piece))) => self.rest = piece,
                Ok(None) if self.line.bytes == 0 => return Ok(None),
                Ok(None) => return Ok(Some(std::mem::take(&mut self.line))),
                Ok(Some(Err(_))) => return Err(Problem::malformed("the body broke off")),
                Err(_elapsed) => return Err(Problem::malformed("the body stalled")),
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let piece = self.rest.split_to(end.unwrap_or(self.rest.len()));
        self.line.push(&piece);
        end?;
        // The line break itself.
        let _ = self.rest.split_to(1);
        Some(std::mem::take(&mut self.line))
    }

    /// A little less than the request's own, so that a stall is told as one.
    fn patience(&self) -> Duration {
        self.deadline.time().mul_f64(0.9)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::extract::FromRequestParts;
    use axum::http::Request;
    use futures::stream;

    use super::*;

    async fn lines(pieces: &[&[u8]]) -> Lines {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = Body::from_stream(stream::iter(pieces));
        let mut parts = Request::new(()).into_parts().0;
        let Ok(deadline) = Deadline::from_request_parts(&mut parts, &()).await;
        Lines::of(body, deadline)
    }

    async fn all(pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = lines(pieces).await;
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    fn texts(lines: &[Line]) -> Vec<&[u8]> {
        lines.iter().map(|line| line.text.as_slice()).collect()
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_body_is_cut() {
        let body = b"one\n\ntwo\r\nlast";
        let whole = all(&[body]).await;
        assert_eq!(texts(&whole), [b"one".as_slice(), b"", b"two\r", b"last"]);
        assert!(whole[1].is_blank() && !whole[2].is_blank());
        for cut in 0..=body.len() {
            let (first, second) = body.split_at(cut);
            assert_eq!(all(&[first, second]).await, whole, "cut at {cut}");
        }
        assert_eq!(all(&[b"one\n"]).await.len(), 1);
        assert_eq!(all(&[]).await, []);
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_more_memory_than_the_bound() {
        let piece = vec![b'x'; 64 * 1024];
        let mut pieces = vec![piece.as_slice(); 100];
        pieces.push(b"\nnext\n");
        let lines = all(&pieces).await;
        assert_eq!(lines.len(), 2);
        assert!(lines[0].is_too_long());
        assert_eq!(lines[0].bytes, 100 * 64 * 1024);
        assert_eq!(lines[0].text.len(), LINE_BYTES_MAX);
        assert_eq!(lines[1].text, b"next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let mut parts = Request::new(()).into_parts().0;
        let Ok(deadline) = Deadline::from_request_parts(&mut parts, &()).await;
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"one\ntw"))]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let mut lines = Lines::of(body, deadline);
        assert_eq!(lines.next().await.unwrap().unwrap().text, b"one");
        let stalled = lines.next().await.unwrap_err();
        assert_eq!(stalled.detail, "the body stalled");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_came_at_once_have_their_time_each() {
        let mut parts = Request::new(()).into_parts().0;
        let Ok(deadline) = Deadline::from_request_parts(&mut parts, &()).await;
        let body = Body::from("1\n2\n3\n4\n");
        let mut lines = Lines::of(body, deadline.clone());
        let work = async {
            let mut count = 0;
            while lines.next().await.unwrap().is_some() {
                tokio::time::sleep(deadline.time().mul_f64(0.9)).await;
                count += 1;
            }
            count
        };
        assert_eq!(deadline.within(work).await, Some(4));
    }
}
