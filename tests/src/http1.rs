//! HTTP/1.1 by hand: any request, also wrong ones, and its answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// Whoever takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status code; 0 if the connection was closed without an answer.
    pub status: u16,
    /// Names in small letters, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends these bytes and reads one answer.
#[must_use]
pub fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    // It may answer, and close, before it has read all.
    let _ = stream.write_all(request);
    read(stream)
}

/// Sends a request of this shape; `headers` are whole lines.
#[must_use]
pub fn request(address: SocketAddr, line: &str, headers: &[&str], body: Option<&str>) -> Answer {
    let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if let Some(body) = body {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body.unwrap_or_default();
    send(address, text.as_bytes())
}

/// Reads one answer.
#[must_use]
pub fn read(stream: TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut answer = Answer {
        status: 0,
        headers: Vec::new(),
        body: String::new(),
    };
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return answer;
    }
    answer.status = line.split(' ').nth(1).unwrap().parse().unwrap();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        answer.headers.push((name, value.trim().to_owned()));
    }
    let length = answer.header("content-length");
    let length: u64 = length.map_or(u64::MAX, |length| length.parse().unwrap());
    // A connection may be reset behind the last byte.
    let _ = reader.take(length).read_to_string(&mut answer.body);
    answer
}
