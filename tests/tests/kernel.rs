//! Which kernel the programs use, who may choose it, and where it is shown.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tallystick_protocol::group;
use tallystick_tests::{
    kernel,
    place::{Place, object},
    running::failure,
};

#[test]
fn version_shows_the_kernel_and_why() {
    let mut place = Place::new();
    for program in ["tally", "tallyd"] {
        let says = |place: &Place, line: &str, start: &str, end: &str| {
            let ended = place.run(line);
            assert_eq!(ended.code, 0, "{line}: {}", ended.err);
            let (first, second) = ended.out.split_once('\n').unwrap();
            assert!(first.starts_with(&format!("{program} 0.1.0 (")), "{first}");
            assert!(
                second.starts_with(start) && second.ends_with(end),
                "{line}: {second}"
            );
        };
        let used = format!("kernel: {} (", kernel().name());
        says(&place, &format!("{program} --version"), &used, ")\n");
        for line in ["--kernel dalek --version", "--kernel=dalek -V"] {
            let line = format!("{program} {line}");
            says(
                &place,
                &line,
                "kernel: dalek (curve25519-dalek,",
                "; asked for)\n",
            );
        }
        place.set("TALLY_KERNEL", "dalek");
        let line = format!("{program} --version");
        says(&place, &line, "kernel: dalek (", "; asked for)\n");
        // The flag wins.
        let line = format!("{program} --kernel auto --version");
        let best = format!("kernel: {} (", group::kernels()[0].name());
        says(&place, &line, &best, ")\n");
        place.set("TALLY_KERNEL", kernel().name());
    }
}

#[test]
fn a_kernel_that_is_not_here_is_bad_usage() {
    let mut place = Place::new();
    let usable: Vec<_> = group::kernels()
        .iter()
        .map(|kernel| kernel.name())
        .collect();
    let usable = usable.join(", ");
    let data = "datagen --dir d --ours 1 --theirs 1 --overlap 1 --seed 1 --json";
    for line in [
        format!("tally {data} --kernel fast"),
        "tally --kernel fast completions bash --json".to_owned(),
        "tallyd check --home none --kernel fast --json".to_owned(),
    ] {
        let ended = place.run(&line);
        assert_eq!(ended.code, 2, "{line}: {}", ended.err);
        assert_eq!(ended.out, "");
        let (code, message) = failure(&ended);
        assert_eq!(code, "kernel");
        assert_eq!(
            message,
            format!("no kernel is called \"fast\"; this machine runs {usable}")
        );
    }
    for line in ["tally --kernel fast --version", "tallyd --kernel=fast -V"] {
        let ended = place.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{line}");
        assert!(ended.err.contains(&usable), "{}", ended.err);
    }
    place.set("TALLY_KERNEL", "fast");
    let ended = place.run(&format!("tally {data}"));
    assert_eq!((ended.code, failure(&ended).0.as_str()), (2, "kernel"));
    assert!(!place.path("d").exists());
}

#[test]
fn every_kernel_of_this_machine_finds_the_same() {
    let place = Place::new();
    let ended = place.run("tally datagen --dir d --ours 300 --theirs 500 --overlap 40 --seed 7");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let mut found: Vec<(Value, String)> = Vec::new();
    for kernel in group::kernels() {
        let name = kernel.name();
        let report = place.json(&format!(
            "tally try --ours d/ours.csv --theirs d/theirs.csv --key document=document,state \
             --dir {name} --kernel {name}"
        ));
        assert_eq!(report["kernel"], name);
        assert_eq!(report["verified"], true);
        let matches = place.read(&format!("{name}/matches.csv"));
        found.push((report["elements_matched"].clone(), matches));
    }
    assert_eq!(found[0].0, 40);
    assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
}

#[test]
fn a_node_tells_which_kernel_it_uses() {
    let place = Place::new();
    place.init("a");
    let name = kernel().name();
    let report = place.run("tallyd check --home a --json");
    let checks = object(&report.out);
    let checks = checks["checks"].as_array().unwrap().iter();
    let found: Vec<&Value> = checks.filter(|check| check["name"] == "kernel").collect();
    let [check] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(check["verdict"], "ok");
    let detail = check["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("{name} (")), "{detail}");
    let serving = place.serve("a");
    let listening = serving.log();
    let listening = listening
        .lines()
        .find(|line| line.contains("\"listening\""));
    let listening: Value = serde_json::from_str(listening.unwrap()).unwrap();
    assert_eq!(listening["kernel"], detail);
}
