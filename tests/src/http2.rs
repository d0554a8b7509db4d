//! HTTP/2 by hand, for what no library would send: calls without end, messages byte by byte, windows
//! that stay shut.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// Headers, also those at the end.
pub const HEADERS: u8 = 1;
/// The end of one call.
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
/// The end of the connection.
pub const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame of HTTP/2.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The start of a message of gRPC that says it has so many bytes.
#[must_use]
pub fn message(length: u32) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..]].concat()
}

/// A connection over which anything can be said.
pub struct Raw {
    stream: TlsStream<TcpStream>,
    calls: u32,
}

impl Raw {
    /// Opens HTTP/2. `window`: how many bytes of each answer may come before more are asked for.
    pub async fn open(stream: TlsStream<TcpStream>, window: u32) -> Self {
        let mut raw = Self { stream, calls: 0 };
        let settings = [
            &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
            &window.to_be_bytes(),
        ];
        raw.say(PREFACE).await;
        raw.say(&frame(SETTINGS, 0, 0, &settings.concat())).await;
        raw
    }

    /// Says bytes. Whether anybody still listens is seen by what comes.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Begins a call that sends nothing yet; gives the number of its stream.
    pub async fn call(&mut self, method: &str) -> u32 {
        let (stream, bytes) = self.calling(method);
        self.say(&bytes).await;
        stream
    }

    /// The bytes that begin a call.
    pub fn calling(&mut self, method: &str) -> (u32, Vec<u8>) {
        let stream = self.calls * 2 + 1;
        self.calls += 1;
        let path = format!("/tallystick.v1.Exchange/{method}");
        let length = |text: &str| [u8::try_from(text.len()).unwrap()];
        // RFC 7541: POST and http by index, the others as literals that are not kept.
        let block = [
            &[0x83, 0x86, 0x04],
            &length(&path)[..],
            path.as_bytes(),
            b"\x01\x04peer",
            b"\x0f\x10\x10application/grpc",
            b"\x00\x02te\x08trailers",
        ];
        (stream, frame(HEADERS, END_HEADERS, stream, &block.concat()))
    }

    /// Sends bytes of a call.
    pub async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.say(&frame(DATA, 0, stream, bytes)).await;
    }

    /// The next frame: kind, stream, whether it ends the stream. `None` when the connection is
    /// closed.
    pub async fn next(&mut self) -> Option<(u8, u32, bool)> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).await.ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let ends = matches!(header[3], DATA | HEADERS) && header[4] & END_STREAM != 0;
        Some((header[3], stream, ends || header[3] == RST_STREAM))
    }

    /// Waits until the other side has ended a call, or everything.
    ///
    /// # Panics
    /// When it does neither for so long.
    pub async fn ended(&mut self, stream: u32, longest: Duration) {
        let ending = async {
            while let Some((kind, of, ends)) = self.next().await {
                if kind == GOAWAY || (of == stream && ends) {
                    return;
                }
            }
        };
        let ended = timeout(longest, ending).await;
        assert!(ended.is_ok(), "the call is not ended");
    }
}
