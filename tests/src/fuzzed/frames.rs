//! The frame reader: any stream, cut into reads in any way.

use std::io::{self, Read};

use tallystick_protocol::frame::{
    Frame, FrameReader, HEADER_BYTES, Kind, MAX_FRAME_BYTES, ReadError,
};

use super::{input::Input, world::honest};

/// Gives its bytes in pieces of decided sizes, with interruptions between.
struct Pieces<'a> {
    sizes: Vec<u8>,
    turn: usize,
    rest: &'a [u8],
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let size = self.sizes[self.turn % self.sizes.len()];
        if size == 0 && self.turn.is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = usize::from(size)
            .max(1)
            .min(buffer.len())
            .min(self.rest.len());
        let (head, rest) = self.rest.split_at(n);
        buffer[..n].copy_from_slice(head);
        self.rest = rest;
        Ok(n)
    }
}

/// All frames of a stream, the bytes they take, and whether it ended cleanly.
fn read(stream: impl Read) -> (Vec<Frame>, u64, bool) {
    let mut reader = FrameReader::new(stream);
    let mut frames = Vec::new();
    let clean = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break true,
            Err(ReadError::Frame(_)) => break false,
            Err(ReadError::Io(error)) => panic!("no read fails here: {error}"),
        }
    };
    (frames, reader.offset(), clean)
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let sizes = vec![input.u8(), input.u8(), input.u8() % 8];
    let stream = input.rest();
    let (frames, taken, clean) = read(stream);
    let pieces = Pieces {
        sizes,
        turn: 0,
        rest: stream,
    };
    assert_eq!(
        read(pieces),
        (frames.clone(), taken, clean),
        "reads in pieces"
    );

    let taken = usize::try_from(taken).unwrap();
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.bytes().to_vec())
        .collect();
    assert_eq!(bytes, &stream[..taken], "frames are the bytes they came in");
    assert_eq!(clean, taken == stream.len(), "no byte is left over");
    for frame in &frames {
        assert!(frame.bytes().len() <= MAX_FRAME_BYTES);
        assert_eq!(frame.body(), &frame.bytes()[HEADER_BYTES..]);
        assert_eq!(Frame::new(frame.kind(), frame.body()).as_ref(), Ok(frame));
        assert_eq!(
            Frame::from_bytes(frame.bytes().to_vec()).as_ref(),
            Ok(frame)
        );
    }
    // Bytes are one frame if and only if the stream is.
    let one = frames.len() == 1 && clean;
    assert_eq!(Frame::from_bytes(stream.to_vec()).is_ok(), one);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let record: Vec<u8> = honest(0)
        .record()
        .iter()
        .flat_map(|f| f.bytes().to_vec())
        .collect();
    let empty = Frame::new(Kind::SnapshotBucket, b"").unwrap();
    vec![
        [&[3, 0, 1], &record[..2000]].concat(),
        [&[1, 1, 1], empty.bytes(), empty.bytes()].concat(),
        b"\x01\x01\x01\x10\0\0\0\x03abc".to_vec(),
        b"\x01\x01\x01\x41\0\x40\0\x01abc".to_vec(),
    ]
}
