use tallystick_protocol::identifiers::normalise;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn known(types: &[&str]) -> Arc<Known> {
    let profile = Arc::new(Profile::exact().clone());
    Arc::new(Known {
        tables: profile.tables_hash(),
        profile,
        types: types.iter().map(|ty| name(ty)).collect(),
        covers: None,
    })
}

/// A job of so many keys of each type, and its receiver.
fn job(keys: &[usize]) -> (Job, oneshot::Receiver<Reply>) {
    let key = |n: usize| Key {
        rule: Rule::Exact,
        normalised: normalise(IdentifierType::Document, &[&format!("N{n}"), "UTO"])
            .unwrap()
            .unwrap(),
    };
    let (reply, receiver) = oneshot::channel();
    let keys = keys.iter().map(|count| (0..*count).map(key).collect());
    let job = Job {
        keys: keys.collect(),
        known: known(&["document", "person"]),
        reply,
    };
    (job, receiver)
}

fn sizes() -> Sizes {
    let ty = |text: &str, each: u64| TypeSizes {
        name: name(text),
        sizes: TRAVELLERS.iter().map(|n| n * each).collect(),
    };
    Sizes(vec![ty("document", 1), ty("person", 2)])
}

fn chosen(jobs: Vec<Job>, left: u64) -> (Option<(usize, usize)>, usize) {
    let mut waiting: VecDeque<Job> = jobs.into();
    let choice = choose(&mut waiting, &sizes(), |_| left);
    (
        choice.map(|(level, jobs)| (level, jobs.len())),
        waiting.len(),
    )
}

fn many(count: usize, keys: &[usize]) -> (Vec<Job>, Vec<oneshot::Receiver<Reply>>) {
    (0..count).map(|_| job(keys)).unzip()
}

#[test]
fn few_go_in_a_small_flight_and_many_in_the_largest_that_is_half_full() {
    let plenty = 1 << 20;
    for (count, level, taken) in [
        (0, 0, 0),
        (1, 0, 1),
        (8, 0, 8),
        (9, 0, 8),
        (32, 0, 8),
        (33, 1, 33),
        (64, 1, 64),
        (256, 1, 64),
        (257, 2, 257),
        (600, 2, 512),
    ] {
        let (jobs, _receivers) = many(count, &[1, 1]);
        let (choice, left) = chosen(jobs, plenty);
        assert_eq!(choice, Some((level, taken)), "{count}");
        assert_eq!(left, count - taken, "{count}");
    }
}

#[test]
fn one_with_many_keys_takes_the_room_it_needs() {
    let (mut jobs, mut receivers) = many(1, &[1, 100]);
    let (choice, _) = chosen(std::mem::take(&mut jobs), 1 << 20);
    assert_eq!(choice, Some((1, 1)));
    // More than any flight has room for: said, and the next one is asked.
    let (big, mut told) = job(&[1, 1025]);
    let (small, _small) = job(&[1, 1]);
    let (choice, _) = chosen(vec![big, small], 1 << 20);
    assert_eq!(choice, Some((0, 1)));
    let Ok(Reply::Missing(trouble)) = told.try_recv() else {
        panic!("not told");
    };
    assert_eq!(trouble.code, "too-many-keys");
    receivers.clear();
}

#[test]
fn what_is_left_bounds_the_flight_and_ends_the_session() {
    let (jobs, _receivers) = many(600, &[1, 1]);
    // The person's small flight has 16 elements.
    assert_eq!(chosen(jobs, 127).0, Some((0, 8)));
    let (jobs, _receivers) = many(1, &[1, 1]);
    assert_eq!(chosen(jobs, 15).0, None);
}

#[test]
fn who_has_gone_is_not_asked() {
    let (jobs, receivers) = many(3, &[1, 0]);
    drop(receivers);
    assert_eq!(chosen(jobs, 1 << 20).0, Some((0, 0)));
}

#[test]
fn a_flight_is_full_whoever_is_in_it_and_says_where_each_key_stands() {
    let session = Hex([3; 16]);
    let seed = SessionSeed::new([4; 32]);
    let mut firsts = Vec::new();
    for count in [0, 1, 5, 8] {
        let (jobs, _receivers) = many(count, &[1, 2]);
        let flight = Flight::pack(&sizes(), 0, jobs, (&session, &seed), |_| 40).unwrap();
        let lengths: Vec<usize> = flight.chunks.iter().map(|c| c.elements.len()).collect();
        assert_eq!(lengths, [8, 16]);
        for (at, chunk) in flight.chunks.iter().enumerate() {
            assert_eq!(
                (chunk.first_index, chunk.owners.len()),
                (40, chunk.elements.len())
            );
            let real = chunk.owners.iter().flatten().count();
            assert_eq!(real, count * (at + 1));
            for (owner, bytes) in chunk.owners.iter().zip(chunk.elements.iter()) {
                let element = owner.map(|owner| {
                    let keys = &flight.jobs[owner.job as usize].keys[at];
                    keys[owner.key as usize].normalised.element.as_bytes()
                });
                match element {
                    Some(element) => assert_eq!(bytes, element),
                    None => assert!(bytes.starts_with(b"\x01\x07padding")),
                }
            }
        }
        if count == 1 {
            firsts = flight.chunks[1].owners.clone();
        }
    }
    // Places are drawn: the same place for both keys 40 times in a row is no chance.
    let elsewhere = (0..40).any(|_| {
        let (jobs, _receivers) = many(1, &[1, 2]);
        let flight = Flight::pack(&sizes(), 0, jobs, (&session, &seed), |_| 40).unwrap();
        flight.chunks[1].owners != firsts
    });
    assert!(elsewhere);
}

#[test]
fn sizes_follow_from_profile_and_types_and_fit_a_chunk() {
    let offered = ["document", "holder", "iban", "person"].map(name);
    let exact = Sizes::offered(Profile::exact(), offered.iter()).unwrap();
    let types: Vec<&str> = exact.types().iter().map(|ty| ty.name.as_str()).collect();
    assert_eq!(types, ["document", "holder", "person"]);
    assert!(exact.types().iter().all(|ty| ty.sizes == [8, 64, 512]));
    let wide = Profile::built_in("eu-wide").unwrap();
    let wide = Sizes::offered(&wide, offered.iter()).unwrap();
    assert_eq!(wide.types()[0].sizes, [8, 64]);
    assert_eq!(wide.types()[2].sizes, [8 * 256, 64 * 256]);
    assert!(Sizes::offered(Profile::exact(), [name("iban")].iter()).is_none());
    // A request for fewer flights than a large one needs does not name it.
    let queries = exact.queries(Profile::exact(), 63).unwrap();
    assert_eq!(queries[0].elements.get(), 504);
    let named: Vec<u64> = queries[0]
        .flights
        .iter()
        .flatten()
        .map(|n| n.get())
        .collect();
    assert_eq!(named, [8, 64]);
}
