//! What whoever sees a shift's frames sees: the same, whoever comes.

use std::time::Duration;

use tallystick_client::desk::{DeskOptions, Presented};
use tallystick_protocol::frame::{Frame, Kind};
use tallystick_tests::{
    forge::elements,
    tamper::{Keys, Middle},
};

use super::{Post, family, hits, only, traveller};

/// Kinds and lengths of chunks, in their order.
fn shape(frames: &[Vec<u8>]) -> Vec<(u8, usize)> {
    let chunks = [Kind::BlindedChunk as u8, Kind::EvaluatedChunk as u8];
    let kinds = frames.iter().map(|frame| (frame[0], frame.len()));
    kinds.filter(|(kind, _)| chunks.contains(kind)).collect()
}

/// What a desk that watches sends for some travellers, one after the other if so.
async fn seen(post: &Post, keys: &std::sync::Arc<Keys>, travellers: &[Presented]) -> Vec<Vec<u8>> {
    let middle = Middle::tampering(keys, Vec::new()).await;
    let desk = post.open(post.options(middle.address)).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    let answers = desk.answers_all(travellers).await;
    for answer in &answers {
        let _ = hits(&answer[0]);
    }
    post.all_is_well(&desk.close().await.unwrap());
    middle.passed()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_traveller_a_family_and_nobody_look_the_same() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let (holder, asker) = (post.place.home("holder"), post.place.home("asker"));
    let keys = Keys::new(&holder, asker, serving.address).await;
    let one = seen(&post, &keys, &[traveller("W1", &family(1))]).await;
    let name =
        Presented::from_line(r#"{"surname":"Berg","given_names":"Bo","birth_date":"1980-01-02"}"#);
    let by_name = seen(&post, &keys, &[name.unwrap()]).await;
    // One chunk of either type, 8 elements each, both ways.
    assert_eq!(shape(&one).len(), 4);
    for frame in one.iter().filter(|f| f[0] == Kind::BlindedChunk as u8) {
        assert_eq!(
            elements(&Frame::from_bytes(frame.clone()).unwrap()).len(),
            8
        );
    }
    assert_eq!(shape(&one), shape(&by_name));
    // Nobody: a flight because it is time for one.
    let middle = Middle::tampering(&keys, Vec::new()).await;
    let options = DeskOptions {
        cover: Some(Duration::from_millis(700)),
        ..post.options(middle.address)
    };
    let desk = post.open(options).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let report = desk.close().await.unwrap();
    let flights = only(&report).sessions[0].charged[0].elements.get() / 8;
    assert!(flights >= 1, "{report:?}");
    post.all_is_well(&report);
    let nobody = shape(&middle.passed());
    assert_eq!(nobody.len() as u64, 4 * flights);
    let mut sorted = shape(&one);
    sorted.sort_unstable();
    let mut first: Vec<_> = nobody[..4].to_vec();
    first.sort_unstable();
    assert_eq!(first, sorted);
    // A family that comes together, in as many flights as it may need: each is a small one.
    let family: Vec<_> = (1..5)
        .map(|n| traveller(&format!("W{n}"), "Berg"))
        .collect();
    let together = seen(&post, &keys, &family).await;
    let lengths: std::collections::BTreeSet<_> = shape(&one).into_iter().collect();
    assert!(shape(&together).iter().all(|chunk| lengths.contains(chunk)));
    // Closings differ in nothing but what is random: hit or not.
    let closing = |frames: &[Vec<u8>]| {
        let mut kinds = frames
            .iter()
            .filter(|f| f[0] == Kind::ReceiverClosing as u8);
        kinds.next().unwrap().len()
    };
    assert_eq!(closing(&one), closing(&by_name));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_fixed_times_a_traveller_changes_neither_times_nor_sizes() {
    let post = Post::new();
    let serving = post.place.serve("holder");
    let (holder, asker) = (post.place.home("holder"), post.place.home("asker"));
    let keys = Keys::new(&holder, asker, serving.address).await;
    let middle = Middle::tampering(&keys, Vec::new()).await;
    let options = DeskOptions {
        cover: Some(Duration::from_millis(200)),
        ..post.options(middle.address)
    };
    let desk = post.open(options).await;
    assert!(desk.ready(Duration::from_secs(20)).await);
    for n in 0..3 {
        let on = traveller(&format!("W{n}"), "Berg");
        assert_eq!(hits(&desk.answers(&on).await[0]).len(), 1);
    }
    let report = desk.close().await.unwrap();
    let flights = only(&report).sessions[0].charged[0].elements.get() / 8;
    assert!(flights >= 3);
    let shapes = shape(&middle.passed());
    let lengths: std::collections::BTreeSet<_> = shapes.iter().collect();
    // A question says its type; answers are alike.
    assert_eq!(lengths.len(), 3, "{lengths:?}");
    post.all_is_well(&report);
}
