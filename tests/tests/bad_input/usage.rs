//! Flags and mapping files.

use crate::{OUR_KEY, Stage, ask, homes, refused};

#[test]
fn flags_that_are_wrong_are_named() {
    let place = homes();
    let good = ask("asker", "127.0.0.1:1");
    for (from, to, says) in [
        ("--force", "--forse", "--forse"),
        ("--peer holder", "", "--peer <NAME>"),
        ("--out hits.csv", "--out=", "--out <FILE>"),
        (
            "--collection watchlist",
            "--collection ../x",
            "'../x' for '--collection <NAME>'",
        ),
        ("--force", "--class whim", "'whim' for '--class"),
        (
            OUR_KEY,
            &format!("{OUR_KEY} --mapping m.toml"),
            "cannot be used with",
        ),
        ("tally match", "tally mash", "'mash'"),
    ] {
        let line = good.replace(from, to);
        assert_ne!(line, good);
        refused(&place, &line, 2, "usage", &[says, "--help"]);
    }
    for (from, to, code, says) in [
        ("--home asker ", "", "no-home", "TALLY_HOME"),
        ("--home asker", "--home border.csv", "io", "border.csv"),
        (
            "--peer holder",
            "--peer nobody",
            "unknown-peer",
            "tallyd peer list",
        ),
        (OUR_KEY, "", "mapping-no-keys", "--key document=passport"),
    ] {
        let line = good.replace(from, to);
        assert_ne!(line, good);
        refused(&place, &line, 2, code, &[says]);
    }
}

#[test]
fn keys_of_an_unknown_type_or_form_are_explained() {
    let stage = Stage::new();
    for (key, code, says) in [
        (
            "dokument=passport,country",
            "mapping-key",
            "document, holder, person, name",
        ),
        ("padding=passport", "mapping-key", "the type is unknown"),
        ("document", "mapping-key", "no '='"),
        ("document=passport,", "mapping-key", "a part is empty"),
        (
            "document=passport",
            "mapping-key-parts",
            "the parts number, state, or mrz, not 1",
        ),
        (
            "document=passport,country,lane",
            "mapping-key-parts",
            "not 3",
        ),
    ] {
        let line = stage.ask().replace(OUR_KEY, &format!("--key {key}"));
        let says = [&format!("--key {key}"), says];
        stage.refused(&line, 2, code, &says);
    }
    let line = stage
        .ask()
        .replace(OUR_KEY, &format!("{OUR_KEY} {OUR_KEY}"));
    stage.refused(&line, 2, "mapping-repeated", &["--key", "twice"]);
    stage.good();
}

#[test]
fn mapping_files_that_are_wrong_say_in_which_line() {
    let stage = Stage::new();
    let line = stage.ask().replace(OUR_KEY, "--mapping m.toml");
    let key = "[[key]]\ntype = \"document\"\nnumber = \"passport\"\nstate = \"country\"\n";
    for (text, code, says) in [
        (
            key.replace("\"passport\"", "passport"),
            "mapping-file",
            "m.toml, line 3",
        ),
        (
            key.replace("\"document\"", "5"),
            "mapping-file",
            "m.toml, line 2",
        ),
        (
            key.replace("[[key]]", "\n[[kee]]"),
            "mapping-file",
            "m.toml, line 2",
        ),
        (
            format!("{key}\n[label]\ncolums = []\n"),
            "mapping-file",
            "m.toml, line 7",
        ),
        (
            format!("{key}\n{}", key.replace("document", "dokument")),
            "mapping-key",
            "m.toml, line 6, [[key]] 2",
        ),
        (
            key.replace("state", "stat"),
            "mapping-key-field",
            "m.toml, line 1, [[key]] 1",
        ),
        (
            format!("{key}colour = \"lane\"\n"),
            "mapping-key-field",
            "\"colour\"",
        ),
        (
            key.replace("\"country\"", "\"\""),
            "mapping-key-field",
            "\"state\"",
        ),
        (format!("{key}\n{key}"), "mapping-repeated", "m.toml"),
        (String::new(), "mapping-no-keys", "m.toml"),
        (
            key.replace("passport", "pasport"),
            "table-missing-column",
            "\"pasport\"",
        ),
    ] {
        stage.place.write("m.toml", &text);
        stage.refused(&line, 2, code, &[says]);
    }
    std::fs::write(stage.place.path("m.toml"), b"[[key]]\n# \xff\n").unwrap();
    stage.refused(&line, 2, "table-io", &["m.toml", "UTF-8"]);
    let gone = line.replace("m.toml", "gone.toml");
    stage.refused(
        &gone,
        2,
        "table-io",
        &["gone.toml", "read the mapping", "check the path"],
    );
    stage.place.write("m.toml", key);
    assert_eq!(stage.asked(&line)["hits"], 2);
}

/// What nobody should type is not offered.
#[test]
fn completions_offer_no_hidden_command() {
    let place = homes();
    for shell in ["bash", "zsh", "fish"] {
        let ended = place.run(&format!("tally completions {shell}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.out.contains("datagen"), "{}", ended.out);
        assert!(!ended.out.contains("try-sender"), "{shell}");
        assert!(!ended.out.contains("try__sender"), "{shell}");
    }
}
