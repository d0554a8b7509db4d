//! The frames of a session: live from the peer, or from the own closed record.

use std::{collections::VecDeque, fs::File, io::BufReader, path::Path};

use tallystick_agency::{
    AgencyError,
    exit::{Exit, Failure, Outcome},
    tls,
};
use tallystick_protocol::frame::{Frame, FrameReader};
use tallystick_wire::Envelope;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    connect::{Connected, Patience, Trouble},
    error::bug,
};

/// Frames on their way out: as many as may be unanswered, and request and closing, so that sending
/// never waits for a peer that itself waits to be read.
const QUEUE: usize = 66;

/// Where frames go and come from.
pub(crate) enum Flights {
    /// A peer.
    Live {
        out: mpsc::Sender<Envelope>,
        inbound: Streaming<Envelope>,
        trouble: Trouble,
        patience: Patience,
    },
    /// A record: what is sent must be what was sent, and what was answered then is the answer.
    Stored {
        reader: FrameReader<BufReader<File>>,
        asked: VecDeque<Frame>,
    },
}

impl Flights {
    /// Opens a session with a peer; the request is the first frame. `charged` says what was charged
    /// should nothing come back.
    pub(crate) async fn open(
        connected: &mut Connected,
        request: Frame,
        charged: &str,
    ) -> Outcome<Self> {
        let (out, outbound) = mpsc::channel::<Envelope>(QUEUE);
        let first = out.send(request.into()).await;
        first.map_err(|_| bug("the stream ended before it began"))?;
        let (trouble, patience) = (connected.trouble.clone(), connected.patience);
        let opening = async {
            let call = connected.client.session(ReceiverStream::new(outbound));
            call.await
                .map_err(|status| lost(&trouble, &status, charged))
        };
        let inbound = patience.wait(charged, opening).await?.into_inner();
        Ok(Self::Live {
            out,
            inbound,
            trouble,
            patience,
        })
    }

    /// Opens the closed record of a session, and gives its request and grant.
    pub(crate) fn replay(path: &Path) -> Outcome<(Self, Frame, Frame)> {
        let file = File::open(path).map_err(|source| {
            Failure::from(AgencyError::Io {
                action: "open",
                path: path.to_owned(),
                source,
            })
        })?;
        let mut reader = FrameReader::new(BufReader::new(file));
        let _header = stored(&mut reader)?;
        let (request, grant) = (stored(&mut reader)?, stored(&mut reader)?);
        Ok((
            Self::Stored {
                reader,
                asked: VecDeque::new(),
            },
            request,
            grant,
        ))
    }

    /// Sends a frame. That the peer is gone is said by [`Self::next`], with its reason.
    pub(crate) async fn send(&mut self, frame: Frame) {
        match self {
            Self::Live { out, .. } => {
                let _ = out.send(frame.into()).await;
            }
            Self::Stored { asked, .. } => asked.push_back(frame),
        }
    }

    /// What a peer says next that need not say anything now, not looked at yet. Cancel-safe.
    pub(crate) async fn heard(&mut self, charged: &str) -> Outcome<Envelope> {
        match self {
            Self::Live {
                inbound, trouble, ..
            } => message(inbound, trouble, charged).await,
            Self::Stored { .. } => Ok(self.next(charged).await?.into()),
        }
    }

    /// The next frame of the other side. `charged` says what was charged should it not come.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self, charged: &str) -> Outcome<Frame> {
        match self {
            Self::Live {
                inbound,
                trouble,
                patience,
                ..
            } => {
                patience
                    .wait(charged, live(inbound, trouble, charged))
                    .await
            }
            Self::Stored { reader, asked } => {
                if let Some(asked) = asked.pop_front()
                    && stored(reader)? != asked
                {
                    return Err(bug("the same seed gave another chunk than in the record"));
                }
                stored(reader)
            }
        }
    }
}

fn stored(reader: &mut FrameReader<BufReader<File>>) -> Outcome<Frame> {
    match reader.next_frame() {
        Ok(Some(frame)) => Ok(frame),
        _ => Err(Failure::new(
            Exit::Verification,
            "record-damaged",
            "the own record of this session is damaged",
            "move it away; the same command then starts a new session, which is charged",
        )),
    }
}

async fn live(
    inbound: &mut Streaming<Envelope>,
    trouble: &Trouble,
    charged: &str,
) -> Outcome<Frame> {
    let envelope = message(inbound, trouble, charged).await?;
    Ok(Frame::try_from(envelope).map_err(AgencyError::from)?)
}

async fn message(
    inbound: &mut Streaming<Envelope>,
    trouble: &Trouble,
    charged: &str,
) -> Outcome<Envelope> {
    let message = inbound.message().await;
    let message = message.map_err(|status| lost(trouble, &status, charged))?;
    message.ok_or_else(|| {
        Failure::new(
            Exit::Network,
            "network",
            format!("the peer ended the session early ({charged})"),
            "run the same command again to go on where it stopped",
        )
    })
}

/// A status that came instead of a frame: the peer's own word, or the transport's that there is no
/// connection any more, under whatever code.
fn lost(trouble: &Trouble, status: &Status, charged: &str) -> Failure {
    let failure = trouble.failure(status, charged);
    match std::error::Error::source(status) {
        Some(source) if matches!(tls::classify(source), AgencyError::Network(_)) => Failure::new(
            Exit::Network,
            "network",
            format!("the connection to the peer broke ({charged})"),
            "run the same command again to go on where it stopped",
        ),
        _ => failure,
    }
}
