//! What goes back over the connection: a whole answer, or the ways in which an answer can fail to arrive.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::time::Sleep;

use super::problem::reason;
use super::server::Busy;

/// An answer as it is meant.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn of(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, headers: Vec::new(), body }
    }

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        Self::of(status, "application/json", serde_json::to_vec(body).unwrap_or_default())
    }

    pub(super) fn html(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::of(status, "text/html; charset=UTF-8", body.into())
    }

    /// What a proxy in front of the platform says.
    pub(super) fn proxy(status: u16) -> Self {
        let line = format!("{status} {}", reason(status));
        Self::of(
            status,
            "text/html",
            format!(
                "<html>\r\n<head><title>{line}</title></head>\r\n<body>\r\n<center><h1>{line}</h1></center>\r\n\
                 <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
            )
            .into_bytes(),
        )
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::of(status, "", Vec::new())
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The whole answer.
    pub(super) fn whole(self) -> Response<Reply> {
        self.head(|body| (body.len(), Reply::Whole(Some(body))))
    }

    /// The head of the whole answer and only `keep` bytes of its body.
    pub(super) fn truncated(self, keep: Option<usize>, busy: Busy) -> Response<Reply> {
        self.head(|body| {
            let keep = keep.unwrap_or(body.len() / 2).min(body.len().saturating_sub(1));
            let paced = Paced::new(VecDeque::from([body.slice(..keep)]), FLUSH, true, busy);
            (body.len().max(1), Reply::Paced(Box::new(paced)))
        })
    }

    /// The whole answer in pieces of `bytes`, `gap` apart.
    pub(super) fn dripped(self, bytes: usize, gap: Duration, busy: Busy) -> Response<Reply> {
        self.head(|body| {
            let starts = (0..body.len()).step_by(bytes.max(1));
            let pieces = starts.map(|at| body.slice(at..body.len().min(at.saturating_add(bytes)))).collect();
            (body.len(), Reply::Paced(Box::new(Paced::new(pieces, gap, false, busy))))
        })
    }

    fn head(self, reply: impl FnOnce(Bytes) -> (usize, Reply)) -> Response<Reply> {
        let (length, reply) = reply(Bytes::from(self.body));
        let mut response = Response::new(reply);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.extend(self.headers);
        response
    }
}

/// How long a cut body waits before the cut, so that what was sent is on its way.
const FLUSH: Duration = Duration::from_millis(10);

/// A body on its way.
pub(super) enum Reply {
    /// At once.
    Whole(Option<Bytes>),
    /// In pieces.
    Paced(Box<Paced>),
}

pub(super) struct Paced {
    pieces: VecDeque<Bytes>,
    gap: Duration,
    cut: bool,
    sleep: Pin<Box<Sleep>>,
    /// The connection is not idle before the last piece.
    _busy: Busy,
}

impl Paced {
    fn new(pieces: VecDeque<Bytes>, gap: Duration, cut: bool, busy: Busy) -> Self {
        Self { pieces, gap, cut, _busy: busy, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        std::task::ready!(self.sleep.as_mut().poll(cx));
        match self.pieces.pop_front() {
            Some(piece) => {
                self.sleep.as_mut().reset(tokio::time::Instant::now() + self.gap);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if self.cut => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            None => Poll::Ready(None),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(body) => {
                Poll::Ready(body.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Paced(paced) => paced.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Paced(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Paced(_) => SizeHint::default(),
        }
    }
}
