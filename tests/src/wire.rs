//! A connection that sends the frames it is given, whatever they are.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use tallystick_agency::{
    home::Home,
    tls::{self, PinSet},
};
use tallystick_protocol::frame::Frame;
use tallystick_wire::{Envelope, exchange_client::ExchangeClient};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

/// An open session call.
#[derive(Debug)]
pub struct Call {
    out: mpsc::Sender<Envelope>,
    inbound: Streaming<Envelope>,
}

/// Connects as `home` to its peer `peer`, over the TLS that the programs use.
pub async fn connect(home: &Home, peer: &str, address: SocketAddr) -> ExchangeClient<Channel> {
    ExchangeClient::new(channel(home, peer, address).await)
}

/// The TLS that the programs use, from `home` to its peer `peer`.
pub async fn connector(home: &Home, peer: &str) -> TlsConnector {
    let store = home.store().await.unwrap();
    let pins = Arc::new(PinSet::new());
    pins.refresh(&store).await.unwrap();
    let config = tls::client_config(&home.tls_identity().unwrap(), pins, peer).unwrap();
    TlsConnector::from(Arc::new(config))
}

/// The bare connection, for other services.
pub async fn channel(home: &Home, peer: &str, address: SocketAddr) -> Channel {
    let connector = connector(home, peer).await;
    let connector = service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let stream = connector.connect(tls::server_name(), stream).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://peer");
    let channel = endpoint.connect_with_connector(connector).await;
    channel.unwrap()
}

/// Opens a session call whose first flight is `first`.
///
/// # Errors
/// The peer's status.
pub async fn call(client: &mut ExchangeClient<Channel>, first: &Frame) -> Result<Call, Status> {
    let (out, frames) = mpsc::channel(64);
    out.send(first.clone().into()).await.unwrap();
    let answer = client.session(ReceiverStream::new(frames)).await?;
    Ok(Call {
        out,
        inbound: answer.into_inner(),
    })
}

impl Call {
    /// Sends a frame; a peer that has ended the call is noticed by [`Self::next`].
    pub async fn send(&self, frame: &Frame) {
        let _ = self.out.send(frame.clone().into()).await;
    }

    /// The peer's next frame; `None` at the end.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn next(&mut self) -> Result<Option<Frame>, Status> {
        let envelope = self.inbound.message().await?;
        Ok(envelope.map(|envelope| Frame::try_from(envelope).unwrap()))
    }
}
