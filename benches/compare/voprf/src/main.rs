//! Blinds, evaluates in batches, proves, verifies and finalizes so many elements: the `voprf` crate.

use rand_core::OsRng;
use voprf::{Ristretto255, VoprfClient, VoprfServer};

const CHUNK: usize = 8192;

fn main() {
    let size: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1 << 16);
    let server = VoprfServer::<Ristretto255>::new(&mut OsRng).expect("a key");
    let numbers: Vec<[u8; 8]> = (0..size as u64).map(u64::to_be_bytes).collect();
    let mut outputs = 0;
    for chunk in numbers.chunks(CHUNK) {
        let blinded: Vec<_> = chunk
            .iter()
            .map(|input| VoprfClient::<Ristretto255>::blind(input, &mut OsRng).expect("a blind"))
            .collect();
        let messages: Vec<_> = blinded.iter().map(|blind| blind.message.clone()).collect();
        let answer = server.batch_blind_evaluate(&mut OsRng, &messages).expect("evaluations");
        let clients: Vec<_> = blinded.into_iter().map(|blind| blind.state).collect();
        let inputs: Vec<&[u8]> = chunk.iter().map(<[u8; 8]>::as_slice).collect();
        let finalized = VoprfClient::batch_finalize(
            &inputs,
            &clients,
            &answer.messages,
            &answer.proof,
            server.get_public_key(),
        );
        outputs += finalized.expect("a proof").filter(Result::is_ok).count();
    }
    assert_eq!(outputs, size);
}
