//! What a desk does for whoever stands before it: the command, the endpoint, tests.

use tonic::async_trait;

use super::{Desk, DeskStatus, LinkState, Presented, Verdict};

/// Something that answers about documents: a desk, or in tests something that says what it is told to.
#[async_trait]
pub trait Answering: Send + Sync + 'static {
    /// The verdict on one document. Never fails: what is missing stands in the verdict.
    async fn ask(&self, presented: &Presented) -> Verdict;

    /// The verdicts on many, in their order. Each is told the time until all were there.
    async fn ask_all(&self, presented: &[Presented]) -> Vec<Verdict>;

    /// How it stands, with each collection in the order in which it was named.
    fn status(&self) -> DeskStatus;
}

#[async_trait]
impl Answering for Desk {
    async fn ask(&self, presented: &Presented) -> Verdict {
        self.ask(presented).await
    }

    async fn ask_all(&self, presented: &[Presented]) -> Vec<Verdict> {
        self.ask_all(presented).await
    }

    fn status(&self) -> DeskStatus {
        self.status()
    }
}

impl Desk {
    /// Whether a list is being opened for the first time: not ready, and nothing wrong with it yet.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        let status = self.status();
        let mut all = status.collections.iter();
        all.any(|one| one.state == LinkState::Opening && one.trouble.is_none())
    }
}
