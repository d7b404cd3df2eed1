//! Takes in what a refused request still sends, so that its client gets to read the refusal.
//!
//! A server that answers and closes while the client is still writing resets the connection, and
//! most clients then report a broken pipe instead of the 413 that was on its way (RFC 9112 §9.6).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

/// Most bytes of a refused body that are read and thrown away; who sends more may lose the answer.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest that a refused client is listened to.
pub(crate) const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the part of a request's body that nobody has read comes back to.
pub(crate) struct Rest(Option<oneshot::Receiver<Body>>);

/// The request, and the rest of its body once it has been worked on.
///
/// Nothing comes back of a client that waits to be told to go on (`Expect: 100-continue`, RFC 9110
/// §10.1.1: it hears the refusal instead), nor of one that says that it sends too much.
pub(crate) fn watch(request: Request) -> (Request, Rest) {
    if request.body().is_end_stream() || !is_worth_it(request.headers()) {
        return (request, Rest(None));
    }
    let (back, rest) = oneshot::channel();
    let watched = |body| {
        Body::new(Watched {
            body,
            back: Some(back),
        })
    };
    (request.map(watched), Rest(Some(rest)))
}

fn is_worth_it(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    !headers.contains_key(EXPECT) && length.is_none_or(|length| length <= DISCARDED_BYTES_MAX)
}

impl Rest {
    /// Reads on where `status` refuses a body that nobody has read to its end.
    pub(crate) async fn discard(self, status: StatusCode) {
        if !status.is_client_error() && !status.is_server_error() {
            return;
        }
        // Nothing there: it was read to its end, or somebody reads it still.
        let Some(body) = self.0.and_then(|mut rest| rest.try_recv().ok()) else {
            return;
        };
        let reading = async {
            let mut chunks = body.into_data_stream();
            let mut left = DISCARDED_BYTES_MAX;
            while let Some(Ok(chunk)) = chunks.next().await {
                let Some(less) = left.checked_sub(chunk.len()) else {
                    break;
                };
                left = less;
            }
        };
        // Out of time: the connection is closed behind the answer, as without us.
        let _elapsed = tokio::time::timeout(LINGER_TIME_MAX, reading).await;
    }
}

/// A body that goes back where it came from when it is dropped unread.
struct Watched {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.back = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            return;
        }
        if let Some(back) = self.back.take() {
            // Nobody waits any more: the request was given up.
            let _gone = back.send(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use crate::{Limits, guarded, serve};

    #[derive(serde::Deserialize)]
    struct Anything {}

    async fn connect() -> TcpStream {
        let routes = Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/take", post(|_: crate::Body<Anything>| async { "taken" }));
        let limits = Limits {
            body_bytes_max: 1024,
            ..Limits::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = guarded(routes, &limits);
        tokio::spawn(serve(listener, service, limits, CancellationToken::new()));
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends everything, then reads everything, as a client does that doesn't look up meanwhile.
    async fn talk(stream: &mut TcpStream, request: &[u8]) -> String {
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_sends_too_much_reads_why_and_may_go_on() {
        let mut stream = connect().await;
        let large = 8 * 1024 * 1024;
        let head = format!(
            "POST /take HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {large}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + large, b' ');
        request.extend(b"GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = talk(&mut stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.ends_with("fine"), "{answer}");
    }

    #[tokio::test]
    async fn who_asks_before_sending_is_refused_at_once() {
        let mut stream = connect().await;
        let head = "POST /take HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    expect: 100-continue\r\ncontent-length: 4096\r\n\r\n";
        let answer = talk(&mut stream, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}
